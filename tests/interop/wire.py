"""A client that shows the bytes: frames over a plain socket, nothing hidden, nothing retried.

The tests use it where a library would smooth over what is to be seen: the order of replies, the
zxid in each header, how a connection ends. Blocking, one thread a connection. Records that no test
needs are not here; tests/differential has a fuller codec of its own.
"""

import socket
import struct
from collections import namedtuple

OPEN_ACL = struct.pack(">ii", 1, 31) + struct.pack(">i5si6s", 5, b"world", 6, b"anyone")

CREATE, DELETE, EXISTS, GET, SET, CHILDREN, SYNC, PING = 1, 2, 3, 4, 5, 8, 9, 11
GET_ACL, CHILDREN2, MULTI, CREATE2, CONTAINER, TTL = 6, 12, 14, 15, 19, 21
AUTH, SET_WATCHES, CLOSE = 100, 101, -11
EPHEMERAL, SEQUENTIAL = 1, 2

Reply = namedtuple("Reply", "xid zxid err body")
Stat = namedtuple(
    "Stat",
    "czxid mzxid ctime mtime version cversion aversion owner data_length children pzxid",
)


def multi_body(*operations):
    """The body of a multi: MultiHeader and request for each (type, body), then the end."""
    body = b"".join(struct.pack(">i?i", op, False, -1) + part for op, part in operations)
    return body + struct.pack(">i?i", -1, True, -1)


class Closed(Exception):
    """The server closed the connection."""


def buffer(data):
    """A jute buffer; None is null."""
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def ustring(text):
    """A jute string."""
    return buffer(None if text is None else text.encode())


def stat(body):
    """The Stat at the end of a reply body."""
    return Stat(*struct.unpack(">qqqqiiiqiiq", body[-68:]))


def create_body(path, data=b"", flags=0, acl=OPEN_ACL):
    """CreateRequest."""
    return ustring(path) + buffer(data) + acl + struct.pack(">i", flags)


def watch_body(path, watch=False):
    """exists, getData, getChildren, getChildren2."""
    return ustring(path) + struct.pack(">?", watch)


def set_body(path, data, version=-1):
    """SetDataRequest."""
    return ustring(path) + buffer(data) + struct.pack(">i", version)


def delete_body(path, version=-1):
    """DeleteRequest."""
    return ustring(path) + struct.pack(">i", version)


class Wire:
    """One connection, and a session if `connect` was called."""

    def __init__(self, port, timeout=10.0, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffered = b""
        self.xid = 0
        self.session = 0
        self.password = bytes(16)
        self.timeout_ms = 0
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_raw(self, data):
        """Bytes as they are."""
        self.socket.sendall(data)

    def send_frame(self, payload):
        """One frame."""
        self.send_raw(struct.pack(">i", len(payload)) + payload)

    def _read(self, count):
        while len(self.buffered) < count:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionError as error:
                raise Closed(str(error)) from error
            if not piece:
                raise Closed("end of stream")
            self.buffered += piece
        taken, self.buffered = self.buffered[:count], self.buffered[count:]
        return taken

    def read_frame(self):
        """The payload of the next frame; raises Closed at the end of the stream."""
        (length,) = struct.unpack(">i", self._read(4))
        return self._read(length)

    def connect_payload(
        self, timeout_ms=10000, session=0, password=bytes(16), last_zxid=0, read_only=False
    ):
        """ConnectRequest; read_only None leaves the byte out, as clients before 3.4 do."""
        payload = struct.pack(">iqiq", 0, last_zxid, timeout_ms, session) + buffer(password)
        return payload if read_only is None else payload + struct.pack(">?", read_only)

    def connect(self, **fields):
        """Handshake; returns whether a session was granted. The raw answer is in `answer`."""
        self.send_frame(self.connect_payload(**fields))
        return self.read_connect_response()

    def read_connect_response(self):
        """The ConnectResponse to a request that is under way."""
        self.answer = self.read_frame()
        _, self.timeout_ms, self.session, length = struct.unpack(">iiqi", self.answer[:20])
        self.password = self.answer[20 : 20 + length]
        return self.session != 0

    def send(self, op, body=b"", xid=None):
        """One request, not waited for; returns its xid."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send_frame(struct.pack(">ii", xid, op) + body)
        return xid

    def next(self):
        """The next frame as a Reply, notifications (xid -1) included."""
        payload = self.read_frame()
        xid, zxid, err = struct.unpack(">iqi", payload[:16])
        return Reply(xid, zxid, err, payload[16:])

    def receive(self, xid=None):
        """The next reply; notifications before it go to `events` as (type, path, zxid)."""
        while True:
            reply = self.next()
            if reply.xid == -1:
                kind, _state, length = struct.unpack(">iii", reply.body[:12])
                path = reply.body[12 : 12 + length].decode()
                self.events.append((kind, path, reply.zxid))
                continue
            if xid is not None and reply.xid != xid:
                raise AssertionError(f"reply {reply.xid} where {xid} was due")
            return reply

    def call(self, op, body=b"", xid=None):
        """A request and its reply."""
        return self.receive(self.send(op, body, xid))

    def create(self, path, data=b"", flags=0):
        """create; returns the path or raises with the error code."""
        reply = self.call(CREATE, create_body(path, data, flags))
        if reply.err:
            raise AssertionError(f"create {path}: error {reply.err}")
        return reply.body[4:].decode()

    def set(self, path, data, version=-1):
        """setData; the new Stat."""
        reply = self.call(SET, set_body(path, data, version))
        if reply.err:
            raise AssertionError(f"set {path}: error {reply.err}")
        return stat(reply.body)

    def get(self, path, watch=False):
        """getData: (data, Stat), or None where there is no node."""
        reply = self.call(GET, watch_body(path, watch))
        if reply.err == -101:
            return None
        if reply.err:
            raise AssertionError(f"get {path}: error {reply.err}")
        (length,) = struct.unpack(">i", reply.body[:4])
        return reply.body[4 : 4 + max(length, 0)], stat(reply.body)

    def children(self, path):
        """getChildren: a list of names, or None where there is no node."""
        reply = self.call(CHILDREN, watch_body(path))
        if reply.err == -101:
            return None
        if reply.err:
            raise AssertionError(f"children {path}: error {reply.err}")
        (count,) = struct.unpack(">i", reply.body[:4])
        names, at = [], 4
        for _ in range(count):
            (length,) = struct.unpack(">i", reply.body[at : at + 4])
            names.append(reply.body[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return names

    def authenticate(self, scheme, credential):
        """Adds an identity to the connection."""
        body = struct.pack(">i", 0) + ustring(scheme) + buffer(credential)
        reply = self.call(AUTH, body, xid=-4)
        if reply.err:
            raise AssertionError(f"auth {scheme}: error {reply.err}")

    def close_session(self):
        """closeSession, and the server's end of the stream."""
        self.call(CLOSE)
        try:
            self.read_frame()
        except Closed:
            self.socket.close()
            return
        raise AssertionError("bytes after the reply to closeSession")
