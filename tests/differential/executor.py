"""Plays abstract steps against one or two servers and collects every frame they send.

A step acts on one connection. After it, the executor brings every connection to rest: a ping goes
out behind the requests, and all that arrives before its reply belongs to the step; then a ping on
each other connection collects the events the step caused there. A server that answered the first
ping has published the writes before it, and a ping sent afterwards on any connection must come
behind their events, so nothing is left in flight and nothing is measured by waiting.
"""

import itertools
import socket
import struct

import wire

SLOTS = 4
REPLY_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 5.0
PING = {"op": "ping"}


class Connection:
    """One TCP connection of a server, and the requests it still has to answer."""

    def __init__(self, side, port):
        self.side = side
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.pending = []
        self.xids = itertools.count(1)
        self.refused = False
        self.closed = False

    def send(self, data, slow=False):
        try:
            if slow:
                for index in range(len(data)):
                    self.socket.sendall(data[index : index + 1])
            else:
                self.socket.sendall(data)
        except OSError:
            pass  # Closed by the server: reading says so, after the frames it sent before.

    def request(self, request):
        """The bytes of one request, which from now on is owed a reply."""
        if request["op"] == "raw":
            self.pending.append(request)
            return bytes.fromhex(request["hex"])
        if request["op"] == "ping" and "xid" not in request:
            xid = wire.PING_XID
        else:
            xid = request["xid"] if "xid" in request else next(self.xids)
        self.pending.append(request)
        return wire.encode(request, xid, self.side.last_zxid)

    def take_frame(self, timeout):
        """The next frame, or None when the server has closed; raises `socket.timeout`."""
        while True:
            if len(self.received) >= 4:
                size = struct.unpack(">i", self.received[:4])[0]
                if len(self.received) >= 4 + size:
                    data = self.received[4 : 4 + size]
                    self.received = self.received[4 + size :]
                    return data
            self.socket.settimeout(timeout)
            try:
                piece = self.socket.recv(1 << 18)
            except ConnectionError:
                piece = b""
            if not piece:
                self.closed = True
                self.socket.close()
                return None
            self.received += piece

    def collect(self, until_close):
        """Every frame up to the reply to the last request owed, or up to the close."""
        out = []
        timeout = CLOSE_TIMEOUT_S if until_close else REPLY_TIMEOUT_S
        while not self.closed and (until_close or self.pending):
            try:
                data = self.take_frame(timeout)
            except socket.timeout:
                out.append(["still open" if until_close else "no reply", int(timeout), "s"])
                self.pending.clear()
                return out
            if data is None:
                out.append(["closed"])
                break
            out.append(self.decode(data))
        return out

    def decode(self, data):
        names = self.side.names
        if self.pending and self.pending[0]["op"] == "connect":
            return self.decode_connect(self.pending.pop(0), data)
        if data[:4] == b"\xff\xff\xff\xff":
            return names.event(data)
        if not self.pending:
            return ["not asked for", data.hex()]
        if len(data) >= 12:
            self.side.last_zxid = max(self.side.last_zxid, struct.unpack(">q", data[4:12])[0])
        return names.reply(self.pending.pop(0), data)

    def decode_connect(self, request, data):
        r = wire.Reader(data)
        try:
            version, timeout, session, password = r.i32(), r.i32(), r.i64(), r.buffer()
        except wire.Short:
            return ["not a ConnectResponse", data.hex()]
        names = self.side.names
        self.refused = session == 0 or timeout <= 0
        if self.refused:
            self.pending.clear()
        else:
            slot = self.side.slots[request["slot"]]
            slot.session, slot.password = session, password
        if password == wire.ZERO_PASSWORD:
            password = "zeros"
        else:
            password = "derived" if password == wire.password_of(session) else password.hex()
        name = names.session(session, new=request["new"])
        # Bytes left are the readOnly byte, which is there only if the request had one.
        return ["connected", version, timeout, name, password, r.rest().hex()]


class Slot:
    """A place for one client: its connection, if it has one, and the session it can resume."""

    def __init__(self):
        self.connection = None
        self.session = 0
        self.password = wire.ZERO_PASSWORD


class Side:
    """One server and all the client state that belongs to it."""

    def __init__(self, server):
        self.server = server
        self.names = wire.Names()
        self.last_zxid = 0
        self.slots = [Slot() for _ in range(SLOTS + 1)]
        self.abandoned = []
        self.dead = []

    def close(self):
        for slot in self.slots:
            if slot.connection is not None:
                slot.connection.socket.close()

    def credentials(self, step, slot):
        kind = step.get("cred")
        if kind is None:
            return 0, {"zeros": wire.ZERO_PASSWORD, "garbage": b"g" * 16, "short": b"abc",
                       "long": b"x" * 40, "empty": b"", "null": None}[step["pw"]]
        if kind == "unknown":
            return 0x01FF123456780000, wire.ZERO_PASSWORD
        if kind in ("abandoned", "dead"):
            known = self.abandoned if kind == "abandoned" else self.dead
            return known[step["index"] % len(known)]
        wrong = {"own": slot.password, "wrong": b"w" * 16, "short": slot.password[:8],
                 "null": None, "long": slot.password + b"x"}
        return slot.session, wrong[kind]


class Executor:
    """Plays steps on all sides at once, and tells the generator what it may know."""

    def __init__(self, servers):
        self.sides = [Side(server) for server in servers]
        self.created = []
        self.last = []
        self.frames = 0

    def close(self):
        for side in self.sides:
            side.close()

    def spare(self):
        """The slot that random steps leave alone."""
        return SLOTS

    def connected(self, slot):
        return self.sides[0].slots[slot].connection is not None

    def resumable(self, slot):
        return self.sides[0].slots[slot].session != 0

    def applicable(self, step):
        """Whether the step still means something after others were dropped before it."""
        if step["k"] == "restart":
            return True
        slot = step["s"]
        first = self.sides[0]
        if step["k"] in ("req", "drop"):
            return self.connected(slot)
        if step["k"] == "open":
            return not self.connected(slot)
        cred = step["cred"]
        if cred == "abandoned":
            return bool(first.abandoned) and not self.connected(slot)
        if cred == "dead":
            return bool(first.dead) and not self.connected(slot)
        if cred == "unknown":
            return not self.connected(slot)
        # [J-9]: Java closes the rightful connection before it looks at the password, ours does
        # not. So a wrong password is only tried while the session has no connection.
        return self.resumable(slot) and (cred == "own" or not self.connected(slot))

    def start(self, side, step):
        """Sends what the step sends. Returns its connection and those it must replace."""
        slot = side.slots[step["s"]]
        replaced = []
        if step["k"] == "drop":
            slot.connection.socket.close()
            slot.connection = None
            return None, replaced
        data = b""
        if step["k"] in ("open", "attach"):
            session, password = side.credentials(step, slot)
            last = {"zero": 0, "seen": side.last_zxid, "ahead": side.last_zxid + 1000}
            if slot.connection is not None:
                replaced.append(slot.connection)
            elif slot.session and step.get("cred") in (None, "abandoned"):
                if (slot.session, slot.password) not in side.abandoned:
                    side.abandoned.append((slot.session, slot.password))
                slot.session = 0
            if step.get("cred") == "abandoned":
                side.abandoned.remove((session, password))
                slot.session, slot.password = session, password
            slot.connection = Connection(side, side.server.port)
            slot.connection.pending.append(
                {"op": "connect", "slot": step["s"], "new": step["k"] == "open"})
            data = wire.connect_request(step, session, password, last[step["lastz"]])
        connection = slot.connection
        for request in step.get("reqs", ()):
            data += connection.request(request)
        if not step.get("closing"):
            data += connection.request(PING)
        connection.send(data, step.get("slow", False))
        return connection, replaced

    def rest(self, side, slot_index):
        """A ping on every connection but the acting one."""
        others = [
            (index, slot.connection)
            for index, slot in enumerate(side.slots)
            if slot.connection is not None and index != slot_index
        ]
        for _, connection in others:
            connection.send(connection.request(PING))
        return others

    def run(self, step):
        """Plays one step. Returns, for each side, {who: [frames]}."""
        if step["k"] == "restart":
            return self.restart(step.get("swap", False))
        acting = [self.start(side, step) for side in self.sides]
        answers = []
        for side, (connection, replaced) in zip(self.sides, acting):
            answer = {}
            if connection is not None:
                answer[f"client{step['s']}"] = connection.collect(step.get("closing", False))
                if side.names.base_zxid is None:
                    side.names.base_zxid = side.last_zxid
            for old in replaced:
                old.pending.append(PING)  # Never sent: the close must come without it.
                answer[f"client{step['s']} before"] = old.collect(True)
            answers.append(answer)
        resting = [self.rest(side, step["s"]) for side in self.sides]
        for others, answer in zip(resting, answers):
            for index, connection in others:
                answer[f"client{index}"] = connection.collect(False)
        if any(request["op"] == "close" for request in step.get("reqs", ())):
            answers = [unordered_close(answer) for answer in answers]
        self.last = answers
        self.frames += sum(len(frames) for frames in answers[0].values())
        self.learn(step, answers[0])
        for side in self.sides:
            self.settle(side, step)
        return answers

    def restart(self, swap):
        """SIGKILL and a new start on the same directory: sessions and tree must be there again.

        With `swap` each server starts on what the other one left.
        """
        for side in self.sides:
            side.close()
            for slot in side.slots:
                slot.connection = None
            side.server.kill()
        if swap:
            first, second = (side.server for side in self.sides)
            first.kind, second.kind = second.kind, first.kind
            first.args, second.args = second.args, first.args
        for side in self.sides:
            side.server.start(wait=False)
        for side in self.sides:
            side.server.wait_ready()
        self.last = [{"digests": mismatches(side.server)} for side in self.sides]
        return self.last

    def learn(self, step, answer):
        for frame in answer.get(f"client{step['s']}", ()):
            if frame[0] in ("create", "create2", "createContainer", "createTTL") and len(frame) > 4:
                self.created.append(frame[4] if isinstance(frame[4], str) else frame[4][0])
            elif frame[0] == "multi" and len(frame) > 4 and isinstance(frame[4], list):
                self.created += [row[3] for row in frame[4] if row[0] in (1, 15) and len(row) > 3]

    def settle(self, side, step):
        closing = any(request["op"] == "close" for request in step.get("reqs", ()))
        for index, slot in enumerate(side.slots):
            connection = slot.connection
            if connection is None or not (connection.closed or connection.refused):
                continue
            connection.socket.close()
            slot.connection = None
            if slot.session and index == step["s"] and closing:
                side.dead.append((slot.session, slot.password))
                slot.session = 0


def mismatches(server):
    """What Java says of the digests in the log it has just read, when it is not content."""
    if server.kind == "ringkeeper":
        return []
    count = server.mntr().get("zk_digest_mismatches_count", "0")
    return [] if float(count) == 0 else [["digest mismatches", count]]


def unordered_close(answer):
    """Events of a session's end, sorted: its ephemerals go in no order (semantics 3.3)."""
    out = {}
    for who, frames in answer.items():
        groups = itertools.groupby(frames, key=lambda f: f[1] if f[0] == "event" else None)
        out[who] = []
        for zxid, group in groups:
            out[who] += list(group) if zxid is None else sorted(group, key=str)
    return out
