"""SIGKILL at random points under load, again and again on one data directory: whatever was
acknowledged is there after each restart, with its version; nothing half of a multi; no sequence
number twice; ephemerals of dead sessions go.

The load is raw connections, so that nothing retries: a worker knows of each write whether it was
acknowledged, and of at most one per pipeline slot that it does not know. CRASH_ROUNDS sets the
rounds (default 50), CRASH_SEED the random sequence.
"""

import os
import random
import struct
import threading
import time

import servers
import wire as w
from wire import Closed, Wire

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "50"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
WORKERS = 4
DEPTH = 8
"""Requests of one worker in flight: a kill meets batches, not single records."""
TIMEOUT_MS = 1500


class Worker(threading.Thread):
    """One session's load until its connection breaks.

    `value` is the last acknowledged number in the worker's own node, `sent` the last number sent:
    after the crash the node holds one of value..sent, at exactly that version.
    """

    def __init__(self, port, number, state, rng):
        super().__init__(name=f"worker-{number}")
        self.port = port
        self.node = f"/load/w{number}"
        self.state = state
        self.rng = rng
        self.failure = None
        self.session = 0

    def run(self):
        try:
            with Wire(self.port, timeout=20) as wire:
                assert wire.connect(timeout_ms=TIMEOUT_MS)
                self.session = wire.session
                self.ephemeral = f"/ephemeral/{wire.session:016x}"
                wire.create(self.ephemeral, flags=w.EPHEMERAL)
                self.state.ephemerals[self.session] = self.ephemeral
                self.pump(wire)
        except (Closed, OSError, struct.error):
            pass  # The kill.
        except BaseException as error:
            self.failure = error

    def pump(self, wire):
        """Keeps DEPTH requests under way and notes every acknowledgement."""
        waiting = []
        while True:
            while len(waiting) < DEPTH:
                waiting.append(self.request(wire))
            xid, acknowledged = waiting.pop(0)
            reply = wire.receive(xid)
            assert reply.err == 0, f"{self.name}: error {reply.err}"
            acknowledged(reply)

    def request(self, wire):
        """Sends one random write; gives its xid and what its acknowledgement means."""
        mine = self.state.nodes[self.node]
        kind = self.rng.random()
        if kind < 0.6:
            mine["sent"] += 1
            number = mine["sent"]
            padding = b"." * self.rng.choice((0, 50, 300, 5000))
            data = str(number).encode() + b" " + padding

            def acknowledged(reply):
                assert w.stat(reply.body).version == number
                mine["value"] = number

            return wire.send(w.SET, w.set_body(self.node, data, number - 1)), acknowledged
        if kind < 0.85:

            def acknowledged(reply):
                path = reply.body[4:].decode()
                with self.state.lock:
                    assert path not in self.state.sequence, f"{path} given twice"
                    assert int(path[-10:]) >= self.state.counter, f"{path} given again"
                    self.state.sequence.add(path)

            body = w.create_body("/sequence/n-", self.name.encode(), w.SEQUENTIAL)
            return wire.send(w.CREATE, body), acknowledged
        mine["pairs"] += 1
        first, second = (f"{self.node}/{side}{mine['pairs']}" for side in "ab")
        body = w.multi_body(
            *((w.CREATE, w.create_body(path, b"pair")) for path in (first, second))
        )

        def acknowledged(reply):
            (kind,) = struct.unpack(">i", reply.body[:4])
            assert kind == w.CREATE, "the multi failed"
            self.state.pairs.add((first, second))

        return wire.send(w.MULTI, body), acknowledged


class State:
    """What the clients were told, over all rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.nodes = {
            f"/load/w{number}": {"value": 0, "sent": 0, "pairs": 0} for number in range(WORKERS)
        }
        self.sequence = set()
        self.pairs = set()
        self.ephemerals = {}
        self.counter = 0

    def verify(self, wire):
        """Compares the server's tree with what was acknowledged, and takes over what was open."""
        for node, mine in self.nodes.items():
            data, stat = wire.get(node)
            number = int(data.split()[0])
            assert mine["value"] <= number <= mine["sent"], (
                f"{node} holds {number}, acknowledged {mine['value']}, sent {mine['sent']}"
            )
            assert stat.version == number, f"{node}: version {stat.version} with data {number}"
            mine["value"] = mine["sent"] = number
            there = set(wire.children(node))
            for name in there:
                twin = ("b" if name[0] == "a" else "a") + name[1:]
                assert twin in there, f"{node}/{name} without {twin}: half a multi"
            for first, second in self.pairs:
                if first.startswith(f"{node}/"):
                    assert {first[len(node) + 1 :], second[len(node) + 1 :]} <= there
            # Old pairs go, so that a round costs the same at the end as at the beginning.
            for name in there:
                wire.send(w.DELETE, w.delete_body(f"{node}/{name}"))
            for _ in there:
                assert wire.receive().err == 0
        self.pairs.clear()
        there = {f"/sequence/{name}" for name in wire.children("/sequence")}
        lost = self.sequence - there
        assert not lost, f"acknowledged and gone: {sorted(lost)[:5]} of {len(lost)}"
        # The parent's counter counts every create ever and never goes back; the numbers of the
        # next round lie at or above it, so that old nodes may be deleted here.
        stat = w.stat(wire.call(w.EXISTS, w.watch_body("/sequence")).body)
        counter = (stat.cversion + stat.children) // 2
        assert counter >= self.counter, "the sequence counter went back"
        assert all(int(path[-10:]) < counter for path in there)
        self.counter = counter
        if len(there) > 2000:
            for path in there:
                wire.send(w.DELETE, w.delete_body(path))
            for _ in there:
                assert wire.receive().err == 0
            self.sequence.clear()


def test_acknowledged_writes_survive_sigkill():
    rng = random.Random(SEED)
    state = State()
    acknowledged = 0
    # Small segments and snapshots, so that kills meet rolls and snapshots too.
    cfg = {"snapCount": 500, "preAllocSize": 64, "tickTime": 200}
    with servers.from_environment(cfg=cfg) as server:
        with Wire(server.port) as wire:
            assert wire.connect()
            for path in ("/load", "/sequence", "/ephemeral", *state.nodes):
                wire.create(path, b"0")
        for round_number in range(ROUNDS):
            before = sum(mine["value"] for mine in state.nodes.values())
            workers = [
                Worker(server.port, number, state, random.Random(rng.random()))
                for number in range(WORKERS)
            ]
            for worker in workers:
                worker.start()
            time.sleep(rng.choice((0.05, 0.1, 0.2, 0.4)) * rng.uniform(0.5, 1.5))
            server.kill()
            for worker in workers:
                worker.join(30)
                assert not worker.is_alive(), f"round {round_number}: {worker.name} hangs"
                if worker.failure:
                    raise AssertionError(f"round {round_number}") from worker.failure
            acknowledged += sum(mine["value"] for mine in state.nodes.values()) - before
            if rng.random() < 0.2:  # Again, while it recovers.
                server.start(wait=False)
                time.sleep(rng.uniform(0, 0.4))
                server.kill()
            started = time.monotonic()
            server.start()
            with Wire(server.port) as wire:
                assert wire.connect(), "no session after the restart"
                # Sessions survive a crash, and their timers start afresh.
                for worker in workers:
                    path = state.ephemerals.get(worker.session)
                    if path is not None and time.monotonic() - started < TIMEOUT_MS / 1000 * 0.8:
                        found = wire.get(path)
                        assert found is not None, f"{path} gone before its session's timeout"
                        assert found[1].owner == worker.session
                try:
                    state.verify(wire)
                except AssertionError as error:
                    raise AssertionError(f"round {round_number}, seed {SEED}: {error}") from error
                wire.close_session()
        # With all owners dead, every ephemeral goes after the longest timeout.
        with Wire(server.port) as wire:
            assert wire.connect()
            end = time.monotonic() + 15
            while wire.children("/ephemeral") and time.monotonic() < end:
                time.sleep(0.1)
            assert wire.children("/ephemeral") == []
    print(f"{ROUNDS} rounds, {acknowledged} acknowledged sets")
    assert acknowledged > ROUNDS, "hardly any load: the test shows nothing"
