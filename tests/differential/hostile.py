#!/usr/bin/env python3
"""Hostile clients: whatever one connection sends, the server lives on and others are served.

    tests/differential/hostile.py --target ringkeeper [--io epoll]
    tests/differential/hostile.py --target java395        without the checks Java is known to fail

After each check a healthy client must be able to read and write within a second, on a connection it
held all the time and on a new one. It comes from an address of its own, so that a flood cannot use
up its share of connections. The last line is `N passed, N failed`.
"""

import argparse
import pathlib
import select
import socket
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]

import servers  # noqa: E402
import wire  # noqa: E402

WORLD = [[31, "world", "anyone"]]
FRAME_MAX = 0xFFFFF
CONNECTIONS_MAX = 60
HEALTHY_SECONDS = 1.0
FOUR_LETTER = ("conf cons crst dirs dump envi gtmk ruok stmk srst srvr stat wchc wchp wchs mntr isro "
               "hash").split()
CFG = {
    "maxClientCnxns": CONNECTIONS_MAX, "minSessionTimeout": 2000, "maxSessionTimeout": 120_000,
    "tickTime": 1000, "enforceQuota": "true", "extendedTypesEnabled": "true",
}
# Above what queues and socket buffers may hold for twenty clients (a few MB each, at most), far
# below one reply for each request they send.
GROWTH_MAX_KB = 200 * 1024
# Events cannot be held back as requests are: four clients may each fall 64 MiB behind.
EVENTS_GROWTH_MAX_KB = 400 * 1024


class Closed(Exception):
    """The server closed the connection."""


class Client:
    """A raw connection; with a session unless `connect` is false."""

    def __init__(self, port, source="127.0.0.1", connect=True, session=0,
                 password=wire.ZERO_PASSWORD, timeout=60_000, buffer_bytes=None, pipelined=b""):
        self.socket = socket.socket()
        if buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.socket.bind((source, 0))
        self.socket.settimeout(10)
        try:
            self.socket.connect(("127.0.0.1", port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Accepted and closed at once: reading says so.
        self.xid = 0
        self.zxid = 0
        if connect:
            step = {"timeout": timeout, "ro": 0}
            self.send(wire.connect_request(step, session, password, 0) + pipelined)
            r = wire.Reader(self.frame())
            r.i32()
            self.timeout, self.session, self.password = r.i32(), r.i64(), r.buffer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # What the server sent before it closed can still be read.

    def take(self, size):
        out = b""
        while len(out) < size:
            try:
                piece = self.socket.recv(size - len(out))
            except ConnectionError:
                piece = b""
            if not piece:
                raise Closed
            out += piece
        return out

    def frame(self):
        return self.take(struct.unpack(">i", self.take(4))[0])

    def encode(self, request):
        self.xid += 1
        return wire.encode(request, request.get("xid", self.xid), 0)

    def reply(self):
        """(xid, zxid, err, body) of the next frame that is no event."""
        while True:
            data = self.frame()
            xid, zxid, err = struct.unpack(">iqi", data[:16])
            if xid != -1:
                self.zxid = zxid
                return xid, zxid, err, data[16:]

    def call(self, request):
        """The error code of one request."""
        self.send(self.encode(request))
        return self.reply()[2]

    def ended(self):
        """Whether the server closes without another byte."""
        try:
            self.take(1)
        except Closed:
            return True
        except socket.timeout:
            return False
        return False


def create(path, data="", flags=0, op="create", acl=WORLD, **more):
    return {"op": op, "path": path, "data": data, "acl": acl, "flags": flags, **more}


def get(path, watch=0):
    return {"op": "getData", "path": path, "watch": watch}


def put(path, data="x", version=-1):
    return {"op": "setData", "path": path, "data": data, "version": version}


def delete(path):
    return {"op": "delete", "path": path, "version": -1}


def exists(path):
    return {"op": "exists", "path": path, "watch": 0}


RECORDS = [
    create("/t/new", "data"), create("/t/new", "data", op="create2"),
    create("/t/new", "data", 4, "createContainer"), create("/t/new", "d", 5, "createTTL", ttl=9999),
    delete("/t"), exists("/t"), get("/t"), put("/t", "data"), {"op": "getACL", "path": "/t"},
    {"op": "setACL", "path": "/t", "acl": WORLD, "version": -1},
    {"op": "getChildren", "path": "/t", "watch": 1}, {"op": "getChildren2", "path": "/t", "watch": 1},
    {"op": "sync", "path": "/t"}, {"op": "multi", "ops": [create("/t/new"), put("/t")]},
    {"op": "multiRead", "ops": [get("/t")]}, {"op": "checkWatches", "path": "/t", "type": 1},
    {"op": "removeWatches", "path": "/t", "type": 1}, {"op": "addWatch", "path": "/t", "mode": 0},
    {"op": "getEphemerals", "path": "/t"}, {"op": "getAllChildrenNumber", "path": "/t"},
    {"op": "setWatches", "relative": ["at", 0], "data": ["/t"], "exist": [], "child": ["/t"]},
    {"op": "setWatches2", "relative": ["at", 0], "data": [], "exist": ["/t"], "child": [],
     "persistent": ["/t"], "recursive": []},
]


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: {actual!r}, not {wanted!r}")


class Hostile:
    """The checks. Each method named `check_*` is one; `check_j*` and `check_bounded*` show faults or
    unbounded memory of the Java server and run against it only when asked for."""

    def __init__(self, options):
        self.options = options
        args = servers.ringkeeper_args(options) if options.target == "ringkeeper" else ()
        self.server = servers.Server(options.target, cfg=CFG, args=args)

    def client(self, **more):
        return Client(self.server.port, **more)

    def start(self):
        self.server.start()
        self.friend = self.client(source="127.0.0.2")
        self.friend.call(create("/t"))
        self.friend.call(create("/healthy"))

    def healthy(self):
        """One second for a write and a read on the old and on a new connection."""
        if not self.server.running():
            raise AssertionError("the server process ended")
        began = time.monotonic()
        expect(self.friend.call(put("/healthy")), 0, "a write of the healthy client")
        expect(self.friend.call(get("/healthy")), 0, "a read of the healthy client")
        with self.client(source="127.0.0.2") as new:
            expect(new.call(put("/healthy")), 0, "a write on a new connection")
            expect(new.call({"op": "close"}), 0, "closing it")
        took = time.monotonic() - began
        if took > HEALTHY_SECONDS:
            raise AssertionError(f"the healthy client waited {took:.1f} s")

    def resident_kb(self):
        for line in pathlib.Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def closes(self, data, what, connect=True):
        """The server must answer `data` by closing, without a byte."""
        with self.client(connect=connect) as client:
            client.send(data)
            if not client.ended():
                raise AssertionError(f"{what}: not closed without an answer")

    def answers(self, request, err, what, **more):
        """The server must answer `err` and close."""
        with self.client() as client:
            client.send(client.encode(request))
            xid, zxid, got, _ = client.reply()
            expect(got, err, what)
            for name, value in more.items():
                expect({"xid": xid, "zxid": zxid}[name], value, f"{what}, {name}")
            if not client.ended():
                raise AssertionError(f"{what}: not closed behind the answer")

    def check_bad_lengths(self):
        for length in (-1, -2, -(1 << 31), FRAME_MAX + 1, (1 << 31) - 1):
            for connect in (False, True):
                self.closes(wire.i32(length), f"length {length}", connect)

    def check_largest_frame(self):
        with self.client() as client:
            around = len(wire.body(create("/t/big", ""), 0)) + 8
            expect(client.call(create("/t/big", ["b", FRAME_MAX - around])), 0, "0xfffff bytes")
            expect(client.call(get("/t/big")), 0, "reading it")
            expect(client.call(delete("/t/big")), 0, "deleting it")
            client.send(wire.i32(FRAME_MAX + 1))
            expect(client.ended(), True, "one byte more")

    def check_first_frame(self):
        whole = wire.connect_request({"timeout": 30000, "ro": 0}, 0, wire.ZERO_PASSWORD, 0)[4:]
        for size in range(len(whole) - 1):
            self.closes(wire.frame(whole[:size]), f"{size} bytes of a ConnectRequest", False)
        with self.client(connect=False) as client:
            client.send(wire.frame(whole[:-1]))
            expect(len(client.frame()), 36, "the answer to a client without readOnly")
        self.closes(wire.encode(get("/t"), 1, 0), "a request before connect", False)
        self.closes(wire.frame(b"\x7f" * 60), "garbage of a good length", False)

    def check_cut_records(self):
        with self.client() as client:
            for request in RECORDS:
                for size in range(len(wire.whole_body(request, 0))):
                    got = client.call({**request, "cut": size})
                    expect(got, -5, f"{request['op']} cut to {size} bytes")
            expect(client.call(exists("/t/new")), -101, "whether one of them was carried out")

    def check_lengths_inside_records(self):
        path = wire.buffer("/t")
        with self.client() as client:
            before = self.resident_kb()
            for length in ((1 << 31) - 1, 1 << 24, -2, -(1 << 31)):
                for code in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 104, 106):
                    raw = wire.text(wire.i32(length) + b"/t")
                    if code not in (14, 22):
                        got = client.call({"op": "raw", "code": code, "tail": raw})
                        expect(got, -5, f"opcode {code}, path of {length} bytes")
                if length > 0:
                    raw = wire.text(path + wire.i32(0) + wire.i32(length))
                    expect(client.call({"op": "raw", "code": 1, "tail": raw}), -5, "ACL count")
                    raw = wire.text(wire.i64(0) + wire.i32(length))
                    for code in (101, 105):
                        expect(client.call({"op": "raw", "code": code, "tail": raw}), -5, "watches")
            grown = self.resident_kb() - before
            if grown > GROWTH_MAX_KB:
                raise AssertionError(f"{grown} KB more for lengths that were only claimed")

    def check_unknown_opcodes(self):
        for code in (-1, 0, 10, 13, 23, 99, 108, 1 << 30, -(1 << 31)):
            self.answers({"op": "unknown", "code": code, "tail": "abcd"}, -6, f"opcode {code}",
                         zxid=-1, xid=1)

    def check_second_connect(self):
        with self.client() as client:
            client.send(wire.connect_request({"timeout": 9000, "ro": 0}, 0, wire.ZERO_PASSWORD, 0))
            xid, zxid, err, _ = client.reply()
            expect((xid, zxid, err), (0, -1, -6), "a second ConnectRequest")
            expect(client.ended(), True, "closing behind it")

    def check_four_letter_words(self):
        for word in FOUR_LETTER + ["GET ", "QUIT"]:
            self.closes(word.encode(), f"{word} after the handshake")
        self.closes(b"GET / HTTP/1.1\r\n\r\n", "HTTP as first bytes", False)
        with self.client(connect=False) as client:
            client.send(b"ru")
            time.sleep(0.05)
            client.send(b"ok")
            expect(client.take(4), b"imok", "ruok in two pieces")

    def check_short_frames(self):
        for size in range(8):
            self.closes(wire.frame(b"\0" * size), f"a frame of {size} bytes")

    def check_bad_auth(self):
        for scheme, data in (("nope", "x"), ("world", "anyone"), ("digest", None), ("super", "a:b"),
                             ("", ""), ("sasl", "x")):
            self.answers({"op": "auth", "scheme": scheme, "data": data, "xid": -4}, -115,
                         f"auth by {scheme!r}", zxid=0, xid=-4)
        whole = wire.whole_body({"op": "auth", "scheme": "digest", "data": "u:p"}, 0)
        for size in range(len(whole)):
            head = wire.i32(-4) + wire.i32(100)
            self.closes(wire.frame(head + whole[:size]), f"auth cut to {size} bytes")
        with self.client() as client:
            for data in ("", "\0", "\udcff" * 50, ":", ["a", 100_000]):
                got = client.call({"op": "auth", "scheme": "digest", "data": data, "xid": -4})
                expect(got, 0, "any digest")

    def check_sasl(self):
        self.closes(wire.encode({"op": "sasl", "token": None}, 1, 0), "a null token")
        with self.client() as client:
            client.send(client.encode({"op": "sasl", "token": "garbage"}))
            expect(client.reply()[1:], (0, 0, wire.i32(-1)), "a token without SASL configured")
            expect(client.call(get("/t")), 0, "going on")

    def check_flood_of_connections(self):
        time.sleep(0.5)  # Until what earlier checks left is gone, and does not count.
        flood = []
        try:
            for _ in range(3 * CONNECTIONS_MAX):
                flood.append(self.client(connect=False))
            time.sleep(0.5)
            sockets = [client.socket for client in flood]
            readable = set(select.select(sockets, [], [], 0)[0])
            # Java counts a connection a little after it accepted it, so some more slip in.
            exact = self.options.target == "ringkeeper"
            least = (2 if exact else 1) * CONNECTIONS_MAX
            if not least <= len(readable) <= 2 * CONNECTIONS_MAX:
                raise AssertionError(f"{len(readable)} of {len(flood)} connections refused")
            ended = [client.ended() for client in flood if client.socket in readable]
            expect(all(ended), True, "refusal without a byte")
            self.healthy()
        finally:
            for client in flood:
                client.socket.close()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                with self.client():
                    time.sleep(0.5)
                    return
            except Closed:
                time.sleep(0.05)
        raise AssertionError("the address stays refused after its connections are gone")

    def check_half_open(self):
        idle = [self.client(connect=False) for _ in range(40)]
        try:
            for index, client in enumerate(idle):
                client.send((b"\0\0\0\x2d" + b"\0" * 40)[: index + 1])
            self.healthy()
            for client in idle:
                client.socket.shutdown(socket.SHUT_WR)
                expect(client.ended(), True, "the end of a half-open connection")
        finally:
            for client in idle:
                client.socket.close()

    def check_abrupt_ends(self):
        for _ in range(50):
            client = self.client()
            client.send(client.encode(create("/t/s", "", 3)) * 5 + b"\0\0")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()

    def check_byte_by_byte(self):
        with self.client() as client:
            data = client.encode(create("/t/slow", "abc")) + client.encode(get("/t/slow"))
            data += client.encode(delete("/t/slow"))
            for index in range(len(data)):
                client.send(data[index : index + 1])
            for _ in range(3):
                expect(client.reply()[2], 0, "a request sent byte by byte")

    def check_pipelined_behind_connect(self):
        first = wire.encode(create("/t/early"), 1, 0) + wire.encode(delete("/t/early"), 2, 0)
        with self.client(pipelined=first) as client:
            expect([client.reply()[2], client.reply()[2]], [0, 0], "requests behind the handshake")

    def check_requests_behind_close(self):
        for _ in range(20):
            with self.client() as client:
                data = client.encode({"op": "close"}) + client.encode(create("/t/late", "", 1))
                client.send(data + client.encode(create("/t/late2")))
                expect(client.reply()[2], 0, "close")
                # Java answers SESSIONEXPIRED instead of nothing now and then.
                try:
                    while True:
                        expect(client.reply()[2], -112, "a request behind close")
                except Closed:
                    pass
        for path in ("/t/late", "/t/late2"):
            expect(self.friend.call(exists(path)), -101, "a create behind close")

    def check_large_multi(self):
        with self.client() as client:
            rows = [delete("/nosuch")] * 30_000
            client.send(client.encode({"op": "multi", "ops": rows}))
            self.healthy()
            expect(client.reply()[2], 0, "a multi of 30 000 rows")

    def check_long_paths(self):
        deep, wide = "/a" * 200_000, "/" + "w" * 500_000
        with self.client() as client:
            for path in (deep, wide):
                expect(client.call(create(path + "/x")), -101, "create below a long path")
                expect(client.call(get(path)), -101, "reading a long path")
                expect(client.call(exists(path)), -101, "exists of a long path")
                expect(client.call({"op": "addWatch", "path": path, "mode": 1}), 0, "watching it")
                expect(client.call({"op": "removeWatches", "path": path, "type": 3}), 0, "not more")
            expect(client.call(create(wide)), 0, "a long name")
            expect(client.call({"op": "getChildren", "path": "/", "watch": 0}), 0, "listing it")
            expect(client.call(delete(wide)), 0, "deleting it")

    def check_refused_sessions(self):
        for _ in range(100):
            with self.client(session=0x0100123412341234) as client:
                expect((client.timeout, client.session), (0, 0), "an unknown session")
                expect(client.ended(), True, "closing it")

    def hold_back(self, clients, request, rounds):
        """Pipelines requests on clients that never read, as far as the server lets them."""
        waiting = []
        for client in clients:
            client.socket.setblocking(False)
            waiting.append(client.encode(request) * 50 * rounds)
        for _ in range(rounds):
            for index, client in enumerate(clients):
                try:
                    sent = client.socket.send(waiting[index][: 1 << 16])
                    waiting[index] = waiting[index][sent:]
                except (BlockingIOError, ConnectionError):
                    pass
            time.sleep(0.005)

    def bounded(self, before, what, growth_max_kb=GROWTH_MAX_KB):
        peak = 0
        for _ in range(10):
            peak = max(peak, self.resident_kb())
            self.healthy()
            time.sleep(0.1)
        if peak - before > growth_max_kb:
            raise AssertionError(f"{what}: {(peak - before) >> 10} MB more")

    def check_bounded_large_reads(self):
        expect(self.friend.call(create("/t/large", ["l", 1_000_000])), 0, "a large node")
        before = self.resident_kb()
        clients = [self.client(buffer_bytes=4096) for _ in range(20)]
        try:
            self.hold_back(clients, get("/t/large"), 20)  # 20 GB of replies.
            self.bounded(before, "clients that never read large replies")
        finally:
            for client in clients:
                client.socket.close()
        expect(self.friend.call(delete("/t/large")), 0, "deleting it")

    def check_bounded_small_replies(self):
        before = self.resident_kb()
        clients = [self.client(buffer_bytes=4096) for _ in range(20)]
        try:
            self.hold_back(clients, get("/t"), 400)
            self.hold_back(clients, put("/t"), 100)
            self.bounded(before, "clients that never read small replies")
        finally:
            for client in clients:
                client.socket.close()

    def check_bounded_events(self):
        path = "/t/" + "e" * 800
        expect(self.friend.call(create(path)), 0, "a long name")
        before = self.resident_kb()
        clients = [self.client(buffer_bytes=4096) for _ in range(4)]
        try:
            for client in clients:
                expect(client.call({"op": "addWatch", "path": "/t", "mode": 1}), 0, "a watch")
            with self.client() as writer:
                for _ in range(150):  # 120 MB of events for each of the four.
                    writer.send(writer.encode({"op": "multi", "ops": [put(path)] * 1000}))
                    expect(writer.reply()[2], 0, "many changes")
            self.bounded(before, "clients that never read their events", EVENTS_GROWTH_MAX_KB)
        finally:
            for client in clients:
                client.socket.close()
        expect(self.friend.call(delete(path)), 0, "deleting it")

    def check_j1(self):
        with self.client() as client:
            for flags in (0, 1, 2, 3, 4):
                got = client.call(create("/t/j1", "", flags, "createTTL", ttl=-1))
                expect(got, -8, f"createTTL, flags {flags}, ttl -1")

    def check_j2(self):
        with self.client() as client:
            path = "/zookeeper/quota/zookeeper_limits"
            expect(client.call(create(path, "count=1,bytes=1")), 0, "a quota on the root")
            expect(client.call(create("/t/j2")), 0, "a create below it")
            expect(client.call(delete("/t/j2")), 0, "a delete below it")
            expect(client.call(delete(path)), 0, "deleting it")

    def check_j3(self):
        quota = "/zookeeper/quota/j3"
        with self.client() as client:
            for path in ("/j3", quota):
                expect(client.call(create(path)), 0, path)
            expect(client.call(create(quota + "/zookeeper_limits", "count=9,bytes=99")), 0, "limits")
            expect(client.call(create(quota + "/zookeeper_stats")), 0, "stats")
            for data in ("garbage", "count=x,bytes=y", "", None, "=,=;", "\udcff", "count=" + "9" * 40):
                for name in ("/zookeeper_stats", "/zookeeper_limits"):
                    expect(client.call(put(quota + name, data)), 0, f"{data!r} in {name}")
                    expect(client.call(create("/j3/n")), 0, f"create with {data!r} in {name}")
                    expect(client.call(put("/j3/n", "abc")), 0, "setData")
                    expect(client.call(delete("/j3/n")), 0, "delete")
            for path in (quota + "/zookeeper_stats", quota + "/zookeeper_limits", quota, "/j3"):
                expect(client.call(delete(path)), 0, path)

    def check_j4(self):
        with self.client() as client:
            for path in ("/zookeeper/zookeeper_limits", "/zookeeper/zookeeper_stats"):
                expect(client.call(create(path)), 0, path)
                expect(client.call(delete(path)), 0, f"deleting {path}")

    def check_j5(self):
        with self.client() as client:
            expect(client.call(put("/t")), 0, "a write")
            last = client.zxid
            for request in RECORDS[:5]:
                expect(client.call({**request, "cut": 3}), -5, "a write that does not decode")
                expect(client.zxid, last, "the zxid it is answered with")
            expect(client.call(put("/t")), 0, "the next write")
            expect(client.zxid, last + 1, "its zxid")

    def check_j7(self):
        with self.client() as client:
            expect(client.call(create("/t/j7", acl=[[1, "world", "anyone"]])), 0, "a node")
        self.answers({"op": "deleteContainer", "path": "/t/j7"}, -6, "deleteContainer", zxid=-1)
        expect(self.friend.call(exists("/t/j7")), 0, "the node afterwards")
        expect(self.friend.call(delete("/t/j7")), 0, "deleting it")

    def check_j8(self):
        self.answers({"op": "createSession"}, -6, "createSession", zxid=-1)

    def check_j9(self):
        with self.client() as rightful:
            with self.client(session=rightful.session, password=b"w" * 16) as wrong:
                expect(wrong.session, 0, "a session by a wrong password")
            expect(rightful.call(get("/t")), 0, "the rightful connection")

    def check_j10(self):
        with self.client() as client:
            for op, flags in (("create", 4), ("create2", 4), ("createContainer", 0)):
                got = client.call(create("/t/j10", "", flags, op))
                if got not in (0, -8):
                    raise AssertionError(f"{op} with flags {flags}: {got}")
                if got == 0:
                    expect(client.call(delete("/t/j10")), 0, "deleting it")

    def check_j13(self):
        """Also the restart after all rows before it: nothing hostile may be in the log."""
        expect(self.friend.call(create("/t/ttl", "", 5, "createTTL", ttl=10**9)), 0, "a TTL node")
        expect(self.friend.call(create("/t/ttl/child")), 0, "its child")
        self.server.kill()
        self.server.cfg["extendedTypesEnabled"] = "false"
        self.server.write_cfg()
        self.server.start()
        self.friend = self.client(source="127.0.0.2")
        for path in ("/t/ttl", "/t/ttl/child"):
            expect(self.friend.call(exists(path)), 0, f"{path} after a restart without the property")

    def checks(self):
        """All names in the order of this file; faults of Java only where they are wanted."""
        for name in vars(Hostile):
            if name.startswith("check_"):
                java_fails = name.startswith(("check_j", "check_bounded"))
                if self.options.faults or not java_fails:
                    yield name


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=servers.KINDS[:3], default="ringkeeper")
    parser.add_argument("--io", help="ringkeeper's --io")
    parser.add_argument("--shards", help="ringkeeper's --shards, used from the first connection on")
    parser.add_argument("--only", help="checks whose name contains this")
    parser.add_argument("--faults", action=argparse.BooleanOptionalAction, default=None,
                        help="run what Java fails; default: not against Java")
    options = parser.parse_args()
    if options.faults is None:
        options.faults = options.target == "ringkeeper"
    hostile = Hostile(options)
    hostile.start()
    passed = failed = 0
    for name in hostile.checks():
        if options.only and options.only not in name:
            continue
        began = time.monotonic()
        try:
            getattr(hostile, name)()
            hostile.healthy()
            passed += 1
            verdict = "ok"
        except (AssertionError, Closed, OSError, struct.error, wire.Short) as error:
            failed += 1
            time.sleep(0.5)  # A process that is about to end does so first.
            verdict = f"FAILED: {error or 'closed by the server'} ({type(error).__name__})"
            if not hostile.server.running():
                hostile.server.close()
                hostile = Hostile(options)
                hostile.start()
        print(f"{name[6:]:<26} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
    hostile.server.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
