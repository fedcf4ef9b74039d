"""kazoo's own test suite, as it is in the installed package, against the server under test.

kazoo's harness starts a cluster of Java servers; here a module in its place hands out the server
that `servers.py` starts, so the suite's own files stay untouched. What is left out, and why:
TLS, SASL and Kerberos need credentials that its CI builds; `TestReadOnlyMode`, `TestReconfig` and
the test that grows a cluster need three servers.
"""

import importlib
import os
import sys
import types

import servers


class _Member:
    """A server with the names that kazoo's harness uses."""

    def __init__(self):
        self.server = servers.from_environment(
            cfg={
                # super:test, as in kazoo's own cluster.
                "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
                "tickTime": 2000,
                "minSessionTimeout": None,
                "maxSessionTimeout": None,
            }
        )

    @property
    def address(self):
        return self.server.address

    @property
    def running(self):
        return self.server.running()

    @property
    def client_port(self):
        return self.server.port

    def run(self):
        self.server.start()

    def stop(self):
        self.server.stop()


class _Cluster:
    """One member. `terminate` comes after every class of tests and keeps it running."""

    def __init__(self, **_options):
        self.members = [_Member()]

    def __getitem__(self, index):
        return self.members[index]

    def __iter__(self):
        return iter(self.members)

    def start(self):
        for member in self.members:
            if not member.running:
                member.run()

    def terminate(self):
        pass

    def get_logs(self):
        return [member.server.log_tail() for member in self.members]


os.environ.setdefault("ZOOKEEPER_VERSION", "3.9.5")
os.environ["ZOOKEEPER_CLUSTER_SIZE"] = "1"
_common = types.ModuleType("kazoo.testing.common")
_common.ZookeeperCluster = _Cluster
sys.modules["kazoo.testing.common"] = _common

_MODULES = {
    "barrier": (),
    "cache": (),
    "client": ("TestSSLClient", "TestReconfig"),
    "connection": ("TestReadOnlyMode",),
    "counter": (),
    "election": (),
    "lease": (),
    "lock": (),
    "partitioner": (),
    "party": (),
    "queue": (),
    "watchers": (),
}
_LEFT_OUT = {"test_update_host_list"}
if servers.kind_under_test() != "ringkeeper":
    # They give a restarted server five seconds to take the client back; a starting Java server now
    # and then leaves a ConnectRequest unanswered (see `restart` in test_sessions.py).
    _LEFT_OUT |= {"test_request_queuing_session_recovered", "test_request_queuing_session_expired"}

for _name, _without in _MODULES.items():
    _module = importlib.import_module(f"kazoo.tests.test_{_name}")
    for _class in vars(_module).values():
        if (
            isinstance(_class, type)
            and _class.__module__ == _module.__name__
            and _class.__name__ not in _without
            and any(attribute.startswith("test") for attribute in dir(_class))
        ):
            for _test in _LEFT_OUT & set(vars(_class)):
                delattr(_class, _test)
            globals()[f"{_class.__name__}_{_name}"] = _class

# What a loop leaves behind would be collected, too.
del _class, _module, _name, _without
