"""One data directory, several servers: what ours wrote a Java server serves, and the reverse.

Each test goes a round trip. A first server fills a directory with every kind of node, is stopped
or killed, and a second one of another kind starts on a copy: its tree must be equal node by node,
Stat and ACL included, and the sessions that were open must be re-attachable. The second one then
writes more, and the first kind reads the directory back.
"""

import glob
import os
import struct
import time

import pytest

import servers
import wire as w
from wire import Wire

SUPER = b"super:test"
CFG = {
    "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
    "snapCount": 100,
    "preAllocSize": 64,
    "maxSessionTimeout": 120000,
}
# No container may be scanned away while trees are compared.
PROPS = {"znode.container.checkIntervalMs": 600000}


def start(kind, data_dir=None, cfg=None):
    """A server of that kind; the kind under test with its --io."""
    options = {"cfg": {**CFG, **(cfg or {})}, "props": PROPS, "data_dir": data_dir}
    if kind == servers.kind_under_test():
        return servers.from_environment(**options).start()
    return servers.Server(kind, **options).start()


def admin(server):
    """A connection that may read everything."""
    wire = Wire(server.port, timeout=20)
    assert wire.connect(timeout_ms=30000)
    wire.authenticate("digest", SUPER)
    return wire


def tree(server):
    """The whole tree: path -> (data, Stat, ACL bytes), session of the reader not included."""
    nodes = {}
    with admin(server) as wire:
        pending = ["/"]
        while pending:
            path = pending.pop()
            data = wire.call(w.GET, w.watch_body(path))
            acl = wire.call(w.GET_ACL, w.ustring(path))
            assert (data.err, acl.err) == (0, 0), path
            nodes[path] = (data.body[:-68], w.stat(data.body), acl.body[:-68])
            pending += [f"{path.rstrip('/')}/{name}" for name in wire.children(path)]
        wire.close_session()
    return nodes


def assert_same(expected, got, label):
    """Compares two trees and names the first nodes that differ."""
    assert sorted(expected) == sorted(got), label
    different = {path: (expected[path], got[path]) for path in expected
                 if expected[path] != got[path]}
    assert not different, f"{label}: {dict(list(different.items())[:3])}"


def acl(*entries):
    """An encoded ACL list of (perms, scheme, id)."""
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + w.ustring(scheme) + w.ustring(name)
        for perms, scheme, name in entries
    )


def ttl_body(path, ttl_ms):
    """CreateTTLRequest."""
    return w.ustring(path) + w.buffer(b"ttl") + w.OPEN_ACL + struct.pack(">iq", 5, ttl_ms)


def fill(server, root):
    """Every kind of node, of write and of failure below `root`; gives two open sessions."""

    def ok(wire, op, body):
        reply = wire.call(op, body)
        assert reply.err == 0, (op, body, reply.err)
        return reply

    owners = []
    for _ in range(2):
        owner = Wire(server.port, timeout=20)
        assert owner.connect(timeout_ms=100000)
        owners.append(owner)
    first, second = owners
    first.create(root)
    for name, data in [
        ("null", None),
        ("empty", b""),
        ("binary", bytes(range(256)) * 16),
        ("größe-日本", "größe".encode()),
        ("large", b"0123456789" * 50000),
    ]:
        ok(first, w.CREATE, w.create_body(f"{root}/{name}", data))
    first.create(f"{root}/e1", b"one", w.EPHEMERAL)
    second.create(f"{root}/e2", b"two", w.EPHEMERAL | w.SEQUENTIAL)
    ok(first, w.CONTAINER, w.create_body(f"{root}/container", b"", 4))
    first.create(f"{root}/container/child")
    ok(first, w.TTL, ttl_body(f"{root}/ttl", 3_600_000))
    first.authenticate("digest", b"bob:secret")
    lists = {
        "several": acl((31, "digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="), (1, "world", "anyone")),
        "ip": acl((31, "ip", "127.0.0.1/8"), (16, "world", "anyone")),
        "auth": acl((31, "auth", "")),
    }
    for name, entries in lists.items():
        ok(first, w.CREATE, w.create_body(f"{root}/acl-{name}", b"x", acl=entries))
    ok(first, 7, w.ustring(f"{root}/empty") + lists["several"] + struct.pack(">i", 0))
    # A quota, and nodes that it counts.
    quota = f"/zookeeper/quota{root}"
    second.create(quota)
    second.create(f"{quota}/zookeeper_limits", b"count=1000,bytes=-1")
    second.create(f"{quota}/zookeeper_stats", b"count=0,bytes=0")
    # Enough for several snapshots and segments, deletions among it.
    for number in range(240):
        path = f"{root}/many-{number % 60}"
        there = second.get(path)
        if there is None:
            second.create(path, str(number).encode())
        elif number % 7 == 0:
            ok(second, w.DELETE, w.delete_body(path))
        else:
            second.set(path, str(number).encode() * 5)
        if number % 50 == 0:
            first.create(f"{root}/seq-", b"", w.SEQUENTIAL)
            assert first.call(w.DELETE, w.delete_body(f"{root}/none")).err == -101
    good = w.multi_body(
        (w.CREATE, w.create_body(f"{root}/multi", b"1")),
        (w.SET, w.set_body(f"{root}/multi", b"2", 0)),
        (w.DELETE, w.delete_body(f"{root}/null")),
        (13, w.ustring(root) + struct.pack(">i", -1)),
    )
    ok(first, w.MULTI, good)
    ok(first, w.MULTI, w.multi_body((w.CREATE, w.create_body(f"{root}/multi", b"again"))))
    with Wire(server.port) as closing:
        assert closing.connect()
        closing.create(f"{root}/gone", b"", w.EPHEMERAL)
        closing.close_session()
    return owners


def no_digest_mismatch(server):
    """Replaying, a Java server compares the digests in the log with its own tree's."""
    if server.kind != "ringkeeper":
        assert server.mntr().get("zk_digest_mismatches_count", "0") == "0"
        assert "Digests are not matching" not in server.log_tail(100000)


def hand_over(server, kill, tmp_path, name):
    """Ends a server and copies its data, as an operator does."""
    if kill:
        server.kill()
    else:
        server.stop()
    return servers.copy_of_data(server, str(tmp_path / name))


def reattach(server, owner, path):
    """The session lives on at another server, which knows its node."""
    with Wire(server.port) as wire:
        assert wire.connect(session=owner.session, password=owner.password, timeout_ms=100000)
        assert wire.get(path)[1].owner == owner.session


def round_trip(first_kind, second_kind, kill, tmp_path, cfg=None):
    """See the head of this file."""
    first = second = third = None
    owners = []
    try:
        first = start(first_kind, cfg=cfg)
        owners = fill(first, "/there")
        expected = tree(first)
        assert len(expected) > 60
        data = hand_over(first, kill, tmp_path, "there")
        assert len(glob.glob(os.path.join(data, "version-2", "snapshot.*"))) > 1
        assert len(glob.glob(os.path.join(data, "version-2", "log.*"))) > 1

        second = start(second_kind, data_dir=data, cfg=cfg)
        assert_same(expected, tree(second), f"{second_kind} reads {first_kind}")
        no_digest_mismatch(second)
        reattach(second, owners[0], "/there/e1")
        owners += fill(second, "/back")
        # Writes that depend on counters from the first server's files.
        with admin(second) as wire:
            assert wire.create("/there/seq-", b"", w.SEQUENTIAL)[-10:].isdigit()
            wire.set("/there/multi", b"3", 1)
            wire.close_session()
        expected = tree(second)
        data = hand_over(second, kill, tmp_path, "back")

        third = start(first_kind, data_dir=data, cfg=cfg)
        assert_same(expected, tree(third), f"{first_kind} reads {second_kind}")
        no_digest_mismatch(third)
        reattach(third, owners[0], "/there/e1")
        reattach(third, owners[2], "/back/e1")
    finally:
        for owner in owners:
            owner.socket.close()
        for server in (first, second, third):
            if server is not None:
                server.close()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
@pytest.mark.parametrize("java", ["java38", "java395"])
def test_java_reads_ours_and_we_read_it_back(java, kill, tmp_path):
    round_trip(servers.kind_under_test(), java, kill, tmp_path)


@pytest.mark.parametrize("java", ["java38", "java395"])
def test_we_read_java_and_java_reads_it_back(java, tmp_path):
    round_trip(java, servers.kind_under_test(), True, tmp_path)


@pytest.mark.parametrize("method", ["gz", "snappy"])
def test_compressed_snapshots_go_both_ways(method, tmp_path):
    cfg = {"snapshot.compression.method": method}
    round_trip(servers.kind_under_test(), "java395", False, tmp_path, cfg)


def test_a_server_started_on_foreign_data_of_a_dead_session_expires_it(tmp_path):
    first = start("java395")
    second = None
    try:
        with Wire(first.port) as wire:
            assert wire.connect(timeout_ms=1000)
            wire.create("/e", b"", w.EPHEMERAL)
            first.kill()
        second = start(servers.kind_under_test(), servers.copy_of_data(first, str(tmp_path / "d")))
        end = time.monotonic() + 10
        with admin(second) as wire:
            while wire.get("/e") is not None:
                assert time.monotonic() < end, "the ephemeral of a dead session is still there"
                time.sleep(0.05)
    finally:
        first.close()
        if second is not None:
            second.close()
