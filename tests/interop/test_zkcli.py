"""Debian's zkCli.sh (3.8.0), one-shot and with commands on its standard input, in the old and the
new forms of the commands: what operators and their scripts type must work on our server."""

import re
import subprocess
import uuid

import pytest

CLI = "/usr/share/zookeeper/bin/zkCli.sh"
EVENT = re.compile(r"\nWATCHER::\n\nWatchedEvent state:(\w+) type:(\w+) path:(\S+)\n")
NOISE = re.compile(r"^(Connecting to .*|Welcome to ZooKeeper!|JLine support is .*|SLF4J: .*)\n", re.M)


class Outcome:
    """What zkCli.sh said: `out` and `err` without its noise, and the events it printed."""

    def __init__(self, done):
        self.code = done.returncode
        self.events = [
            (kind, path) for _, kind, path in EVENT.findall(done.stdout) if kind != "None"
        ]
        self.out = NOISE.sub("", EVENT.sub("", done.stdout)).strip("\n")
        self.err = NOISE.sub("", done.stderr).strip("\n")

    def stat(self, key):
        """A line `key = value` of a printed Stat; the last one if there are several."""
        return re.findall(rf"^{key} = (.*)$", self.out, re.M)[-1]


def run(server, arguments, script=None):
    """zkCli.sh with a command on its command line, or lines on its standard input."""
    return Outcome(
        subprocess.run(
            [CLI, "-server", server.address, *arguments],
            input=script or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    )


@pytest.fixture
def base(server):
    """A fresh path that nobody made yet."""
    return f"/cli-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def piped(server):
    """Runs lines through one zkCli.sh."""
    return lambda *lines: run(server, [], "\n".join(lines) + "\n")


@pytest.fixture
def once(server):
    """Runs one command of one zkCli.sh."""
    return lambda *words: run(server, words)


def test_one_shot_create_get_set_stat_delete(once, base):
    made = once("create", base, "data")
    assert (made.code, made.err) == (0, f"Created {base}")
    assert once("get", base).out == "data"
    assert once("set", base, "more").code == 0
    stat = once("stat", base)
    assert (stat.stat("dataVersion"), stat.stat("dataLength")) == ("1", "4")
    assert once("delete", base).code == 0
    gone = once("get", base)
    assert (gone.code, gone.out, gone.err) == (1, "", f"Node does not exist: {base}")


def test_one_shot_exit_codes(once, base):
    assert once("create", f"{base}/no/parent", "x").code == 1
    assert once("nosuch").code == 127
    assert once("get").code == 1


def test_one_shot_ephemeral_lives_until_its_session_times_out(once, base, zk):
    made = once("-timeout", "3000", "create", "-e", base, "x")
    assert made.code == 0, made.err
    # The session is not closed at the end of one-shot mode.
    assert zk.exists(base).ephemeralOwner != 0


def test_get_in_both_forms_sets_a_watch(piped, base):
    for form in (f"get {base} watch", f"get -w {base}"):
        said = piped(f"create {base} one", form, f"set {base} two", f"delete {base}", "quit")
        assert said.code == 0
        assert said.out == "one"
        assert ("NodeDataChanged", base) in said.events


def test_stat_and_ls_in_the_old_form_set_watches(piped, base):
    said = piped(
        f"create {base} x",
        f"stat {base} watch",
        f"set {base} y",
        f"ls {base} watch",
        f"create {base}/c x",
        f"deleteall {base}",
        "sync /",
        "quit",
    )
    assert ("NodeDataChanged", base) in said.events
    assert ("NodeChildrenChanged", base) in said.events
    assert "[]" in said.out


def test_ls_with_stat_and_recursive(piped, base):
    said = piped(f"create {base} x", f"create {base}/a y", f"create {base}/a/b z", f"ls -s {base}")
    assert said.out.splitlines()[0] == "[a]"
    assert (said.stat("numChildren"), said.stat("cversion")) == ("1", "1")
    said = piped(f"ls -R {base}")
    assert said.out.splitlines() == [base, f"{base}/a", f"{base}/a/b"]
    said = piped(f"getAllChildrenNumber {base}")
    assert said.out == "2"


def test_create_modes(piped, base):
    said = piped(
        f"create {base}",
        f"create -s {base}/s- x",
        f"create -e -s {base}/e- x",
        f"create -s -e {base}/e- x",
        f"create -e {base}/own x",
        f"create -c {base}/container",
        f"create -t 600000 {base}/ttl x",
        f"getEphemerals {base}",
        f"stat {base}/own",
        f"stat {base}/ttl",
        "quit",
    )
    assert re.findall(r"Created (\S+)", said.err) == [
        base,
        f"{base}/s-0000000000",
        f"{base}/e-0000000001",
        f"{base}/e-0000000002",
        f"{base}/own",
        f"{base}/container",
        f"{base}/ttl",
    ]
    assert said.out.splitlines()[0].count(base) == 3
    owners = re.findall(r"^ephemeralOwner = (\S+)$", said.out, re.M)
    assert owners[0] != "0x0" and owners[1] == "0x0"
    # `quit` closes the session.
    assert piped(f"ls {base}").out == "[container, s-0000000000, ttl]"


def test_versions_are_checked(piped, base):
    said = piped(
        f"create {base} x",
        f"set -s -v 0 {base} y",
        f"set -v 0 {base} z",
        f"delete -v 7 {base}",
        f"get -s {base}",
    )
    assert said.err.count(f"version No is not valid : {base}") == 2
    assert said.stat("dataVersion") == "1"
    assert "y" in said.out.splitlines()


def test_acls_and_addauth(piped, base):
    said = piped(
        f"create {base} x",
        f"setAcl -s {base} world:anyone:cdrw",
        f"getAcl {base}",
        "addauth digest bob:secret",
        f"create {base}/mine x auth::cdrwa",
        f"getAcl {base}/mine",
        "whoami",
    )
    assert said.stat("aclVersion") == "1"
    assert "'world,'anyone\n: cdrw\n" in said.out
    assert "'digest,'bob:fyVmFCwVbTJYrznoSu1koqYEYF0=\n: cdrwa\n" in said.out
    assert "digest: bob" in said.out and "ip: 127.0.0.1" in said.out
    # Without the identity, the node is closed; the ACL of its parent has lost `a`.
    said = piped(f"get {base}/mine", f"setAcl {base} world:anyone:cdrwa")
    assert said.err.count("Insufficient permission") == 2
    said = piped("addauth digest bob:secret", f"get {base}/mine", f"deleteall {base}")
    assert said.out == "x"
    assert piped(f"get {base}").err == f"Node does not exist: {base}"


def test_quotas(piped, base):
    said = piped(
        f"create {base} four",
        f"setquota -n 5 {base}",
        f"create {base}/c 123",
        f"listquota {base}",
        f"delquota {base}",
        f"listquota {base}",
        f"setquota -b 100 {base}",
        f"listquota {base}",
        f"delquota -b {base}",
    )
    lines = [line for line in said.out.splitlines() if line.startswith("Output")]
    assert lines == [
        f"Output quota for {base} count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=-1",
        f"Output stat for {base} count=2,bytes=7",
        f"Output quota for {base} count=-1,bytes=100=;byteHardLimit=-1;countHardLimit=-1",
        f"Output stat for {base} count=2,bytes=7",
    ]
    assert f"quota for {base} does not exist." in said.err


def test_sync_version_config_and_errors(piped, base):
    said = piped(f"create {base}", "sync /", "version", "config", f"create {base}", "quit")
    assert "Sync is OK" in said.out
    assert "ZooKeeper CLI version: 3.8.0" in said.out
    assert f"Node already exists: {base}" in said.err
    said = piped(f"create {base}/c", f"delete {base}", "delete /zookeeper")
    assert f"Node not empty: {base}" in said.err


def test_add_and_remove_watches(piped, base):
    said = piped(
        f"create {base}",
        f"addWatch -m PERSISTENT_RECURSIVE {base}",
        f"create {base}/a x",
        f"set {base}/a y",
        f"delete {base}/a",
        f"get -w {base}",
        f"removewatches {base} -d",
        "sync /",
        "quit",
    )
    for event in [
        ("NodeCreated", f"{base}/a"),
        ("NodeDataChanged", f"{base}/a"),
        ("NodeDeleted", f"{base}/a"),
    ]:
        assert event in said.events


def test_chroot_in_the_connect_string(server, piped, base):
    piped(f"create {base}")
    done = subprocess.run(
        [CLI, "-server", server.address + base],
        input="create /inside x\nls /\nget /inside\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = Outcome(done)
    assert said.out.splitlines() == ["[inside]", "x"]
    assert piped(f"get {base}/inside").out == "x"
