"""Client protocol for the differential test: dictionaries to request bytes, reply bytes to values.

A request is a JSON-friendly dictionary, so that a failing run can be stored and replayed. Byte
strings travel in it as `str` (UTF-8 with surrogateescape, which keeps any bytes); `["x", 5000]`
stands for 5000 times `x`; `None` is jute's null (length -1).

Replies are decoded to plain values in which everything that legitimately differs between two
servers is replaced by a name that must be equal: zxids become offsets, session ids become ordinals,
times are named after the zxid that set them, and lists without an order are sorted.
"""

import base64
import hashlib
import itertools
import struct

OPS = {
    "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5, "getACL": 6, "setACL": 7,
    "getChildren": 8, "sync": 9, "ping": 11, "getChildren2": 12, "check": 13, "multi": 14,
    "create2": 15, "reconfig": 16, "checkWatches": 17, "removeWatches": 18, "createContainer": 19,
    "deleteContainer": 20, "createTTL": 21, "multiRead": 22, "auth": 100, "setWatches": 101,
    "sasl": 102, "getEphemerals": 103, "getAllChildrenNumber": 104, "setWatches2": 105,
    "addWatch": 106, "whoAmI": 107, "createSession": -10, "close": -11,
}
PING_XID = -2
EVENT_XID = -1
ZERO_PASSWORD = b"\0" * 16
# Two lives of a server start at least a millisecond apart, which is 65536 ids.
SESSIONS_OF_A_LIFE_MAX = 60_000
EVENT_NAMES = {1: "NodeCreated", 2: "NodeDeleted", 3: "NodeDataChanged", 4: "NodeChildrenChanged"}


def raw(value):
    """The bytes that a value of a step stands for."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, list):
        return value[0].encode("utf-8", "surrogateescape") * value[1]
    return value.encode("utf-8", "surrogateescape")


def text(value):
    """The inverse of `raw`."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


def i32(n):
    return struct.pack(">I", n & 0xFFFFFFFF)


def i64(n):
    return struct.pack(">Q", n & 0xFFFFFFFFFFFFFFFF)


def buffer(value):
    data = raw(value)
    return i32(-1) if data is None else i32(len(data)) + data


def boolean(value):
    return bytes([int(value) & 0xFF])


def vector(items, encode):
    return i32(-1) if items is None else i32(len(items)) + b"".join(map(encode, items))


def acl_entry(entry):
    return i32(entry[0]) + buffer(entry[1]) + buffer(entry[2])


def frame(body):
    return i32(len(body)) + body


def password_of(session_id):
    """The password every ZooKeeper server derives from a session id."""
    mask = (1 << 48) - 1
    state = ((session_id ^ 0xB3415C00) ^ 0x5DEECE66D) & mask
    out = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        out += struct.pack("<I", (state >> 16) & 0xFFFFFFFF)
    return out


def digest_id(user_password):
    """The id that the digest scheme makes of `user:password`."""
    data = raw(user_password)
    user = data.split(b":", 1)[0]
    return text(user + b":" + base64.b64encode(hashlib.sha1(data).digest()))


def connect_request(step, session_id, password, last_zxid):
    body = i32(step.get("proto", 0)) + i64(last_zxid) + i32(step["timeout"]) + i64(session_id)
    body += buffer(password)
    if step.get("ro") is not None:
        body += boolean(step["ro"])
    return frame(body)


def multi_body(request):
    out = b""
    for sub in request["ops"]:
        header = sub.get("hdr", [OPS.get(sub["op"], sub.get("type", 0)), 0, -1])
        out += i32(header[0]) + boolean(header[1]) + i32(header[2]) + body(sub, 0)
    # Only `done` ends the list; what the end header says beside it is not looked at.
    end = request.get("end", [-1, 1, -1])
    if end is not None:
        out += i32(end[0]) + boolean(end[1]) + i32(end[2])
    return out


def whole_body(request, last_zxid):
    op = request["op"]
    path = request.get("path")
    if op in ("create", "create2", "createContainer", "createTTL"):
        out = buffer(path) + buffer(request["data"]) + vector(request["acl"], acl_entry)
        out += i32(request["flags"])
        return out + i64(request["ttl"]) if op == "createTTL" else out
    if op in ("delete", "check"):
        return buffer(path) + i32(request["version"])
    if op in ("exists", "getData", "getChildren", "getChildren2"):
        return buffer(path) + boolean(request["watch"])
    if op == "setData":
        return buffer(path) + buffer(request["data"]) + i32(request["version"])
    if op == "setACL":
        return buffer(path) + vector(request["acl"], acl_entry) + i32(request["version"])
    if op in ("getACL", "sync", "getEphemerals", "getAllChildrenNumber", "deleteContainer"):
        return buffer(path)
    if op in ("multi", "multiRead"):
        return multi_body(request)
    if op == "reconfig":
        out = buffer(request["joining"]) + buffer(request["leaving"]) + buffer(request["members"])
        return out + i64(request["config"])
    if op in ("checkWatches", "removeWatches"):
        return buffer(path) + i32(request["type"])
    if op == "addWatch":
        return buffer(path) + i32(request["mode"])
    if op in ("setWatches", "setWatches2"):
        relative = request["relative"]
        out = i64(last_zxid + relative[1] if relative[0] == "last" else relative[1])
        for name in ("data", "exist", "child"):
            out += vector(request[name], buffer)
        if op == "setWatches2":
            out += vector(request["persistent"], buffer) + vector(request["recursive"], buffer)
        return out
    if op == "auth":
        return i32(request.get("kind", 0)) + buffer(request["scheme"]) + buffer(request["data"])
    if op == "sasl":
        return buffer(request["token"])
    if op == "createSession":
        return i32(30000)
    # ping, whoAmI, close and opcodes without a record.
    return b""


def body(request, last_zxid):
    out = whole_body(request, last_zxid)
    if "cut" in request:
        out = out[: request["cut"]]
    return out + raw(request.get("tail", ""))


def encode(request, xid, last_zxid):
    """One framed request."""
    code = request["code"] if "code" in request else OPS[request["op"]]
    return frame(i32(xid) + i32(code) + body(request, last_zxid))


class Short(Exception):
    """A reply ends inside a field."""


class Reader:
    """Jute primitives off the front of a reply."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Short
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self):
        return self.data[self.at :]

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def byte(self):
        return self.take(1)[0]

    def buffer(self):
        n = self.i32()
        return None if n == -1 else self.take(n)

    def text(self):
        return text(self.buffer())

    def vector(self, item):
        n = self.i32()
        return None if n == -1 else [item() for _ in range(n)]


class Names:
    """What one server calls its sessions, zxids and moments, mapped to names both must share."""

    def __init__(self):
        self.first_sessions = []
        self.base_zxid = None
        self.times = {}
        self.hide_event_zxids = False

    def zxid(self, value):
        # -1 (no txn) and 0 (before all txns) mean the same everywhere.
        if value <= 0 or self.base_zxid is None:
            return value
        return f"z{value - self.base_zxid:+d}"

    def session(self, value, new=False):
        """Ids rise by one within a life of the server; the first of each life is arbitrary."""
        if value == 0:
            return value
        for life, first in enumerate(self.first_sessions):
            if 0 <= value - first < SESSIONS_OF_A_LIFE_MAX:
                return f"session {life}.{value - first}"
        if not new:
            return f"session {value:#x}"
        self.first_sessions.append(value)
        # A standalone server's number, 1, is the high byte.
        return f"first session of server {value >> 56}"

    def time(self, zxid, value):
        """A txn has one time. The clocks differ, but each zxid must always tell the same one."""
        if value == 0:
            return 0
        known = self.times.setdefault(zxid, value)
        return f"time({self.zxid(zxid)})" if known == value else "a second time for one zxid"

    def stat(self, r):
        czxid, mzxid, ctime, mtime = r.i64(), r.i64(), r.i64(), r.i64()
        out = {"czxid": self.zxid(czxid), "mzxid": self.zxid(mzxid)}
        out["ctime"], out["mtime"] = self.time(czxid, ctime), self.time(mzxid, mtime)
        for name in ("version", "cversion", "aversion"):
            out[name] = r.i32()
        out["owner"] = self.session(r.i64())
        out["dataLength"], out["numChildren"] = r.i32(), r.i32()
        out["pzxid"] = self.zxid(r.i64())
        return out

    def rows(self, r):
        out = []
        while True:
            kind, done, err = r.i32(), r.byte(), r.i32()
            row = [kind, done, err]
            if done:
                out.append(row)
                return out
            if kind == -1:
                row.append(r.i32())
            elif kind in (1,):
                row.append(r.text())
            elif kind in (15, 19, 21):
                row += [r.text(), self.stat(r)]
            elif kind == 5:
                row.append(self.stat(r))
            elif kind == 4:
                row += [r.text(), self.stat(r)]
            elif kind == 8:
                row.append(sorted_or_none(r.vector(r.text)))
            elif kind not in (2, 13):
                raise Short
            out.append(row)

    def reply_body(self, op, r):
        if op == "create":
            return r.text()
        if op in ("create2", "createContainer", "createTTL"):
            return [r.text(), self.stat(r)]
        if op in ("exists", "setData", "setACL"):
            return self.stat(r)
        if op in ("getData", "reconfig"):
            return [r.text(), self.stat(r)]
        if op == "getACL":
            entries = r.vector(lambda: [r.i32(), r.text(), r.text()])
            return [own_ids_sorted(entries), self.stat(r)]
        if op == "getChildren":
            return sorted_or_none(r.vector(r.text))
        if op == "getChildren2":
            return [sorted_or_none(r.vector(r.text)), self.stat(r)]
        if op == "sync":
            return r.text()
        if op in ("multi", "multiRead"):
            return self.rows(r)
        if op in ("getAllChildrenNumber", "addWatch"):
            return r.i32()
        if op == "sasl":
            return r.text()
        if op == "getEphemerals":
            return sorted_or_none(r.vector(r.text))
        if op == "whoAmI":
            return sorted_or_none(r.vector(lambda: [r.text(), r.text()]))
        return None

    def reply(self, request, data):
        """A reply frame as a list: kind, xid, zxid, err and the body."""
        r = Reader(data)
        try:
            xid, zxid, err = r.i32(), r.i64(), r.i32()
        except Short:
            return ["not a reply", data.hex()]
        out = [request["op"], xid, self.zxid(zxid), err]
        if r.rest():
            mark = r.at
            try:
                out.append(self.reply_body(request["op"], r))
            except (Short, struct.error):
                r.at = mark
        if r.rest():
            out.append("bytes left: " + r.rest().hex())
        return out

    def event(self, data):
        r = Reader(data)
        try:
            r.i32()
            zxid, err, kind, state, path = r.i64(), r.i32(), r.i32(), r.i32(), r.text()
        except Short:
            return ["not an event", data.hex()]
        # 3.8 sends -1 with every event.
        shown = -1 if self.hide_event_zxids else self.zxid(zxid)
        out = ["event", shown, EVENT_NAMES.get(kind, kind), path]
        if err != 0 or state != 3 or r.rest():
            out.append(f"err {err} state {state} rest {r.rest().hex()}")
        return out


def own_ids_sorted(entries):
    """An `auth` entry becomes the ids of its connection, which are a set: Java's in hash order."""
    out = []
    for key, group in itertools.groupby(entries or [], key=lambda entry: entry[:2]):
        out += sorted(group, key=str) if key[1] == "digest" else group
    return None if entries is None else out


def sorted_or_none(items):
    return None if items is None else sorted(items, key=str)
