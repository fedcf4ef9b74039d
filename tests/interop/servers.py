"""Start, stop and kill any server that the black-box tests talk to.

What it is: one class, `Server`, for four kinds of server on 127.0.0.1:

    ringkeeper  target/release/ringkeeper of this checkout (or $RINGKEEPER_BIN)
    java38      Debian's package `zookeeper`, 3.8.0
    java395     3.9.5 from Maven, fetched into target/interop/java395 (`tests/run setup`)
    external    nothing is started: host:port of a server that runs already

Every server gets a directory of its own, made with mkdtemp, and a free port; its output goes to
`server.log` in there. A server is ended only through the process handle that started it, and every
one that is left over is ended when Python exits. Standard library only, so that any test may
import it without the venv.

    with Server("java38", cfg={"snapCount": 100}) as server:
        server.four_letter("ruok")
        server.kill()           # SIGKILL
        server.start()          # same port, same data

`python3 tests/interop/servers.py KIND` starts one in the foreground and prints its address.
"""

import atexit
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
INTEROP = os.path.join(TARGET, "interop")
KINDS = ("ringkeeper", "java38", "java395", "external")

DEFAULT_CFG = {
    "tickTime": 200,
    "4lw.commands.whitelist": "*",
    "extendedTypesEnabled": "true",
    "admin.enableServer": "false",
    "maxClientCnxns": 0,
    "minSessionTimeout": 400,
    "maxSessionTimeout": 60000,
}
"""A short tick, so that a test of session expiry takes a second and not a minute."""

DEFAULT_PROPS = {
    "znode.container.checkIntervalMs": 500,
}
"""What zoo.cfg cannot set, because ZooKeeper reads it as a property without its prefix."""

_live = set()
_ports_given = set()


def free_port():
    """A TCP port of 127.0.0.1 that nothing listens on, never given twice by this process.

    Below the kernel's ephemeral range, so that no client's own end takes it while the server is
    down between a kill and a restart.
    """
    for _ in range(1000):
        port = 12000 + int.from_bytes(os.urandom(2), "big") % 18000
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise RuntimeError("no free port between 12000 and 30000")


def four_letter(port, word, timeout=5.0, host="127.0.0.1"):
    """The whole answer to a four-letter word, as text."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(word.encode())
        answer = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                return answer.decode(errors="replace")
            answer += piece


def classpath(kind):
    """The class path that runs the given Java version, as client or as server."""
    if kind == "java38":
        jar = "/usr/share/java/zookeeper.jar"
        jars = [jar] if os.path.exists(jar) else []
        # With a logger beside it, a failure says why.
        jars += [j for j in ["/usr/share/java/slf4j-simple.jar"] if os.path.exists(j)]
    else:
        jars = sorted(glob.glob(os.path.join(INTEROP, "java395", "*.jar")))
    if not jars:
        raise RuntimeError(f"{kind} is not installed: run `tests/run setup`")
    return ":".join(jars)


def java_command(kind, props, heap="256m"):
    """`java` with class path, heap and properties; main class and arguments follow."""
    return [
        shutil.which("java") or "java",
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        *[f"-D{key}={value}" for key, value in props.items()],
        "-cp",
        classpath(kind),
    ]


class Server:
    """One server process with its configuration file and data directory."""

    def __init__(
        self, kind, port=None, root=None, data_dir=None, cfg=None, props=None, args=(),
        my_id=None, host="127.0.0.1", binary=None, keep=False,
    ):
        """
        cfg       zoo.cfg keys over DEFAULT_CFG; the value None leaves a key out
        props     -D properties over DEFAULT_PROPS, without `zookeeper.` where the server's name
                  has none; ringkeeper takes them in zoo.cfg, where it accepts both spellings
        args      further arguments of `ringkeeper server`, e.g. ("--io", "epoll")
        data_dir  an existing dataDir to serve; default: a new one under `root`
        my_id     writes `myid`, for an ensemble whose server.N lines are in cfg
        """
        if kind not in KINDS:
            raise ValueError(f"server kind {kind!r}: one of {', '.join(KINDS)}")
        self.kind = kind
        self.host = host
        self.port = port or free_port()
        self.args = list(args)
        self.binary = binary or os.environ.get(
            "RINGKEEPER_BIN", os.path.join(TARGET, "release", "ringkeeper")
        )
        self.process = None
        self.starts = 0
        self._own_root = root is None and not keep
        self.root = root or tempfile.mkdtemp(prefix=f"interop-{kind}-")
        self.data_dir = data_dir or os.path.join(self.root, "data")
        self.log_path = os.path.join(self.root, "server.log")
        self.cfg_path = os.path.join(self.root, "zoo.cfg")
        self.cfg = {**DEFAULT_CFG, "clientPort": self.port, "dataDir": self.data_dir}
        self.cfg.update(cfg or {})
        self.props = {**DEFAULT_PROPS, **(props or {})}
        if kind == "external":
            return
        os.makedirs(self.data_dir, exist_ok=True)
        self.write_cfg()
        if my_id is not None:
            with open(os.path.join(self.data_dir, "myid"), "w", encoding="ascii") as file:
                file.write(f"{my_id}\n")

    def __repr__(self):
        return f"<{self.kind} {self.address} in {self.root}>"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        """host:port, as clients want it."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self):
        """Process id, or None while no process runs."""
        return self.process.pid if self.process else None

    def write_cfg(self):
        """Writes zoo.cfg from `self.cfg`; to be called again after a change to it."""
        with open(self.cfg_path, "w", encoding="ascii") as file:
            for key, value in self.cfg.items():
                if value is not None:
                    file.write(f"{key}={value}\n")
            if self.kind == "ringkeeper":
                for key, value in self.props.items():
                    file.write(f"{key}={value}\n")

    def command(self):
        """The command line that `start` runs."""
        if self.kind == "ringkeeper":
            return [self.binary, "server", *self.args, self.cfg_path]
        props = {
            "zookeeper.log.dir": self.root,
            "org.slf4j.simpleLogger.defaultLogLevel": "info",
            **self.props,
        }
        main = (
            "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            if any(key.startswith("server.") for key in self.cfg)
            else "org.apache.zookeeper.server.ZooKeeperServerMain"
        )
        return [*java_command(self.kind, props), main, self.cfg_path]

    def start(self, wait=True, timeout=40.0):
        """Starts the process and returns self when `srvr` answers on the client port."""
        if self.kind != "external":
            if self.process is not None:
                raise RuntimeError(f"{self!r} runs already")
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root, start_new_session=True,
                )
            _live.add(self)
            self.starts += 1
        if wait:
            try:
                self.wait_ready(timeout)
            except BaseException:
                self.kill()
                raise
        return self

    def wait_ready(self, timeout=40.0):
        """Waits until the server serves clients, which is when `srvr` gives its version."""
        end = time.monotonic() + timeout
        last = ""
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                code = self.process.returncode
                raise RuntimeError(f"{self!r} ended with {code}:\n{self.log_tail()}")
            try:
                last = self.four_letter("srvr", timeout=2.0)
                if "Zookeeper version" in last:
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.02)
        raise RuntimeError(f"{self!r} not ready in {timeout} s ({last!r}):\n{self.log_tail()}")

    def four_letter(self, word, timeout=5.0):
        """The whole answer to a four-letter word, as text."""
        return four_letter(self.port, word, timeout, self.host)

    def mntr(self):
        """`mntr` as a dict of strings."""
        lines = [line.split("\t", 1) for line in self.four_letter("mntr").splitlines()]
        return {line[0]: line[1] for line in lines if len(line) == 2}

    def log_tail(self, lines=40):
        """The end of what the server printed."""
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def running(self):
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def _end(self, number, timeout):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None
            _live.discard(self)
        return code

    def stop(self, timeout=20.0):
        """SIGTERM and its exit status; the data stays."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self):
        """SIGKILL, as a machine that loses power; the data stays."""
        return self._end(signal.SIGKILL, 20.0)

    def pause(self):
        """SIGSTOP: the server keeps its connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """SIGCONT after `pause`."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self, kill=False):
        """Ends the process and starts it on the same port and data."""
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start()

    def close(self):
        """Kills what still runs and deletes the directory that this object made."""
        self.kill()
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)


def copy_of_data(server, destination):
    """Copies dataDir (and dataLogDir, if it has one) of a stopped server; gives the copy's path."""
    shutil.copytree(server.data_dir, destination, dirs_exist_ok=True)
    log_dir = server.cfg.get("dataLogDir")
    if log_dir and log_dir != server.data_dir:
        shutil.copytree(log_dir, destination, dirs_exist_ok=True)
    return destination


def ensemble(kinds, cfg=None, **options):
    """Servers 1..n of one ensemble, not started: `kinds` names the kind of each."""
    ports = [(free_port(), free_port()) for _ in kinds]
    lines = {
        f"server.{index}": f"127.0.0.1:{quorum}:{election}"
        for index, (quorum, election) in enumerate(ports, 1)
    }
    shared = {"initLimit": 50, "syncLimit": 25, **lines, **(cfg or {})}
    return [
        Server(kind, cfg=shared, my_id=index, **options) for index, kind in enumerate(kinds, 1)
    ]


def ringkeeper_args(options):
    """Arguments of the server for a program with the options --io and --shards."""
    args = ("--io", options.io) if options.io else ()
    if options.shards:
        args += ("--shards", options.shards, "--shard-connections", "1")
    return args


def kind_under_test():
    """INTEROP_SERVER, by default ringkeeper."""
    return os.environ.get("INTEROP_SERVER", "ringkeeper")


def from_environment(**options):
    """The server under test: INTEROP_SERVER (default ringkeeper), INTEROP_IO (its --io)."""
    kind = kind_under_test()
    io = os.environ.get("INTEROP_IO")
    if kind == "ringkeeper" and io:
        options["args"] = ("--io", io, *options.get("args", ()))
    return Server(kind, **options)


@atexit.register
def _end_all():
    for server in list(_live):
        server.close()


if __name__ == "__main__":
    with Server(sys.argv[1] if len(sys.argv) > 1 else "ringkeeper") as main_server:
        print(main_server.address, main_server.root, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
