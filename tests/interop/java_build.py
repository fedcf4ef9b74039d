"""Compiles the Java sources here with the JDK, against the jars of one ZooKeeper version."""

import os
import subprocess

import servers

SOURCES = os.path.join(servers.ROOT, "tests", "interop", "java")


_built = {}


def classes(version):
    """Directory of the classes compiled for java38 or java395; compiled once a process."""
    if version not in _built:
        out = os.path.join(servers.INTEROP, "classes", version)
        os.makedirs(out, exist_ok=True)
        names = [name for name in sorted(os.listdir(SOURCES)) if name.endswith(".java")]
        done = subprocess.run(
            ["javac", "-encoding", "UTF-8", "-nowarn", "-d", out]
            + ["-cp", servers.classpath(version)]
            + [os.path.join(SOURCES, name) for name in names],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        _built[version] = out if done.returncode == 0 else RuntimeError(done.stdout)
    if isinstance(_built[version], RuntimeError):
        raise _built[version]
    return _built[version]


def command(version, main, *arguments):
    """The command line that runs a compiled program with that version's client library."""
    java = servers.java_command(version, {"org.slf4j.simpleLogger.defaultLogLevel": "error"})
    java[-1] = classes(version) + ":" + java[-1]
    return [*java, main, *map(str, arguments)]
