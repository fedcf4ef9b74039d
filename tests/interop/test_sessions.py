"""Sessions, ephemerals, ACLs, multis and restarts, through kazoo where it can show them and over
the raw wire where it cannot."""

import socket
import threading
import time
import uuid

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE, make_acl, make_digest_acl

import wire as w


def wait_for(condition, seconds=10.0):
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def restart(server, *clients, kill):
    """Restarts the server under kazoo clients.

    A Java server that is starting takes connections before it can serve them, and a ConnectRequest
    that falls into that gap is never answered: kazoo then waits for a whole session timeout. Such a
    connection is cut here, for Java only: ringkeeper has no such gap, and must not get one.
    """
    server.restart(kill=kill)
    if server.kind == "ringkeeper":
        return
    for client in clients:
        while not wait_for(lambda client=client: client.connected, 1.0):
            drop_connection(client)


def drop_connection(client):
    """Cuts the TCP connection under a kazoo client; it comes back by itself."""
    connected = client._connection._socket
    if connected is None:
        return
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It was gone already.


# --- the calls


def test_create_get_set_exists_delete(zk, base):
    path, stat = zk.create(f"{base}/n", b"one", include_data=True)
    assert path == f"{base}/n"
    data, read = zk.get(path)
    assert data == b"one" and read == stat
    assert (read.version, read.dataLength, read.numChildren, read.ephemeralOwner) == (0, 3, 0, 0)
    assert read.czxid == read.mzxid == read.pzxid
    changed = zk.set(path, b"three", version=0)
    assert changed.version == 1 and changed.mzxid > stat.mzxid and changed.czxid == stat.czxid
    with pytest.raises(BadVersionError):
        zk.set(path, b"x", version=0)
    with pytest.raises(BadVersionError):
        zk.delete(path, version=7)
    zk.delete(path, version=1)
    assert zk.exists(path) is None
    with pytest.raises(NoNodeError):
        zk.get(path)


def test_parents_are_needed_and_kept(zk, base):
    with pytest.raises(NoNodeError):
        zk.create(f"{base}/a/b")
    zk.create(f"{base}/a/b/c", makepath=True)
    with pytest.raises(NotEmptyError):
        zk.delete(f"{base}/a")
    with pytest.raises(NodeExistsError):
        zk.create(f"{base}/a/b")
    assert zk.get_children(f"{base}/a") == ["b"]
    children, stat = zk.get_children(base, include_data=True)
    assert children == ["a"] and (stat.cversion, stat.numChildren) == (1, 1)
    zk.delete(f"{base}/a", recursive=True)
    assert zk.get_children(base) == []


def test_names_beyond_ascii(zk, base):
    name = "größe-日本-é"
    zk.create(f"{base}/{name}", b"x")
    assert zk.get_children(base) == [name]
    assert zk.get(f"{base}/{name}")[0] == b"x"


def test_sequential_nodes_of_many_clients_are_unique(server, zk, base, make_client):
    clients = [make_client(server) for _ in range(4)]
    made = []
    lock = threading.Lock()

    def work(client):
        mine = [client.create(f"{base}/s-", sequence=True) for _ in range(50)]
        assert mine == sorted(mine), "numbers rise in a session"
        with lock:
            made.extend(mine)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [f"{base}/s-{number:010d}" for number in range(200)]


def test_multi_commits_or_rolls_back(zk, base):
    transaction = zk.transaction()
    transaction.create(f"{base}/a", b"1")
    transaction.create(f"{base}/q-", sequence=True)
    transaction.set_data(f"{base}/a", b"2")
    transaction.check(f"{base}/a", 1)
    results = transaction.commit()
    assert results[0] == f"{base}/a"
    assert results[1] == f"{base}/q-0000000001"
    assert results[2].version == 1 and results[3] is True
    bad = zk.transaction()
    bad.delete(f"{base}/a")
    bad.check(base, 12)
    bad.create(f"{base}/b")
    results = bad.commit()
    assert [type(result) for result in results] == [
        RolledBackError,
        BadVersionError,
        RuntimeInconsistency,
    ]
    assert zk.get(f"{base}/a")[0] == b"2"
    assert zk.exists(f"{base}/b") is None


def test_sync_then_read_sees_every_acknowledged_write(server, zk, base, make_client):
    other = make_client(server)
    for number in range(100):
        zk.set(base, str(number).encode())
        assert other.sync(base) == base
        assert other.get(base)[0] == str(number).encode()


# --- watches


def test_exists_watch_sees_creation_change_and_deletion(zk, base):
    seen = []
    path = f"{base}/later"

    def watch(event):
        seen.append(event.type)

    for act, kind in [
        (lambda: zk.create(path), "CREATED"),
        (lambda: zk.set(path, b"x"), "CHANGED"),
        (lambda: zk.delete(path), "DELETED"),
    ]:
        zk.exists(path, watch=watch)
        act()
        assert wait_for(lambda kind=kind: seen[-1:] == [kind])
    assert seen == ["CREATED", "CHANGED", "DELETED"]


def test_child_watch_fires_once_and_not_for_data(zk, base):
    seen = []
    zk.create(f"{base}/a")
    zk.get_children(base, watch=lambda event: seen.append((event.type, event.path)))
    zk.set(base, b"x")
    zk.set(f"{base}/a", b"x")
    zk.create(f"{base}/b")
    zk.create(f"{base}/c")
    zk.sync(base)
    assert wait_for(lambda: seen)
    assert seen == [("CHILD", base)]


# --- sessions


def test_session_is_reattached_after_a_broken_connection(zk, base):
    states = []
    zk.add_listener(states.append)
    session = zk.client_id
    path = zk.create(f"{base}/e", ephemeral=True)
    for _ in range(3):
        drop_connection(zk)
        assert wait_for(lambda: states[-2:] == [KazooState.SUSPENDED, KazooState.CONNECTED])
        states.clear()
        assert zk.client_id == session
        assert zk.exists(path).ephemeralOwner == session[0]


def test_session_moves_to_another_client(server, zk, base, make_client, make_wire):
    first = make_wire(server)
    path = first.create(f"{base}/e", flags=w.EPHEMERAL)
    second = make_client(server, client_id=(first.session, first.password))
    assert second.client_id[0] == first.session
    assert second.exists(path).ephemeralOwner == first.session
    with pytest.raises(w.Closed):
        first.call(w.EXISTS, w.watch_body("/"))
    second.stop()
    assert zk.exists(path) is None
    late = make_wire(server, connect=False)
    assert not late.connect(session=first.session, password=first.password)


def test_ephemerals_vanish_on_close(server, zk, base, make_client):
    leaving = make_client(server)
    for number in range(10):
        leaving.create(f"{base}/e{number}", ephemeral=True)
    with pytest.raises(NoChildrenForEphemeralsError):
        leaving.create(f"{base}/e0/child")
    assert len(zk.get_children(base)) == 10
    leaving.stop()
    assert zk.get_children(base) == []


def test_ephemerals_vanish_on_expiry_and_not_before(server, zk, base, make_wire):
    dying = make_wire(server, timeout_ms=1000)
    assert dying.timeout_ms == 1000
    path = dying.create(f"{base}/e", flags=w.EPHEMERAL)
    last = time.monotonic()
    dying.socket.close()
    gone = threading.Event()
    zk.exists(path, watch=lambda event: event.type == "DELETED" and gone.set())
    assert gone.wait(10)
    lived = time.monotonic() - last
    # One tick of 200 ms at most after the timeout, and room for a busy machine.
    assert 0.9 <= lived < 3.0, lived
    late = make_wire(server, connect=False)
    assert not late.connect(session=dying.session, password=dying.password)


def test_pings_keep_a_session_alive(server, base, make_wire):
    quiet = make_wire(server, timeout_ms=600)
    path = quiet.create(f"{base}/e", flags=w.EPHEMERAL)
    for _ in range(10):
        time.sleep(0.25)
        assert quiet.call(w.PING, xid=-2).xid == -2
    assert quiet.get(path) is not None


def test_reattach_takes_the_new_timeout(server, zk, base, make_wire):
    first = make_wire(server, timeout_ms=600)
    path = first.create(f"{base}/e", flags=w.EPHEMERAL)
    second = make_wire(
        server, timeout_ms=20000, session=first.session, password=first.password
    )
    assert second.timeout_ms == 20000
    second.socket.close()
    time.sleep(1.5)
    assert zk.exists(path) is not None


def test_expired_kazoo_client_loses_its_ephemerals_and_gets_a_new_session(server, zk, base):
    states = []
    client = KazooClient(hosts=server.address, timeout=1.0)
    client.add_listener(states.append)
    client.start()
    try:
        old = client.client_id
        client.create(f"{base}/e", ephemeral=True)
        # Another connection with its id and password closes the session under it.
        with w.Wire(server.port) as thief:
            assert thief.connect(session=old[0], password=old[1])
            thief.close_session()
        assert wait_for(lambda: KazooState.LOST in states)
        assert wait_for(lambda: client.connected and client.client_id[0] != old[0])
        assert zk.exists(f"{base}/e") is None
    finally:
        client.stop()
        client.close()


# --- authentication and ACLs


def test_digest_acl_guards_every_permission(server, zk, base, make_client):
    owner = make_client(server, auth_data=[("digest", "bob:secret")])
    path = owner.create(f"{base}/mine", b"x", acl=CREATOR_ALL_ACL)
    for attempt in [
        lambda: zk.get(path),
        lambda: zk.set(path, b""),
        lambda: zk.create(f"{path}/c"),
        lambda: zk.get_children(path),
        lambda: zk.set_acls(path, [make_digest_acl("eve", "x", all=True)]),
    ]:
        with pytest.raises(NoAuthError):
            attempt()
    owner.create(f"{path}/c")
    with pytest.raises(NoAuthError):
        zk.delete(f"{path}/c")
    acls, stat = owner.get_acls(path)
    expected = make_digest_acl("bob", "secret", all=True)
    assert acls == [expected] and stat.aversion == 0
    zk.add_auth("digest", "bob:secret")
    assert zk.get(path)[0] == b"x"
    zk.delete(f"{path}/c")


def test_set_acl_counts_its_own_version(zk, base):
    read_only = READ_ACL_UNSAFE + [make_digest_acl("admin", "pw", admin=True)]
    assert zk.set_acls(base, read_only, version=0).aversion == 1
    with pytest.raises(BadVersionError):
        zk.add_auth("digest", "admin:pw")
        zk.set_acls(base, read_only, version=0)
    with pytest.raises(NoAuthError):
        zk.set(base, b"x")
    assert zk.get(base)[1].version == 0


def test_ip_acl(zk, base):
    path = zk.create(f"{base}/ip", b"x", acl=[make_acl("ip", "127.0.0.0/8", all=True)])
    assert zk.get(path)[0] == b"x"
    path = zk.create(f"{base}/far", b"x", acl=[make_acl("ip", "10.1.2.3", all=True)])
    with pytest.raises(NoAuthError):
        zk.get(path)


def test_bad_acls_are_refused(zk, base):
    for acl in [make_acl("nosuch", "x", all=True), make_acl("ip", "not-an-ip", all=True)]:
        with pytest.raises(InvalidACLError):
            zk.create(f"{base}/bad", acl=[acl])
    with pytest.raises(InvalidACLError):
        zk.create(f"{base}/bad", acl=CREATOR_ALL_ACL)


def test_bad_auth_ends_the_connection(server, make_client):
    client = make_client(server)
    with pytest.raises(AuthFailedError):
        client.add_auth("nosuch", "x")


# --- restarts


def test_restart_after_sigkill_keeps_data_sessions_and_ephemerals(own_server, make_client):
    server = own_server()
    client = make_client(server, connection_retry=KazooRetry(max_tries=-1, delay=0.05))
    states = []
    client.add_listener(states.append)
    session = client.client_id
    client.create("/e", b"mine", ephemeral=True)
    client.create("/p", b"0")
    versions = [client.set("/p", str(number).encode()).version for number in range(1, 51)]
    assert versions == list(range(1, 51))
    for kill in (True, False):
        restart(server, client, kill=kill)
        data, stat = client.retry(client.get, "/p")
        assert (data, stat.version) == (b"50", 50)
        assert client.client_id == session
        assert client.retry(client.exists, "/e").ephemeralOwner == session[0]
    assert KazooState.LOST not in states


def test_retry_bridges_a_restart(own_server, make_client):
    server = own_server()
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.2)
    client = make_client(server, connection_retry=retry, command_retry=retry)
    client.create("/c", b"")
    ending = threading.Event()
    done = []

    def load():
        while not ending.is_set():
            client.retry(client.set, "/c", b"x")
            done.append(1)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            before = len(done)
            assert wait_for(lambda before=before: len(done) > before + 20)
            restart(server, client, kill=True)
        before = len(done)
        assert wait_for(lambda: len(done) > before + 20)
    finally:
        ending.set()
        thread.join(20)
    # A set whose reply was lost may have been applied and then repeated, never lost.
    assert client.get("/c")[1].version >= len(done)


def test_session_that_dies_while_the_server_is_down_expires_after_the_restart(
    own_server, make_client, make_wire
):
    server = own_server()
    dying = make_wire(server, timeout_ms=1000)
    dying.create("/e", flags=w.EPHEMERAL)
    server.kill()
    dying.socket.close()
    server.start()
    client = make_client(server)
    assert wait_for(lambda: client.exists("/e") is None, 5)


def test_orderly_stop_loses_nothing_and_ends_well(own_server, make_client):
    server = own_server()
    client = make_client(server)
    for number in range(200):
        client.create(f"/n{number:03}", str(number).encode())
    client.stop()
    code = server.stop()
    assert code in (0, 143)
    server.start()
    client = make_client(server)
    assert len([name for name in client.get_children("/") if name[0] == "n"]) == 200


def test_max_client_connections_of_one_address(own_server):
    server = own_server(cfg={"maxClientCnxns": 5})
    connections = [w.Wire(server.port) for _ in range(5)]
    try:
        assert all(connection.connect() for connection in connections)
        with w.Wire(server.port) as sixth, pytest.raises((w.Closed, OSError)):
            sixth.connect()
        assert connections[0].call(w.EXISTS, w.watch_body("/")).err == 0
    finally:
        for connection in connections:
            connection.socket.close()


def test_paused_server_is_no_dead_server(own_server, make_client):
    server = own_server()
    client = make_client(server, timeout=20.0)
    path = client.create(f"/{uuid.uuid4().hex}", ephemeral=True)
    server.pause()
    time.sleep(1.0)
    server.resume()
    assert client.retry(client.exists, path) is not None
