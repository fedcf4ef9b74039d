"""The Java client library, 3.9.5 and 3.8.0, against the server under test."""

import os
import re
import subprocess

import pytest

import java_build

VERSIONS = ["java395", "java38"]
with open(os.path.join(java_build.SOURCES, "ClientCheck.java"), encoding="utf-8") as _file:
    CHECKS = re.findall(r'^ {8}check\("(\w+)"', _file.read(), re.MULTILINE)


def run(command, seconds):
    """Output of a Java program; its own time-out, so that a hang names itself."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def results(_shared_server):
    """What ClientCheck said, for each client version, run once."""
    done = {}

    def of(version):
        if version not in done:
            command = java_build.command(version, "ClientCheck", _shared_server.address)
            done[version] = run(command, 120).stdout
        return done[version]

    return of


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CHECKS)
def test_client(server, results, version, name):
    output = results(version)
    lines = [line for line in output.splitlines() if re.match(rf"(not )?ok {name}\b", line)]
    assert lines == [f"ok {name}"], lines or output[-3000:]


def test_every_check_is_known():
    assert len(CHECKS) == len(set(CHECKS)) > 30


@pytest.mark.parametrize("version", VERSIONS)
def test_ten_threads_take_turns_at_one_lock(server, version):
    done = run(java_build.command(version, "LockCounter", server.port), 120)
    assert done.returncode == 0, done.stdout[-3000:]
    values = [int(value) for value in re.findall(r"^thread \d counter (\d+)$", done.stdout, re.M)]
    assert values == list(range(499, -1, -1))
    threads = set(re.findall(r"^thread (\d) ", done.stdout, re.M))
    assert len(threads) == 10, "every thread had its turn"
    assert done.stdout.splitlines()[-1] == "done"
