"""Servers side by side: start one, run `ringkeeper bench` against it, end it by its own pid."""

import json
import os
import platform
import shutil
import signal
import socket
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

    def __init__(self, kind, data_dir=None, size=100):
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
                    "4lw.commands.whitelist=srvr\n"
                )
            if kind == "java":
                command = ["java", HEAP, "-cp", CLASSPATH,
                           "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]
            else:
                command = [BINARY, "server", config]
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.wait_ready()

    def address(self):
        return f"127.0.0.1:{self.port}"

    def wait_ready(self):
        for _ in range(300):
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
            time.sleep(0.1)
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
