"""Fixtures: the server under test (INTEROP_SERVER, INTEROP_IO), clients of it, and its health."""

import logging
import os
import signal
import sys
import uuid

import pytest
from kazoo.client import KazooClient

import servers
from wire import Wire

# kazoo logs every reconnect; a failing test shows the log, a passing one needs none.
logging.getLogger("kazoo").setLevel(logging.WARNING)
# So that a runner's time-out still ends the servers.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@pytest.fixture(scope="session")
def _shared_server():
    with servers.from_environment() as server:
        yield server


@pytest.fixture
def server(_shared_server):
    """The running server that most tests share. One that a test has brought down fails the test."""
    if not _shared_server.running():
        _shared_server.kill()
        _shared_server.start()
    yield _shared_server
    assert _shared_server.running(), f"server ended:\n{_shared_server.log_tail()}"
    assert _shared_server.four_letter("ruok") == "imok"


@pytest.fixture
def own_server():
    """Makes a server for this test alone: `own_server(cfg=.., ..)`, started."""
    made = []

    def make(**options):
        made.append(servers.from_environment(**options))
        return made[-1].start()

    yield make
    for server in made:
        server.close()


@pytest.fixture
def make_client():
    """Makes started kazoo clients, which are closed after the test."""
    made = []

    def make(server, timeout=10.0, **options):
        client = KazooClient(hosts=server.address, timeout=timeout, **options)
        made.append(client)
        client.start(timeout=15)
        return client

    yield make
    for client in made:
        client.stop()
        client.close()


@pytest.fixture
def zk(server, make_client):
    """A connected kazoo client of the shared server."""
    return make_client(server)


@pytest.fixture
def base(zk):
    """A fresh node that this test owns."""
    path = f"/t-{uuid.uuid4().hex}"
    zk.create(path)
    return path


@pytest.fixture
def make_wire():
    """Makes raw connections with a session: `make_wire(server, timeout_ms=..)`."""
    made = []

    def make(server, connect=True, **fields):
        wire = Wire(server.port)
        made.append(wire)
        if connect:
            assert wire.connect(**fields), "session refused"
        return wire

    yield make
    for wire in made:
        wire.socket.close()


def pytest_report_header():
    """What was tested, in the log of every run."""
    kind = servers.kind_under_test()
    return f"server under test: {kind}, --io {os.environ.get('INTEROP_IO', 'as configured')}"
