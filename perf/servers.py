"""Servers side by side: start one, run `ringkeeper bench` against it, end it by its own pid."""

import json
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("RINGKEEPER", os.path.join(ROOT, "target", "release", "ringkeeper"))
CLASSPATH = os.environ.get("ZOOKEEPER_CLASSPATH", "/usr/share/java/*")
HEAP = os.environ.get("ZOOKEEPER_HEAP", "-Xmx1g")
OUT = os.path.join(ROOT, "perf", "out")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server in a fresh data directory. `kind` is java, ringkeeper or floor."""

    def __init__(self, kind, data_dir=None, size=100, lines=(), arguments=()):
        """`lines` are for zoo.cfg, `arguments` for our server's command line."""
        self.kind = kind
        self.port = free_port()
        # Both servers sync the same disk: a tmpfs would hide what a write costs.
        self.dir = tempfile.mkdtemp(prefix=f"perf-{kind}-", dir=data_dir)
        if kind == "floor":
            command = [BINARY, "bench", "--echo-server", "--server", self.address(),
                       "--size", str(size)]
        else:
            config = os.path.join(self.dir, "zoo.cfg")
            with open(config, "w") as file:
                file.write(
                    f"tickTime=2000\ndataDir={self.dir}/data\nclientPort={self.port}\n"
                    "maxClientCnxns=0\nadmin.enableServer=false\n"
                    "4lw.commands.whitelist=srvr\n" + "".join(f"{line}\n" for line in lines)
                )
            if kind == "java":
                command = ["java", HEAP, "-cp", CLASSPATH,
                           "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]
            else:
                command = [BINARY, "server", config, *arguments]
        self.command = command
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.start()

    def start(self, pause=0.1):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.wait_ready(pause)

    def kill(self):
        """As a power cut for the process: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def address(self):
        return f"127.0.0.1:{self.port}"

    def wait_ready(self, pause):
        for _ in range(int(30 / pause)):
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    if self.kind == "floor":
                        return
                    probe.settimeout(2)
                    probe.sendall(b"srvr")
                    if b"Mode:" in probe.recv(4096):
                        return
            except OSError:
                pass
            time.sleep(pause)
        log = open(self.log.name).read()[-2000:]
        self.stop()
        sys.exit(f"{self.kind} did not start:\n{log}")

    def bench(self, *options):
        """One run; its JSON."""
        command = [BINARY, "bench", "--server", self.address(), "--server-pid",
                   str(self.process.pid), "--json", *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            self.stop()
            sys.exit(f"{self.kind}: {' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    def cpu_seconds(self):
        """User and system time so far, all threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            kib = {line.split(":")[0]: int(line.split()[1]) for line in file if "kB" in line}
        return {"anon_mb": kib["Anonymous"] * 1024 / 1e6, "rss_mb": kib["Rss"] * 1024 / 1e6}

    def snapshot_lines(self):
        """Snapshots of our server: begun, ended."""
        text = open(self.log.name).read()
        return text.count("Snapshotting: "), text.count("Snapshot taken in ")

    def wait_snapshots(self, ended):
        """Until none is being written and `ended` at least were."""
        while True:
            begun, done = self.snapshot_lines()
            if done >= max(begun, ended):
                return
            time.sleep(0.1)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Client:
    """One session, spoken to in bytes, for loads that the bench does not have."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.settimeout(30)
        self.socket.sendall(struct.pack(">iiqiqi16sb", 45, 0, 0, 30_000, 0, 16, bytes(16), 0))
        self.read(4 + 4 + 4 + 8 + 4 + 16 + 1)

    def read(self, count):
        while count > 0:
            count -= len(self.socket.recv(min(count, 1 << 20)))

    def request(self, op, body):
        return struct.pack(">iii", 8 + len(body), 1, op) + body

    def replies(self, frames, each):
        """Sends them, some at a time, and reads as many replies of `each` bytes."""
        for at in range(0, len(frames), 256):
            some = frames[at:at + 256]
            self.socket.sendall(b"".join(some))
            self.read(each * len(some))

    def watch(self, paths):
        """exists with a watch on each."""
        self.replies([self.request(3, struct.pack(">i", len(path)) + path.encode() + b"\1")
                      for path in paths], 4 + 16 + 68)

    def set(self, paths, size=100):
        """Sets each; there must be no event for this session meanwhile but those drained later."""
        data = struct.pack(">i", size) + b"x" * size + struct.pack(">i", -1)
        frames = [self.request(5, struct.pack(">i", len(path)) + path.encode() + data)
                  for path in paths]
        self.replies(frames, 4 + 16 + 68)

    def drain(self, seconds):
        """Reads whatever comes until nothing does for so long."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(1 << 20):
                pass
        except TimeoutError:
            pass
        self.socket.settimeout(30)

    def close(self):
        self.socket.close()


def machine():
    """What a figure means nothing without."""
    def first(path, name):
        with open(path) as file:
            for line in file:
                if line.startswith(name):
                    return line.split(":", 1)[1].strip()
        return "?"

    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit,
        "kernel": platform.release(),
        "processor": first("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "memory": first("/proc/meminfo", "MemTotal"),
        "load_before": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def describe(facts):
    return (f"commit {facts['commit']}, {facts['processors']} x {facts['processor']}, "
            f"Linux {facts['kernel']}, load {facts['load_before']} before, {facts['date']}")


def save(name, result):
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json")
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
    print(f"\nsaved {os.path.relpath(path)}")


def need_binary():
    if not os.access(BINARY, os.X_OK):
        sys.exit(f"{BINARY} is missing: cargo build --release")
