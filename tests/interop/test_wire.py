"""The bytes on the client port, as no client library shows them: framing, handshake, order of
replies and events, header zxids, and how a connection ends."""

import random
import struct
import time
import uuid

import pytest

import wire as w
from wire import Closed


@pytest.fixture
def conn(server, make_wire):
    """A raw connection with a session."""
    return make_wire(server)


@pytest.fixture
def root(conn):
    """A fresh node."""
    return conn.create(f"/w-{uuid.uuid4().hex}")


def ends(connection):
    """Whether the server closes the connection without another byte."""
    try:
        connection.read_frame()
    except Closed:
        return True
    return False


def test_answer_to_connect_has_37_bytes_and_a_session(conn):
    assert len(conn.answer) == 37
    assert conn.session >> 56 in (0, 1), "the high byte is the server's id"
    assert len(conn.password) == 16 and any(conn.password)
    assert conn.answer[36] == 0


def test_password_is_derived_from_the_session_id(conn):
    mask = (1 << 48) - 1
    state = ((conn.session ^ 0xB3415C00) ^ 0x5DEECE66D) & mask
    expected = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        expected += struct.pack("<I", (state >> 16) & 0xFFFFFFFF)
    assert conn.password == expected


def test_old_client_without_read_only_gets_an_answer_without_it(server, make_wire):
    old = make_wire(server, read_only=None)
    assert len(old.answer) == 36
    assert old.call(w.EXISTS, w.watch_body("/")).err == 0


@pytest.mark.parametrize("asked, given", [(0, 400), (-5, 400), (5000, 5000), (10**9, 60000)])
def test_timeout_is_clamped(server, make_wire, asked, given):
    assert make_wire(server, timeout_ms=asked).timeout_ms == given


def test_handshake_byte_by_byte(server, make_wire):
    slow = make_wire(server, connect=False)
    payload = slow.connect_payload()
    for byte in struct.pack(">i", len(payload)) + payload:
        slow.send_raw(bytes([byte]))
        time.sleep(0.002)
    assert slow.read_connect_response()
    for byte in struct.pack(">iii", 8, -2, w.PING):
        slow.send_raw(bytes([byte]))
        time.sleep(0.002)
    assert slow.receive().xid == -2


def test_requests_pipelined_behind_the_handshake(server, make_wire):
    eager = make_wire(server, connect=False)
    payload = eager.connect_payload()
    frames = struct.pack(">i", len(payload)) + payload
    for xid in range(1, 6):
        body = struct.pack(">ii", xid, w.EXISTS) + w.watch_body("/")
        frames += struct.pack(">i", len(body)) + body
    eager.send_raw(frames)
    assert eager.read_connect_response()
    assert [eager.receive().xid for _ in range(5)] == [1, 2, 3, 4, 5]


def test_refused_session_gets_zeros_and_the_end(server, make_wire):
    lost = make_wire(server, connect=False)
    assert not lost.connect(session=0x0100_1234_5678_9ABC, password=b"x" * 16)
    assert lost.answer[:16] == bytes(16)
    assert lost.password == bytes(16)
    assert ends(lost)


def test_wrong_password_is_refused_and_the_session_lives(server, make_wire, conn):
    path = conn.create(f"/e-{uuid.uuid4().hex}", flags=w.EPHEMERAL)
    thief = make_wire(server, connect=False)
    assert not thief.connect(session=conn.session, password=b"x" * 16)
    assert ends(thief)
    back = make_wire(server, session=conn.session, password=conn.password)
    assert back.get(path) is not None


def test_client_from_the_future_is_closed_without_a_byte(server, make_wire):
    future = make_wire(server, connect=False)
    future.send_frame(future.connect_payload(last_zxid=1 << 60))
    assert ends(future)


def test_reattach_closes_the_old_connection(server, make_wire, conn, root):
    again = make_wire(server, session=conn.session, password=conn.password)
    assert again.session == conn.session
    assert ends(conn)
    assert again.get(root) is not None


def test_replies_in_request_order_reads_and_writes_mixed(conn, root):
    rng = random.Random(7)
    expected = []
    value = b"0"
    conn.set(root, value)
    for number in range(400):
        if rng.random() < 0.4:
            value = str(number).encode()
            expected.append((conn.send(w.SET, w.set_body(root, value)), None))
        else:
            expected.append((conn.send(w.GET, w.watch_body(root)), value))
    last = 0
    for xid, data in expected:
        reply = conn.receive(xid)
        assert reply.err == 0
        assert reply.zxid >= last
        last = reply.zxid
        if data is not None:
            assert reply.body[4 : 4 + len(data)] == data, "a read sees the writes before it"


def test_failed_write_has_a_zxid_of_its_own(conn, root):
    before = conn.call(w.SET, w.set_body(root, b"a")).zxid
    failed = conn.call(w.DELETE, w.delete_body(root + "/none"))
    assert failed.err == -101 and failed.body == b""
    after = conn.call(w.SET, w.set_body(root, b"b")).zxid
    # Other sessions may write in between, so order and not distance is certain.
    assert before < failed.zxid < after


def test_error_replies_have_no_body_and_the_connection_goes_on(conn, root):
    for op, body, err in [
        (w.CREATE, w.create_body(root), -110),
        (w.CREATE, w.create_body("no-slash"), -8),
        (w.CREATE, w.create_body(root + "/a/b"), -101),
        (w.CREATE, w.create_body(root + "/x", acl=struct.pack(">i", 0)), -114),
        (w.CREATE, w.create_body(root + "/x", flags=99), -8),
        (w.SET, w.set_body(root, b"", 77), -103),
        (w.GET, w.watch_body(root + "/none"), -101),
        (w.DELETE, w.delete_body("/zookeeper"), -8),
        (w.SET, b"\x00\x00", -5),
    ]:
        reply = conn.call(op, body)
        assert (reply.err, reply.body) == (err, b""), (op, body)
    assert conn.get(root) is not None


def test_ping_answers_with_minus_two_whatever_was_sent(conn):
    assert [conn.send(w.PING, xid=xid) and conn.next().xid for xid in (-2, 5, -9)] == [-2] * 3


def test_unknown_opcode_is_answered_then_the_connection_ends(conn):
    reply = conn.call(4711)
    assert (reply.zxid, reply.err) == (-1, -6)
    assert ends(conn)


@pytest.mark.parametrize("length", [-1, -(2**31), 0x7FFFFFFF, 64 << 20])
def test_impossible_frame_length_ends_only_that_connection(server, make_wire, conn, length):
    bad = make_wire(server)
    bad.send_raw(struct.pack(">i", length))
    assert ends(bad)
    assert conn.call(w.EXISTS, w.watch_body("/")).err == 0


def test_event_comes_before_the_reply_that_shows_the_change(server, make_wire, conn, root):
    watcher = make_wire(server)
    for number in range(200):
        assert watcher.get(root, watch=True)[0] == (str(number - 1).encode() if number else b"")
        conn.send(w.SET, w.set_body(root, str(number).encode()))
        while True:  # Reads go on while the write is under way.
            reply = watcher.call(w.GET, w.watch_body(root))
            if w.stat(reply.body).version > number:
                break
        assert watcher.events.pop(0)[:2] == (3, root), "the event precedes the new data"
        assert not watcher.events
        conn.receive()


def test_own_write_fires_before_its_reply(conn, root):
    conn.call(w.EXISTS, w.watch_body(root + "/new", watch=True))
    conn.call(w.CHILDREN2, w.watch_body(root, watch=True))
    xid = conn.send(w.CREATE, w.create_body(root + "/new"))
    frames = [conn.next().xid for _ in range(3)]
    assert frames == [-1, -1, xid]


def test_standard_watch_fires_once(conn, root):
    conn.get(root, watch=True)
    for value in (b"1", b"2", b"3"):
        conn.set(root, value)
    assert [event[:2] for event in conn.events] == [(3, root)]


def test_set_watches_replays_what_was_missed(server, make_wire, conn, root):
    seen = conn.set(root, b"1").mzxid
    back = make_wire(server)
    conn.set(root, b"2")
    gone = root + "/gone"
    body = struct.pack(">q", seen)
    body += struct.pack(">i", 2) + w.ustring(root) + w.ustring(gone)
    body += struct.pack(">i", 0) + struct.pack(">i", 0)
    assert back.call(w.SET_WATCHES, body, xid=-8).err == 0
    back.call(w.SYNC, w.ustring("/"))
    assert {event[:2] for event in back.events} == {(3, root), (2, gone)}


def test_multi_is_one_zxid_and_failed_multi_is_nothing(conn, root):
    first, second = root + "/1", root + "/2"
    good = conn.call(
        w.MULTI, w.multi_body((w.CREATE, w.create_body(first)), (w.CREATE, w.create_body(second)))
    )
    assert good.err == 0
    assert conn.get(first)[1].czxid == conn.get(second)[1].czxid == good.zxid
    bad = conn.call(
        w.MULTI,
        w.multi_body(
            (w.DELETE, w.delete_body(first)),
            (w.DELETE, w.delete_body(root + "/none")),
            (w.DELETE, w.delete_body(second)),
        ),
    )
    assert bad.err == 0, "the header of a failed multi says OK"
    rows = struct.unpack(">" + "i?ii" * 3 + "i?i", bad.body)
    assert [rows[at + 3] for at in (0, 4, 8)] == [0, -101, -2]
    assert sorted(conn.children(root)) == ["1", "2"]


def test_sequence_numbers_count_every_create_below_the_parent(conn, root):
    conn.create(root + "/plain")
    names = [conn.create(root + "/q-", flags=w.SEQUENTIAL) for _ in range(3)]
    assert names == [f"{root}/q-{number:010d}" for number in (1, 2, 3)]
    conn.call(w.DELETE, w.delete_body(names[2]))
    assert conn.create(root + "/", flags=w.SEQUENTIAL) == f"{root}/0000000004"


def test_close_deletes_all_ephemerals_in_one_zxid(server, make_wire, conn, root):
    leaving = make_wire(server)
    nodes = [leaving.create(f"{root}/e{number}", flags=w.EPHEMERAL) for number in range(20)]
    for node in nodes:
        conn.call(w.EXISTS, w.watch_body(node, watch=True))
    reply = leaving.call(w.CLOSE)
    assert ends(leaving)
    conn.call(w.SYNC, w.ustring("/"))
    assert sorted(event[1] for event in conn.events if event[0] == 2) == sorted(nodes)
    assert conn.children(root) == []
    assert w.stat(conn.call(w.EXISTS, w.watch_body(root)).body).pzxid == reply.zxid


def test_half_open_and_abandoned_connections_cost_nobody(server, make_wire, conn):
    silent = [make_wire(server, connect=False) for _ in range(50)]
    for number, connection in enumerate(silent):
        connection.send_raw(b"\x00\x00\x00\x2d"[: number % 4 + 1])
    started = time.monotonic()
    assert conn.call(w.EXISTS, w.watch_body("/")).err == 0
    assert time.monotonic() - started < 1.0


def test_a_large_node_and_many_children(conn, root):
    data = bytes(range(256)) * 4000
    assert conn.set(root, data).data_length == len(data)
    assert conn.get(root)[0] == data
    names = [f"child-{number:05d}" for number in range(3000)]
    for at in range(0, len(names), 500):
        for name in names[at : at + 500]:
            conn.send(w.CREATE, w.create_body(f"{root}/{name}"))
        for _ in names[at : at + 500]:
            assert conn.receive().err == 0
    assert sorted(conn.children(root)) == names


@pytest.mark.parametrize(
    "word, contains",
    [
        ("ruok", "imok"),
        ("srvr", "Mode: standalone"),
        ("stat", "Clients:"),
        ("mntr", "zk_znode_count\t"),
        ("conf", "clientPort="),
        ("cons", "queued="),
        ("isro", "rw"),
        ("envi", "Environment"),
        ("dump", "SessionTracker"),
        ("wchs", "watch"),
    ],
)
def test_four_letter_words(server, conn, word, contains):
    assert contains in server.four_letter(word)


def test_mntr_counts_what_is_there(server, make_wire, conn, root):
    before = int(server.mntr()["zk_ephemerals_count"])
    conn.create(root + "/e", flags=w.EPHEMERAL)
    conn.get(root, watch=True)
    values = server.mntr()
    assert int(values["zk_ephemerals_count"]) == before + 1
    assert int(values["zk_watch_count"]) >= 1
    assert int(values["zk_num_alive_connections"]) >= 1
    assert values["zk_server_state"] == "standalone"
