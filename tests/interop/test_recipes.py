"""kazoo's recipes between several clients of one live server: what applications build on a server
must work on ours, contention, lost connections and dead owners included."""

import datetime
import threading
import time

import pytest
from kazoo.exceptions import ConnectionClosedError, LockTimeout
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.partitioner import PartitionState
from kazoo.recipe.watchers import PatientChildrenWatch

import wire as w
from test_sessions import drop_connection, wait_for


def in_threads(work, arguments):
    """Runs work(argument) for each argument at once; re-raises the first failure."""
    failures = []

    def run(argument):
        try:
            work(argument)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


@pytest.fixture
def clients(server, make_client):
    """Five clients."""
    return [make_client(server) for _ in range(5)]


# --- Lock, Semaphore, Election


def test_lock_excludes(clients, base):
    inside = []
    most = []

    def work(client):
        for _ in range(10):
            with client.Lock(f"{base}/lock", client.client_id[0]):
                inside.append(client)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(client)

    in_threads(work, clients)
    assert most == [1] * 50
    assert clients[0].get_children(f"{base}/lock") == []


def test_lock_is_granted_in_order_of_arrival(clients, base):
    order = []
    first = clients[0].Lock(f"{base}/lock", "0")
    first.acquire()
    threads = []
    for number, client in enumerate(clients[1:], 1):
        lock = client.Lock(f"{base}/lock", str(number))

        def take(lock=lock, number=number):
            with lock:
                order.append(number)

        threads.append(threading.Thread(target=take))
        threads[-1].start()
        assert wait_for(lambda number=number: len(first.contenders()) == number + 1)
    assert first.contenders() == ["0", "1", "2", "3", "4"]
    first.release()
    for thread in threads:
        thread.join(20)
    assert order == [1, 2, 3, 4]


def test_lock_times_out_and_can_be_tried(clients, base):
    held = clients[0].Lock(f"{base}/lock")
    assert held.acquire()
    other = clients[1].Lock(f"{base}/lock")
    assert not other.acquire(blocking=False)
    with pytest.raises(LockTimeout):
        other.acquire(timeout=0.3)
    held.release()
    assert other.acquire(timeout=5)
    other.release()


def test_lock_of_a_dead_owner_passes_on(server, clients, base, make_wire):
    owner = make_wire(server, timeout_ms=1000)
    clients[0].ensure_path(f"{base}/lock")
    owner.create(f"{base}/lock/dead__lock__", flags=w.EPHEMERAL | w.SEQUENTIAL)
    lock = clients[0].Lock(f"{base}/lock")
    assert not lock.acquire(blocking=False)
    owner.socket.close()
    assert lock.acquire(timeout=10)
    lock.release()


def test_read_locks_share_and_write_lock_excludes(clients, base):
    readers = [client.ReadLock(f"{base}/rw") for client in clients[:3]]
    for reader in readers:
        assert reader.acquire(timeout=5)
    writer = clients[3].WriteLock(f"{base}/rw")
    assert not writer.acquire(blocking=False)
    for reader in readers:
        reader.release()
    assert writer.acquire(timeout=5)
    assert not clients[4].ReadLock(f"{base}/rw").acquire(blocking=False)
    writer.release()


def test_semaphore_lets_two_in(clients, base):
    inside = []
    most = []
    guard = threading.Lock()

    def work(client):
        for _ in range(5):
            with client.Semaphore(f"{base}/semaphore", max_leases=2):
                with guard:
                    inside.append(client)
                    most.append(len(inside))
                time.sleep(0.01)
                with guard:
                    inside.remove(client)

    in_threads(work, clients)
    assert len(most) == 25 and max(most) == 2


def test_election_makes_one_leader_after_another(clients, base):
    leaders = []
    leading = []

    def lead(number):
        leading.append(number)
        assert leading == [number], "one leader at a time"
        leaders.append(number)
        time.sleep(0.02)
        leading.remove(number)

    def work(number):
        clients[number].Election(f"{base}/election", str(number)).run(lead, number)

    in_threads(work, range(5))
    assert sorted(leaders) == [0, 1, 2, 3, 4]


def test_leader_that_dies_is_replaced(server, clients, base, make_client):
    led = threading.Event()
    never = threading.Event()
    dying = make_client(server)

    def first():
        led.set()
        never.wait(20)

    def lead_and_die():
        with pytest.raises(ConnectionClosedError):
            dying.Election(f"{base}/election", "dying").run(first)

    thread = threading.Thread(target=lead_and_die)
    thread.start()
    assert led.wait(10)
    next_leader = threading.Event()
    successor = threading.Thread(
        target=clients[0].Election(f"{base}/election", "next").run, args=(next_leader.set,)
    )
    successor.start()
    assert not next_leader.wait(0.3)
    dying.stop()
    assert next_leader.wait(10)
    successor.join(10)
    never.set()
    thread.join(20)


# --- Barrier, DoubleBarrier


def test_barrier_holds_until_removed(clients, base):
    barrier = clients[0].Barrier(f"{base}/barrier")
    barrier.create()
    assert not clients[1].Barrier(f"{base}/barrier").wait(0.2)
    passed = []
    threads = [
        threading.Thread(target=lambda c=c: passed.append(c.Barrier(f"{base}/barrier").wait(10)))
        for c in clients[1:]
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert not passed
    barrier.remove()
    for thread in threads:
        thread.join(10)
    assert passed == [True] * 4


def test_double_barrier_enters_and_leaves_together(clients, base):
    entered, left = [], []

    def work(client):
        barrier = client.DoubleBarrier(f"{base}/double", len(clients))
        barrier.enter()
        entered.append(len(left))
        barrier.leave()
        left.append(len(entered))

    in_threads(work, clients)
    assert entered == [0] * 5, "nobody left before all had entered"
    assert left == [5] * 5


# --- Queue, LockingQueue, Counter


def test_queue_gives_each_entry_once_in_order(clients, base):
    producer = clients[0].Queue(f"{base}/queue")
    for number in range(60):
        producer.put(str(number).encode())
    producer.put(b"urgent", priority=10)
    assert len(producer) == 61
    assert clients[1].Queue(f"{base}/queue").get() == b"urgent"
    got = []

    def work(client):
        queue = client.Queue(f"{base}/queue")
        mine = []
        while (entry := queue.get()) is not None:
            mine.append(int(entry))
        assert mine == sorted(mine)
        got.extend(mine)

    in_threads(work, clients)
    assert sorted(got) == list(range(60))


def test_locking_queue_keeps_what_a_consumer_did_not_consume(server, clients, base, make_client):
    queue = clients[0].LockingQueue(f"{base}/queue")
    queue.put_all([b"one", b"two"])
    lost = make_client(server)
    dying = lost.LockingQueue(f"{base}/queue")
    assert dying.get(5) == b"one"
    assert queue.get(5) == b"two"
    assert queue.consume()
    lost.stop()
    assert queue.get(5) == b"one"
    assert queue.holds_lock() and queue.consume()
    assert len(queue) == 0


def test_counter_under_contention(clients, base):
    def work(client):
        counter = client.Counter(f"{base}/counter")
        for _ in range(20):
            counter += 1
        counter -= 5

    in_threads(work, clients)
    counter = clients[0].Counter(f"{base}/counter")
    assert counter.value == 5 * 15
    assert clients[0].get(f"{base}/counter")[1].version == 5 * 21


# --- Party, ShallowParty, SetPartitioner


@pytest.mark.parametrize("recipe", ["Party", "ShallowParty"])
def test_party_knows_its_members(clients, base, recipe):
    parties = [
        getattr(client, recipe)(f"{base}/party", f"p{number}")
        for number, client in enumerate(clients)
    ]
    for party in parties:
        party.join()
    assert sorted(parties[0]) == ["p0", "p1", "p2", "p3", "p4"]
    parties[1].leave()
    clients[2].stop()
    assert sorted(parties[0]) == ["p0", "p3", "p4"]
    assert len(parties[0]) == 3


def test_partitioner_divides_a_set(clients, base):
    members = clients[:3]
    partitioners = [
        client.SetPartitioner(f"{base}/set", range(9), identifier=str(number), time_boundary=0.3)
        for number, client in enumerate(members)
    ]
    try:

        def settled():
            for one in partitioners:
                if one.release:
                    one.release_set()
                elif one.allocating:
                    one.wait_for_acquire(0.1)
            return all(one.state == PartitionState.ACQUIRED for one in partitioners) and sorted(
                item for one in partitioners for item in one
            ) == list(range(9))

        assert wait_for(settled, 20)
        assert [len(list(one)) for one in partitioners] == [3, 3, 3]
    finally:
        for one in partitioners:
            one.finish()


# --- Lease, TransactionRequest


def test_lease_is_exclusive_until_its_time_is_up(clients, base):
    now = [datetime.datetime(2030, 1, 1)]

    def lease(client, who):
        return client.NonBlockingLease(
            f"{base}/lease",
            datetime.timedelta(seconds=10),
            identifier=who,
            utcnow=lambda: now[0],
        )

    assert lease(clients[0], "a")
    assert not lease(clients[1], "b")
    assert lease(clients[0], "a"), "its holder renews it"
    now[0] += datetime.timedelta(seconds=11)
    assert lease(clients[1], "b")
    assert not lease(clients[0], "a")


def test_multi_lease_gives_as_many_as_there_are(clients, base):
    granted = [
        bool(
            client.MultiNonBlockingLease(
                2, f"{base}/leases", datetime.timedelta(seconds=60), identifier=str(number)
            )
        )
        for number, client in enumerate(clients)
    ]
    assert granted == [True, True, False, False, False]


def test_transaction_request_as_context_manager(clients, base):
    with clients[0].transaction() as transaction:
        transaction.check(base, version=0)
        for number in range(30):
            transaction.create(f"{base}/n{number}", str(number).encode())
        transaction.create(f"{base}/e", ephemeral=True)
        transaction.set_data(base, b"done")
        transaction.delete(f"{base}/n0")
    children, stat = clients[1].get_children(base, include_data=True)
    assert len(children) == 30 and stat.version == 1
    one_zxid = {clients[1].exists(f"{base}/{name}").czxid for name in children}
    assert one_zxid == {stat.mzxid} == {stat.pzxid}


# --- DataWatch, ChildrenWatch, PatientChildrenWatch, TreeCache


def test_data_watch_follows_a_node_through_its_life(clients, base):
    seen = []
    path = f"{base}/node"
    clients[0].DataWatch(path, lambda data, stat: seen.append(data))
    steps = [
        lambda: clients[1].create(path, b"1"),
        lambda: clients[1].set(path, b"2"),
        lambda: clients[1].delete(path),
        lambda: clients[1].create(path, b"3"),
    ]
    assert wait_for(lambda: len(seen) == 1)
    for number, step in enumerate(steps, 2):
        step()
        assert wait_for(lambda number=number: len(seen) == number)
    assert seen == [None, b"1", b"2", None, b"3"]


def test_data_watch_misses_nothing_over_a_lost_connection(clients, base):
    seen = []
    clients[0].DataWatch(base, lambda data, stat: seen.append(data))
    for number in range(5):
        drop_connection(clients[0])
        value = str(number).encode()
        clients[1].set(base, value)
        assert wait_for(lambda value=value: seen[-1] == value), seen


def test_data_watch_ends_at_the_last_value_under_load(clients, base):
    seen = []
    clients[0].DataWatch(base, lambda data, stat: seen.append((stat.version, data)))
    for number in range(1, 301):
        clients[1].set_async(base, str(number).encode())
    assert wait_for(lambda: seen[-1] == (300, b"300")), seen[-1]
    assert seen == sorted(seen, key=lambda pair: pair[0]), "versions never go back"


def test_children_watch_sees_every_end_state(clients, base):
    seen = []
    clients[0].ChildrenWatch(base, lambda children: seen.append(sorted(children)))
    for name in "abc":
        clients[1].create(f"{base}/{name}", ephemeral=True)
        assert wait_for(lambda name=name: seen[-1][-1:] == [name])
    drop_connection(clients[0])
    clients[1].create(f"{base}/d", ephemeral=True)
    assert wait_for(lambda: seen[-1] == ["a", "b", "c", "d"])
    clients[1].stop()
    assert wait_for(lambda: seen[-1] == [])


def test_children_watch_with_event_stops_when_told(clients, base):
    seen = []

    @clients[0].ChildrenWatch(base, send_event=True)
    def watch(children, event):
        seen.append((len(children), event and event.type))
        return len(children) < 2

    for name in "abc":
        before = len(seen)
        clients[1].create(f"{base}/{name}")
        if name != "c":
            assert wait_for(lambda before=before: len(seen) > before)
    clients[0].sync(base)
    time.sleep(0.1)
    assert seen == [(0, None), (1, "CHILD"), (2, "CHILD")]


def test_patient_children_watch_waits_for_quiet(clients, base):
    result = PatientChildrenWatch(clients[0], base, time_boundary=0.5).start()
    for name in "abc":
        clients[1].create(f"{base}/{name}")
        time.sleep(0.1)
    children, changed = result.get(timeout=10)
    assert sorted(children) == ["a", "b", "c"]
    clients[1].create(f"{base}/d")
    assert changed.get(timeout=10) is not None


def test_tree_cache_mirrors_a_subtree(clients, base):
    cache = TreeCache(clients[0], base)
    events = []
    cache.listen(lambda event: events.append(event.event_type))
    cache.start()
    try:
        assert wait_for(lambda: TreeEvent.INITIALIZED in events)
        for number in range(10):
            clients[1].create(f"{base}/d{number}/leaf", str(number).encode(), makepath=True)
        assert wait_for(
            lambda: all(
                (node := cache.get_data(f"{base}/d{number}/leaf")) is not None
                and node.data == str(number).encode()
                for number in range(10)
            )
        )
        drop_connection(clients[0])
        clients[1].set(f"{base}/d3/leaf", b"new")
        clients[1].delete(f"{base}/d4", recursive=True)
        assert wait_for(lambda: cache.get_data(f"{base}/d3/leaf").data == b"new")
        assert wait_for(lambda: cache.get_data(f"{base}/d4") is None)
        assert cache.get_children(base) == frozenset(f"d{n}" for n in range(10) if n != 4)
    finally:
        cache.close()
