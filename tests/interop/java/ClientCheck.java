import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Every call of the Java client library against one server, as named checks.
 *
 * <p>Arguments: host:port. Prints {@code ok NAME} or {@code not ok NAME: why} for each check and
 * exits with 1 if one failed. test_java.py compiles it against each client version (so nothing here
 * may be newer than 3.8.0) and reads the names of the checks from this source.
 */
public final class ClientCheck {
    interface Body {
        void run() throws Exception;
    }

    static final Map<String, Body> CHECKS = new LinkedHashMap<>();
    static String address;
    static ZooKeeper zk;
    static String base;

    static void check(String name, Body body) {
        CHECKS.put(name, body);
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        nodes();
        modes();
        watches();
        transactions();
        security();
        sessions();
        boolean failed = false;
        for (Map.Entry<String, Body> check : CHECKS.entrySet()) {
            zk = connect(20000);
            base = zk.create("/java-", new byte[0], Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT_SEQUENTIAL);
            try {
                check.getValue().run();
                System.out.println("ok " + check.getKey());
            } catch (Throwable error) {
                failed = true;
                System.out.println("not ok " + check.getKey() + ": " + error
                        + " at " + Arrays.stream(error.getStackTrace())
                                .filter(frame -> frame.getClassName().startsWith("ClientCheck"))
                                .findFirst().orElse(null));
            }
            zk.close();
        }
        System.exit(failed ? 1 : 0);
    }

    // --- helpers

    static ZooKeeper connect(int timeout) throws Exception {
        return connect(timeout, 0, new byte[0], new Events());
    }

    static ZooKeeper connect(int timeout, long session, byte[] password, Events events)
            throws Exception {
        ZooKeeper made = session == 0
                ? new ZooKeeper(address, timeout, events)
                : new ZooKeeper(address, timeout, events, session, password);
        if (!events.connected.await(20, TimeUnit.SECONDS)) {
            throw new AssertionError("not connected in 20 s");
        }
        return made;
    }

    /** Collects events; connection events go to the latches. */
    static final class Events implements Watcher {
        final BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        final CountDownLatch connected = new CountDownLatch(1);
        final CountDownLatch expired = new CountDownLatch(1);

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() != Event.EventType.None) {
                seen.add(event.getType() + " " + event.getPath());
            } else if (event.getState() == Event.KeeperState.SyncConnected) {
                connected.countDown();
            } else if (event.getState() == Event.KeeperState.Expired) {
                expired.countDown();
            }
        }

        /** Exactly these, in this order, and then nothing for a while. */
        void expect(String... wanted) throws Exception {
            List<String> got = new ArrayList<>();
            for (int i = 0; i < wanted.length; i++) {
                String next = seen.poll(10, TimeUnit.SECONDS);
                if (next == null) {
                    break;
                }
                got.add(next);
            }
            String more = seen.poll(100, TimeUnit.MILLISECONDS);
            if (more != null) {
                got.add(more);
            }
            same(Arrays.asList(wanted), got);
        }
    }

    static void same(Object wanted, Object got) {
        if (!wanted.equals(got)) {
            throw new AssertionError("wanted " + wanted + ", got " + got);
        }
    }

    static void refused(KeeperException.Code code, Body body) throws Exception {
        try {
            body.run();
        } catch (KeeperException error) {
            same(code, error.code());
            return;
        }
        throw new AssertionError("wanted " + code + ", nothing was thrown");
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] data) {
        return new String(data, StandardCharsets.UTF_8);
    }

    static String create(String path, CreateMode mode) throws Exception {
        return zk.create(path, bytes("x"), Ids.OPEN_ACL_UNSAFE, mode);
    }

    /** Waits until a node is gone. */
    static void gone(String path) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(15);
        while (zk.exists(path, false) != null) {
            if (System.nanoTime() > end) {
                throw new AssertionError(path + " is still there");
            }
            Thread.sleep(20);
        }
    }

    /**
     * Attaches to the session from a bare socket, which makes the server close the connection that
     * had it, and goes away again.
     */
    static void takeOver(ZooKeeper owner) throws Exception {
        int colon = address.lastIndexOf(':');
        try (Socket socket = new Socket(
                address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)))) {
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            ByteArrayOutputStream frame = new ByteArrayOutputStream();
            DataOutputStream body = new DataOutputStream(frame);
            body.writeInt(0);
            body.writeLong(0);
            body.writeInt(20000);
            body.writeLong(owner.getSessionId());
            body.writeInt(owner.getSessionPasswd().length);
            body.write(owner.getSessionPasswd());
            body.writeBoolean(false);
            out.writeInt(frame.size());
            frame.writeTo(out);
            out.flush();
            DataInputStream in = new DataInputStream(socket.getInputStream());
            same(37, in.readInt());
            in.skipBytes(8);
            same(owner.getSessionId(), in.readLong());
        }
    }

    // --- the checks

    static void nodes() {
        check("create_get_set_delete", () -> {
            Stat made = new Stat();
            String path = zk.create(base + "/n", bytes("one"), Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT, made);
            Stat read = new Stat();
            same("one", text(zk.getData(path, false, read)));
            same(made, read);
            same(0, read.getVersion());
            same(3, read.getDataLength());
            Stat set = zk.setData(path, bytes("three"), 0);
            same(1, set.getVersion());
            same(5, set.getDataLength());
            refused(KeeperException.Code.BADVERSION, () -> zk.setData(path, bytes(""), 0));
            refused(KeeperException.Code.BADVERSION, () -> zk.delete(path, 0));
            zk.delete(path, 1);
            same(true, zk.exists(path, false) == null);
            refused(KeeperException.Code.NONODE, () -> zk.getData(path, false, null));
        });
        check("null_data_stays_null", () -> {
            zk.create(base + "/n", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Stat stat = new Stat();
            same(true, zk.getData(base + "/n", false, stat) == null);
            same(0, stat.getDataLength());
        });
        check("errors_have_their_codes", () -> {
            refused(KeeperException.Code.NODEEXISTS, () -> create(base, CreateMode.PERSISTENT));
            refused(KeeperException.Code.NONODE,
                    () -> create(base + "/a/b", CreateMode.PERSISTENT));
            create(base + "/a", CreateMode.PERSISTENT);
            refused(KeeperException.Code.NOTEMPTY, () -> zk.delete(base, -1));
            create(base + "/e", CreateMode.EPHEMERAL);
            refused(KeeperException.Code.NOCHILDRENFOREPHEMERALS,
                    () -> create(base + "/e/c", CreateMode.PERSISTENT));
            refused(KeeperException.Code.BADARGUMENTS, () -> zk.delete("/zookeeper", -1));
        });
        check("get_children_both_forms", () -> {
            for (String name : List.of("a", "b", "ü-日本")) {
                create(base + "/" + name, CreateMode.PERSISTENT);
            }
            same(new TreeSet<>(List.of("a", "b", "ü-日本")),
                    new TreeSet<>(zk.getChildren(base, false)));
            Stat stat = new Stat();
            same(3, zk.getChildren(base, false, stat).size());
            same(3, stat.getNumChildren());
            same(3, stat.getCversion());
        });
        check("get_all_children_number", () -> {
            for (String name : List.of("/a", "/a/b", "/a/b/c", "/d")) {
                create(base + name, CreateMode.PERSISTENT);
            }
            same(4, zk.getAllChildrenNumber(base));
            same(2, zk.getAllChildrenNumber(base + "/a"));
            same(0, zk.getAllChildrenNumber(base + "/d"));
            refused(KeeperException.Code.NONODE, () -> zk.getAllChildrenNumber(base + "/none"));
        });
        check("get_ephemerals", () -> {
            create(base + "/e1", CreateMode.EPHEMERAL);
            create(base + "/e2", CreateMode.EPHEMERAL);
            same(new TreeSet<>(List.of(base + "/e1", base + "/e2")),
                    new TreeSet<>(zk.getEphemerals()));
            same(List.of(base + "/e2"), zk.getEphemerals(base + "/e2"));
            same(List.of(), zk.getEphemerals("/nosuch"));
        });
        check("sync_through_the_callback", () -> {
            BlockingQueue<String> done = new LinkedBlockingQueue<>();
            zk.sync(base, (code, path, context) -> done.add(code + " " + path), null);
            same("0 " + base, done.poll(10, TimeUnit.SECONDS));
        });
        check("callbacks_in_request_order", () -> {
            BlockingQueue<Integer> done = new LinkedBlockingQueue<>();
            for (int i = 0; i < 500; i++) {
                int number = i;
                if (i % 3 == 0) {
                    zk.setData(base, bytes("" + i), -1, (c, p, x, s) -> done.add(number), null);
                } else if (i % 3 == 1) {
                    zk.getData(base, false, (c, p, x, d, s) -> done.add(number), null);
                } else {
                    zk.exists(base + "/none", false, (c, p, x, s) -> done.add(number), null);
                }
            }
            for (int i = 0; i < 500; i++) {
                same(i, done.poll(20, TimeUnit.SECONDS));
            }
        });
        check("a_megabyte_less_a_bit", () -> {
            byte[] data = new byte[1024 * 1024 - 4096];
            Arrays.fill(data, (byte) 7);
            zk.setData(base, data, -1);
            same(true, Arrays.equals(data, zk.getData(base, false, null)));
        });
        check("chroot", () -> {
            try (ZooKeeper below = new ZooKeeper(address + base, 20000, event -> {})) {
                same("/c", below.create("/c", bytes("x"), Ids.OPEN_ACL_UNSAFE,
                        CreateMode.PERSISTENT));
                same("x", text(zk.getData(base + "/c", false, null)));
                same(List.of("c"), below.getChildren("/", false));
            }
        });
    }

    static void modes() {
        check("sequential_and_ephemeral_modes", () -> {
            same(base + "/s0000000000",
                    create(base + "/s", CreateMode.PERSISTENT_SEQUENTIAL));
            same(base + "/s0000000001",
                    create(base + "/s", CreateMode.EPHEMERAL_SEQUENTIAL));
            create(base + "/e", CreateMode.EPHEMERAL);
            same(base + "/t0000000003",
                    create(base + "/t", CreateMode.PERSISTENT_SEQUENTIAL));
            same(zk.getSessionId(), zk.exists(base + "/e", false).getEphemeralOwner());
            same(0L, zk.exists(base + "/s0000000000", false).getEphemeralOwner());
        });
        check("container_goes_with_its_last_child", () -> {
            create(base + "/c", CreateMode.CONTAINER);
            same(0L, zk.exists(base + "/c", false).getEphemeralOwner());
            Thread.sleep(1200);
            same(true, zk.exists(base + "/c", false) != null);
            create(base + "/c/child", CreateMode.EPHEMERAL);
            zk.delete(base + "/c/child", -1);
            gone(base + "/c");
        });
        check("ttl_node_goes_when_untouched", () -> {
            Stat stat = new Stat();
            zk.create(base + "/t", bytes("x"), Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT_WITH_TTL, stat, 400);
            same(0L, stat.getEphemeralOwner());
            same(base + "/s0000000001", zk.create(base + "/s", bytes("x"), Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, null, 60_000_000));
            gone(base + "/t");
            same(true, zk.exists(base + "/s0000000001", false) != null);
        });
        check("ttl_node_with_a_child_stays", () -> {
            zk.create(base + "/t", bytes("x"), Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT_WITH_TTL, null, 200);
            create(base + "/t/c", CreateMode.PERSISTENT);
            Thread.sleep(1500);
            same(true, zk.exists(base + "/t", false) != null);
            zk.delete(base + "/t/c", -1);
            gone(base + "/t");
        });
    }

    static void watches() {
        check("standard_watches_fire_once", () -> {
            Events data = new Events();
            Events children = new Events();
            Events exists = new Events();
            zk.getData(base, data, null);
            zk.getChildren(base, children);
            zk.exists(base + "/n", exists);
            zk.setData(base, bytes("1"), -1);
            zk.setData(base, bytes("2"), -1);
            create(base + "/n", CreateMode.PERSISTENT);
            create(base + "/m", CreateMode.PERSISTENT);
            data.expect("NodeDataChanged " + base);
            children.expect("NodeChildrenChanged " + base);
            exists.expect("NodeCreated " + base + "/n");
        });
        check("deletion_reaches_every_kind_of_watch", () -> {
            String path = create(base + "/n", CreateMode.PERSISTENT);
            Events data = new Events();
            Events children = new Events();
            Events parent = new Events();
            zk.getData(path, data, null);
            zk.getChildren(path, children);
            zk.getChildren(base, parent);
            zk.delete(path, -1);
            data.expect("NodeDeleted " + path);
            children.expect("NodeDeleted " + path);
            parent.expect("NodeChildrenChanged " + base);
        });
        check("persistent_watch_stays", () -> {
            Events events = new Events();
            zk.addWatch(base, events, AddWatchMode.PERSISTENT);
            for (int i = 0; i < 3; i++) {
                zk.setData(base, bytes("" + i), -1);
            }
            create(base + "/c", CreateMode.PERSISTENT);
            zk.setData(base + "/c", bytes("below"), -1);
            zk.delete(base + "/c", -1);
            String changed = "NodeDataChanged " + base;
            String child = "NodeChildrenChanged " + base;
            events.expect(changed, changed, changed, child, child);
        });
        check("recursive_watch_sees_the_subtree", () -> {
            Events events = new Events();
            zk.addWatch(base, events, AddWatchMode.PERSISTENT_RECURSIVE);
            create(base + "/a", CreateMode.PERSISTENT);
            create(base + "/a/b", CreateMode.PERSISTENT);
            zk.setData(base + "/a/b", bytes("1"), -1);
            zk.delete(base + "/a/b", -1);
            zk.setData(base, bytes("2"), -1);
            events.expect("NodeCreated " + base + "/a", "NodeCreated " + base + "/a/b",
                    "NodeDataChanged " + base + "/a/b", "NodeDeleted " + base + "/a/b",
                    "NodeDataChanged " + base);
        });
        check("remove_watches", () -> {
            Events events = new Events();
            zk.addWatch(base, events, AddWatchMode.PERSISTENT);
            zk.removeWatches(base, events, Watcher.WatcherType.Any, false);
            events.expect("PersistentWatchRemoved " + base);
            zk.setData(base, bytes("1"), -1);
            events.expect();
            Events data = new Events();
            zk.getData(base, data, null);
            zk.removeWatches(base, data, Watcher.WatcherType.Data, false);
            data.expect("DataWatchRemoved " + base);
            Events child = new Events();
            zk.getChildren(base, child);
            zk.removeAllWatches(base, Watcher.WatcherType.Children, false);
            child.expect("ChildWatchRemoved " + base);
            refused(KeeperException.Code.NOWATCHER,
                    () -> zk.removeWatches(base, data, Watcher.WatcherType.Any, false));
        });
        check("watches_return_after_a_reattach", () -> {
            // Losing its connection, the library comes back with the same session and its watches
            // (setWatches or setWatches2).
            Events session = new Events();
            try (ZooKeeper other = connect(20000, 0, null, session)) {
                Events data = new Events();
                Events recursive = new Events();
                other.getData(base, data, null);
                other.addWatch(base, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
                long id = other.getSessionId();
                takeOver(other);
                zk.setData(base, bytes("while away"), -1);
                same("NodeDataChanged " + base, data.seen.poll(10, TimeUnit.SECONDS));
                // A change during the gap is replayed to standard watches only.
                create(base + "/later", CreateMode.PERSISTENT);
                long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
                while (!recursive.seen.contains("NodeCreated " + base + "/later")
                        && System.nanoTime() < end) {
                    other.exists(base, false);
                    if (recursive.seen.isEmpty()) {
                        zk.delete(base + "/later", -1);
                        create(base + "/later", CreateMode.PERSISTENT);
                    }
                    Thread.sleep(20);
                }
                same(true, recursive.seen.contains("NodeCreated " + base + "/later"));
                same(id, other.getSessionId());
            }
        });
    }

    static void transactions() {
        check("multi_of_every_kind", () -> {
            create(base + "/old", CreateMode.PERSISTENT);
            List<OpResult> results = zk.multi(List.of(
                    Op.check(base, 0),
                    Op.create(base + "/p", bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                    Op.create(base + "/s-", bytes("1"), Ids.OPEN_ACL_UNSAFE,
                            CreateMode.EPHEMERAL_SEQUENTIAL),
                    Op.create(base + "/c", bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                    Op.create(base + "/t", bytes("1"), Ids.OPEN_ACL_UNSAFE,
                            CreateMode.PERSISTENT_WITH_TTL, 60_000_000),
                    Op.setData(base + "/p", bytes("2"), 0),
                    Op.delete(base + "/old", 0)));
            same(7, results.size());
            same(base + "/p", ((OpResult.CreateResult) results.get(1)).getPath());
            same(base + "/s-0000000002", ((OpResult.CreateResult) results.get(2)).getPath());
            same(1, ((OpResult.SetDataResult) results.get(5)).getStat().getVersion());
            same("2", text(zk.getData(base + "/p", false, null)));
            long zxid = zk.exists(base + "/p", false).getMzxid();
            same(zxid, zk.exists(base + "/s-0000000002", false).getCzxid());
            same(zxid, zk.exists(base, false).getPzxid());
        });
        check("failed_multi_changes_nothing", () -> {
            int before = zk.exists(base, false).getCversion();
            try {
                zk.multi(List.of(
                        Op.create(base + "/p", bytes("1"), Ids.OPEN_ACL_UNSAFE,
                                CreateMode.PERSISTENT),
                        Op.check(base, 99),
                        Op.delete(base, -1)));
                throw new AssertionError("not refused");
            } catch (KeeperException error) {
                same(KeeperException.Code.BADVERSION, error.code());
                List<Integer> codes = new ArrayList<>();
                for (OpResult result : error.getResults()) {
                    codes.add(((OpResult.ErrorResult) result).getErr());
                }
                same(List.of(0, -103, -2), codes);
            }
            same(before, zk.exists(base, false).getCversion());
            same(base + "/q0000000000", create(base + "/q", CreateMode.PERSISTENT_SEQUENTIAL));
        });
        check("multi_read_reports_each_row", () -> {
            zk.setData(base, bytes("d"), -1);
            create(base + "/a", CreateMode.PERSISTENT);
            List<OpResult> results = zk.multi(List.of(
                    Op.getData(base), Op.getData(base + "/none"), Op.getChildren(base)));
            same("d", text(((OpResult.GetDataResult) results.get(0)).getData()));
            same(-101, ((OpResult.ErrorResult) results.get(1)).getErr());
            same(List.of("a"), ((OpResult.GetChildrenResult) results.get(2)).getChildren());
        });
        check("transaction_builder", () -> {
            List<OpResult> results = zk.transaction()
                    .create(base + "/a", bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
                    .setData(base + "/a", bytes("2"), 0)
                    .check(base + "/a", 1)
                    .delete(base + "/a", 1)
                    .commit();
            same(4, results.size());
            same(List.of(), zk.getChildren(base, false));
        });
    }

    static void security() {
        check("set_acl_and_its_version", () -> {
            List<ACL> acl = new ArrayList<>(Ids.READ_ACL_UNSAFE);
            acl.add(new ACL(Perms.ADMIN, Ids.ANYONE_ID_UNSAFE));
            same(1, zk.setACL(base, acl, 0).getAversion());
            Stat stat = new Stat();
            same(acl, zk.getACL(base, stat));
            same(1, stat.getAversion());
            refused(KeeperException.Code.BADVERSION, () -> zk.setACL(base, acl, 0));
            refused(KeeperException.Code.NOAUTH, () -> zk.setData(base, bytes(""), -1));
            refused(KeeperException.Code.NOAUTH,
                    () -> create(base + "/c", CreateMode.PERSISTENT));
        });
        check("digest_guards_a_node", () -> {
            zk.addAuthInfo("digest", bytes("bob:secret"));
            String path = zk.create(base + "/mine", bytes("x"), Ids.CREATOR_ALL_ACL,
                    CreateMode.PERSISTENT);
            same("digest", zk.getACL(path, null).get(0).getId().getScheme());
            try (ZooKeeper stranger = connect(20000)) {
                refused(KeeperException.Code.NOAUTH, () -> stranger.getData(path, false, null));
                stranger.addAuthInfo("digest", bytes("bob:secret"));
                same("x", text(stranger.getData(path, false, null)));
            }
        });
        check("invalid_acls_are_refused", () -> {
            refused(KeeperException.Code.INVALIDACL, () -> zk.create(base + "/n", null,
                    Collections.singletonList(new ACL(31, new Id("nosuch", "x"))),
                    CreateMode.PERSISTENT));
            refused(KeeperException.Code.INVALIDACL, () -> zk.create(base + "/n", null,
                    Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
            refused(KeeperException.Code.INVALIDACL, () -> zk.setACL(base,
                    Collections.singletonList(new ACL(31, new Id("ip", "not-an-ip"))), -1));
        });
        check("who_am_i", () -> {
            zk.addAuthInfo("digest", bytes("alice:pw"));
            TreeSet<String> ids = new TreeSet<>();
            for (ClientInfo info : zk.whoAmI()) {
                ids.add(info.getAuthScheme() + " " + info.getUser());
            }
            same(new TreeSet<>(List.of("digest alice", "ip 127.0.0.1")), ids);
        });
        check("reconfig_is_refused_and_config_is_there", () -> {
            same(0, zk.getConfig(false, new Stat()).length);
            try (ZooKeeperAdmin admin = new ZooKeeperAdmin(address, 20000, event -> {})) {
                refused(KeeperException.Code.RECONFIGDISABLED, () -> admin.reconfigure(
                        "server.2=127.0.0.1:1:2;3", null, null, -1, new Stat()));
            }
            refused(KeeperException.Code.NOAUTH,
                    () -> zk.setData("/zookeeper/config", bytes("x"), -1));
        });
    }

    static void sessions() {
        check("reattach_with_id_and_password", () -> {
            ZooKeeper first = connect(20000);
            first.create(base + "/e", bytes("x"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
            ZooKeeper second = connect(
                    20000, first.getSessionId(), first.getSessionPasswd(), new Events());
            same(first.getSessionId(), second.getSessionId());
            same(List.of(base + "/e"), second.getEphemerals());
            second.close();
            same(true, zk.exists(base + "/e", false) == null);
            first.close();
        });
        check("wrong_password_is_refused_as_expired", () -> {
            ZooKeeper owner = connect(20000);
            owner.create(base + "/e", bytes("x"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
            Events events = new Events();
            try (ZooKeeper thief = new ZooKeeper(address, 20000, events, owner.getSessionId(),
                    new byte[16])) {
                same(true, events.expired.await(10, TimeUnit.SECONDS));
            }
            same(owner.getSessionId(), zk.exists(base + "/e", false).getEphemeralOwner());
            owner.close();
        });
        check("unknown_session_is_refused_as_expired", () -> {
            Events events = new Events();
            try (ZooKeeper lost = new ZooKeeper(address, 20000, events, 0x1234567890L,
                    new byte[16])) {
                same(true, events.expired.await(10, TimeUnit.SECONDS));
            }
        });
        check("close_takes_the_ephemerals", () -> {
            ZooKeeper leaving = connect(20000);
            for (int i = 0; i < 10; i++) {
                leaving.create(base + "/e", null, Ids.OPEN_ACL_UNSAFE,
                        CreateMode.EPHEMERAL_SEQUENTIAL);
            }
            same(10, zk.getChildren(base, false).size());
            leaving.close();
            same(List.of(), zk.getChildren(base, false));
        });
        check("negotiated_timeout_is_clamped", () -> {
            try (ZooKeeper greedy = connect(10_000_000)) {
                same(60000, greedy.getSessionTimeout());
            }
            try (ZooKeeper hasty = connect(300)) {
                same(400, hasty.getSessionTimeout());
            }
        });
    }
}
