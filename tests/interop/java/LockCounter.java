import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * Ten threads, each with a session of its own, decrement one counter from 500 under a lock of
 * ephemeral-sequential nodes {@code /locks/test1_lock_NNNNNNNNNN}: the smallest number owns the
 * lock, every other one watches its predecessor with {@code exists}.
 *
 * <p>Argument: port of a server on localhost. Prints each value of the counter as a line
 * {@code thread T counter N} and closes with {@code done}; exits with 1 and a line
 * {@code violation ...} if two threads hold the lock at once, a value is skipped, or /locks is not
 * empty at the end.
 */
public final class LockCounter {
    static final int THREADS = 10;
    static final AtomicInteger counter = new AtomicInteger(500);
    static final AtomicInteger holders = new AtomicInteger();
    static final AtomicReference<String> violation = new AtomicReference<>();

    public static void main(String[] arguments) throws Exception {
        String address = "localhost:" + arguments[0];
        try (ZooKeeper zk = connect(address)) {
            try {
                zk.create("/locks", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            } catch (KeeperException.NodeExistsException ok) {
                // From an earlier run.
            }
        }
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < THREADS; i++) {
            int number = i;
            Thread thread = new Thread(() -> {
                try {
                    work(address, number);
                } catch (Throwable error) {
                    error.printStackTrace();
                    violate("thread " + number + ": " + error);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        try (ZooKeeper zk = connect(address)) {
            List<String> left = zk.getChildren("/locks", false);
            if (!left.isEmpty()) {
                violate("/locks holds " + left);
            }
        }
        if (counter.get() != 0) {
            violate("the counter ended at " + counter.get());
        }
        if (violation.get() != null) {
            System.out.println("violation " + violation.get());
            System.exit(1);
        }
        System.out.println("done");
    }

    static void violate(String what) {
        violation.compareAndSet(null, what);
    }

    static ZooKeeper connect(String address) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(address, 20000, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        connected.await();
        return zk;
    }

    static void work(String address, int number) throws Exception {
        try (ZooKeeper zk = connect(address)) {
            while (counter.get() > 0 && violation.get() == null) {
                String mine = acquire(zk);
                if (holders.incrementAndGet() != 1) {
                    violate("two threads hold the lock");
                }
                int seen = counter.get();
                if (seen > 0) {
                    Thread.yield(); // Gives a second holder the chance to show itself.
                    if (!counter.compareAndSet(seen, seen - 1)) {
                        violate("the counter moved under the lock");
                    }
                    System.out.println("thread " + number + " counter " + (seen - 1));
                }
                holders.decrementAndGet();
                zk.delete(mine, -1);
            }
        }
    }

    static String acquire(ZooKeeper zk) throws Exception {
        String mine = zk.create("/locks/test1_lock_", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.EPHEMERAL_SEQUENTIAL);
        String name = mine.substring("/locks/".length());
        while (true) {
            List<String> names = zk.getChildren("/locks", false);
            Collections.sort(names);
            int place = names.indexOf(name);
            if (place < 0) {
                throw new AssertionError(name + " is not in " + names);
            }
            if (place == 0) {
                return mine;
            }
            CountDownLatch gone = new CountDownLatch(1);
            if (zk.exists("/locks/" + names.get(place - 1), event -> gone.countDown()) != null) {
                gone.await();
            }
        }
    }
}
