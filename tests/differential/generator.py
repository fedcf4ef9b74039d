"""Random steps for the differential test: every opcode, good and bad arguments, few paths.

The alphabet of paths is small, so that operations meet. What one server may answer in more than one
way is not generated; each such gap is named here:

- auth, sasl and whatever closes the connection stand alone in their step: Java answers auth as it
  arrives, before replies still owed, and drops or runs what was pipelined around a close.
- writes below a quota stand alone too: Java judges them against the stats as applied.
- no write is pipelined behind a setACL: Java's pending changes leave the new list out, so that it
  judges the write by the old one or the new one, as the race goes.
- the faults of the Java server, `[J-n]` in the protocol reference, marked where they would arise.
- vector counts below -1, which Java reads as empty lists and ringkeeper refuses as malformed.
- text that is not UTF-8 or lies outside the BMP where the server echoes it (sync, catch-up events,
  ACL ids): Java replaces the first and writes the second as surrogates.
- a restart while a quota is set: Java makes a snapshot at each start, and the next start counts
  all stats anew as of that one.
- the order of the ids that an `auth` entry becomes, which are a set (`wire.own_ids_sorted`).
- xids -1 and -2 on ordinary requests, which make replies look like events and pings.
"""

import wire

PLAIN = ["/a", "/b", "/c", "/a/b", "/a/c", "/a/b/c", "/a/b/d", "/e", "/e/x", "/b/k", "/c/t"]
QUOTA = ["/q", "/q/n", "/q/x", "/q/n/y"]
QUOTA_NODES = [
    "/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits",
    "/zookeeper/quota/q/zookeeper_stats", "/zookeeper/quota/q/n",
    "/zookeeper/quota/q/n/zookeeper_limits", "/zookeeper/quota/q/n/zookeeper_stats",
]
RESERVED = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x"]
PREFIXES = ["/a/s-", "/a/", "/s", "/a/b/n", "/e/q", "/b/", "/c/", "/q/s", "/"]
ODD = [
    None, "", "x", "a/x", "//", "//x", "/a/", "/zz/x/", "/a//x", "/a/./x", "/a/../x", "/.", "/..",
    "/a/..", "/...", "/a/.b", "/a/b..", "/a/\0", "/a\0b/c", "/\x01", "/a/\x1f", "/\x7f", "/\x9f",
    "/a/\xa0", "/\ud7ff", "/\ue000", "/\uf8ff", "/\uf900", "/\ufff0", "/\uffef", "/\u200b",
    "/\U0001f600", "/\udcff", "/a b", "/zz/y", "/\u00e9", "/a/\u65e5\u672c",
]
# Java replaces or re-encodes these when it sends them back.
NOT_ECHOED = ("/\U0001f600", "/\udcff", "/\ud7ff")
ODD = [path for path in ODD if path != "/\ud7ff"] + ["/\ud7fb"]

WORLD = [[31, "world", "anyone"]]
USERS = ["u:p", "v:secret", "nocolon", "", "a:b:c", ":x"]
SUPER = "super:test"
ACLS = [
    WORLD, WORLD, WORLD, WORLD, WORLD, WORLD,
    [[31, "auth", ""]], [[31, "auth", None]], [[15, "auth", "ignored"], [1, "world", "anyone"]],
    [[31, "digest", wire.digest_id("u:p")]],
    [[31, "digest", wire.digest_id("u:p")], [1, "world", "anyone"]],
    [[31, "digest", wire.digest_id("v:secret")], [5, "world", "anyone"]],
    [[1, "world", "anyone"]], [[3, "world", "anyone"]], [[15, "world", "anyone"]],
    [[30, "world", "anyone"]], [[16, "world", "anyone"]], [[27, "world", "anyone"]],
    [[23, "world", "anyone"]], [[0, "world", "anyone"]],
    [[63, "world", "anyone"]], [[-1, "world", "anyone"]],
    [[31, "ip", "127.0.0.1"]], [[31, "ip", "127.0.0.0/8"]], [[31, "ip", "127.0.0.1/33"]],
    [[31, "ip", "10.1.2.3/0"]], [[31, "ip", "10.0.0.0/8"], [1, "world", "anyone"]],
    [[31, "ip", "::1"], [1, "world", "anyone"]], [[31, "ip", "::1/129"]], [[31, "ip", "1.2.3"]],
    [[31, "ip", "127.0.0.1/x"]], [[31, "ip", ""]], [[31, "ip", "fe80::1%lo"]],
    WORLD + WORLD, WORLD + [[1, "world", "anyone"]] + WORLD,
    [[1, "ip", "127.0.0.1"], [2, "world", "anyone"], [4, "digest", "a:b"]],
    None, [], [[31, "world", "someone"]], [[31, "world", None]], [[31, None, "anyone"]],
    [[31, "", "anyone"]], [[31, "nope", "x"]], [[31, "super", ""]], [[31, "digest", "a"]],
    [[31, "digest", "a:"]], [[31, "digest", ":b"]], [[31, "digest", "a:b:c"]],
    [[31, "digest", ""]], [[31, "digest", None]], [[31, "sasl", "me"]], [[31, "x509", "CN=me"]],
    WORLD + [[31, "nope", "x"]], [[31, "ip", None]],
]
DATA = ["", None, "x", "hello", "\0\x01", "\udcff\udcfe", ["y", 30], ["z", 1000], ["w", 60000]]
DATA_WEIGHTS = [4, 3, 6, 6, 2, 2, 4, 2, 0.2]
LIMITS = [
    "count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=-1", "count=2,bytes=20",
    "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
    "count=1,bytes=1=;byteHardLimit=40;countHardLimit=4", "count=-1,bytes=-1",
    "count=0,bytes=0=;byteHardLimit=0;countHardLimit=0",
    "count=5,bytes=500=;byteHardLimit=1000;countHardLimit=6", "count=3,bytes=9=9", "bytes=10",
]
STATS = ["count=0,bytes=0", "count=7,bytes=70", "count=2,bytes=5=;x=4"]
TTLS = [100_000_000, 1, (1 << 40) - 1, 1 << 40, 0, -1, -(1 << 63), (1 << 63) - 1]
UNKNOWN = [-1, 0, 10, 13, 23, 99, 108, 1000, -12, -2, -(1 << 31), (1 << 31) - 1, 200, 24]
XIDS = [0, -3, -4, -5, -8, -9, -(1 << 31), (1 << 31) - 1, 7, 7]
WRITES = ("create", "create2", "createContainer", "createTTL", "delete", "setData", "setACL",
          "multi", "reconfig")
TIMEOUTS = [0, -1, 1, 30000, 300000, 400000, 600000, 900000, (1 << 31) - 1, -(1 << 31)]


class Generator:
    """Makes the next step from a seeded `random.Random` and what the executor has seen."""

    def __init__(self, rng, profile="39"):
        self.rng = rng
        # The profile `38` leaves out what 3.8.0 does otherwise, by protocol reference 14.
        self.old = profile == "38"
        self.acls = ACLS
        self.watched = ["/a"]
        self.planned = []
        if self.old:
            # exists does not ask for READ there, and ip ids are IPv4 only.
            self.acls = [acl for acl in ACLS if self.readable(acl) and "::" not in str(acl)]

    @staticmethod
    def readable(acl):
        # A null id is a request that does not decode, which consumes a zxid there.
        if not acl or any(None in entry[1:] for entry in acl):
            return not acl
        known = ("world", "digest", "ip", "auth")
        everyone = any(e[1:] == ["world", "anyone"] and e[0] & 1 for e in acl)
        return everyone or any(e[1] not in known for e in acl)

    def chance(self, p):
        return self.rng.random() < p

    # Arguments.

    def path(self, executor, odd=0.06, quota=True):
        r = self.rng.random()
        if r < odd:
            return self.rng.choice(ODD)
        if r < odd + 0.05:
            return self.rng.choice(RESERVED)
        if r < odd + 0.15 and quota:
            return self.rng.choice(QUOTA)
        known = [p for p in executor.created[-40:] if is_plain(p)]
        if r < odd + 0.55 and known:
            path = self.rng.choice(known)
            return path + "/k" if self.chance(0.1) else path
        return self.rng.choice(PLAIN)

    def watch_path(self, executor):
        path = self.path(executor)
        if self.chance(0.05):
            path = self.rng.choice(QUOTA_NODES)
        self.watched = self.watched[-19:] + [path]
        return path

    def echoed_path(self, executor):
        while (path := self.path(executor)) in NOT_ECHOED:
            pass
        return path

    def data(self):
        return self.rng.choices(DATA, DATA_WEIGHTS)[0]

    def version(self):
        return self.rng.choices([-1, 0, 1, 2, 3, -2, 7, -(1 << 31)],
                                [16, 4, 2, 1, 0.5, 0.5, 0.5, 0.3])[0]

    def acl(self):
        return self.rng.choice(self.acls) if self.chance(0.3) else WORLD

    # Requests.

    def create(self, executor, op=None, inside_multi=False):
        op = op or self.rng.choices(
            ["create", "create2", "createContainer", "createTTL"], [6, 4, 1.5, 1.5])[0]
        request = {"op": op, "data": self.data(), "acl": self.acl()}
        flags = self.rng.choices([0, 1, 2, 3, 5, 6, 7, -1, 100], [8, 4, 3, 2, .2, .2, .1, .1, .1])[0]
        if op == "createContainer":
            # [J-10]: with another flag Java makes a container of which its own digest disagrees.
            flags = 4
        elif op == "createTTL":
            flags = self.rng.choice([5, 5, 6, 0, 1])
            request["ttl"] = self.rng.choices(TTLS, [6, 2, 1, 1, 1, 1, 1, 1])[0]
            if flags not in (5, 6) and request["ttl"] < 0:
                # [J-1]: this ends the Java server, and every restart of it.
                request["ttl"] = 5
        elif inside_multi and self.chance(0.05):
            # [J-10] concerns the top level only; in a multi flag 4 is a container.
            flags = 4
        if self.old and (flags not in range(7) or inside_multi):
            # There an unknown flag in a multi is a failed row, here an undecodable request.
            # And there the results of create2 and its kin have type 1.
            flags = self.rng.choice([0, 1, 2, 3])
            # And there a null list in a multi is a failed row too.
            request["acl"] = request["acl"] or WORLD
            if op != "create":
                op = request["op"] = "create"
                request.pop("ttl", None)
        request["flags"] = flags
        if flags in (2, 3, 6) and self.chance(0.8):
            request["path"] = self.rng.choice(PREFIXES)
        elif self.chance(0.3):
            request["path"] = self.rng.choice(PLAIN + QUOTA)
        else:
            request["path"] = self.path(executor)
        return request

    def quota_change(self):
        path = self.rng.choice(QUOTA_NODES)
        limits, stats = path.endswith("_limits"), path.endswith("_stats")
        # [J-3]: text that does not parse ends the Java server or makes all writes there fail.
        data = self.rng.choice(LIMITS if limits else STATS) if limits or stats else "x"
        kind = self.rng.choices(["create", "setData", "delete"], [6, 2, 1])[0]
        if kind == "create":
            return {"op": "create", "path": path, "data": data, "acl": WORLD, "flags": 0}
        if kind == "setData":
            return {"op": "setData", "path": path, "data": data, "version": self.version()}
        return {"op": "delete", "path": path, "version": -1}

    def delete(self, executor):
        return {"op": "delete", "path": self.path(executor), "version": self.version()}

    def set_data(self, executor):
        return {"op": "setData", "path": self.path(executor), "data": self.data(),
                "version": self.version()}

    def set_acl(self, executor):
        path, acl = self.path(executor), self.acl()
        if path in ("/", "") and acl not in (None, []) and acl[0] != WORLD[0]:
            acl = WORLD  # A root that is shut ends all further coverage.
        return {"op": "setACL", "path": path, "acl": acl, "version": self.version()}

    def read(self, executor):
        op = self.rng.choice(["exists", "exists", "getData", "getData", "getChildren",
                              "getChildren2"])
        watch = self.rng.choices([0, 1, 2, 255], [5, 6, 0.2, 0.2])[0]
        return {"op": op, "path": self.watch_path(executor), "watch": watch}

    def multi(self, executor):
        ops = []
        for _ in range(self.rng.choices([0, 1, 2, 3, 4, 6], [0.4, 2, 4, 4, 2, 1])[0]):
            kind = self.rng.choices(["create", "delete", "setData", "check", "odd"],
                                    [6, 3, 4, 3, 0.15])[0]
            if kind == "create":
                ops.append(self.create(executor, inside_multi=True))
            elif kind == "delete":
                ops.append(self.delete(executor))
            elif kind == "setData":
                ops.append(self.set_data(executor))
            elif kind == "check":
                ops.append({"op": "check", "path": self.path(executor), "version": self.version()})
            else:
                # Not allowed in a multi: the whole request does not decode.
                ops.append(self.rng.choice([
                    {"op": "getData", "path": "/a", "watch": 0},
                    {"op": "setACL", "path": "/a", "acl": WORLD, "version": -1},
                    {"op": "sync", "path": "/a"}, {"op": "deleteContainer", "path": "/a"},
                    {"op": "none", "hdr": [77, 0, -1]}]))
        request = {"op": "multi", "ops": ops}
        if ops and self.chance(0.3):
            # What makes chains of dependent sub-ops that succeed.
            name = f"/a/m{self.rng.randrange(3)}"
            request["ops"] = [
                {"op": "create", "path": name, "data": "1", "acl": WORLD, "flags": 0},
                {"op": "setData", "path": name, "data": "22", "version": 0},
                {"op": "create2", "path": "/a/", "data": "", "acl": WORLD, "flags": 2},
                {"op": "check", "path": name, "version": 1},
                {"op": "delete", "path": name, "version": 1}][: self.rng.randint(1, 5)]
            if self.old:
                request["ops"] = [op for op in request["ops"] if op["op"] != "create2"]
            request["ops"] += ops[:1]
        for sub in request["ops"]:
            if self.old and sub.get("path", "") is None:
                sub["path"] = "/a"
            if self.chance(0.02):
                # Only the type of a header is looked at.
                sub["hdr"] = [wire.OPS.get(sub["op"], 77), 0, self.rng.choice([0, 5, -101])]
        if self.chance(0.02):
            request["end"] = self.rng.choice([None, [-1, 0, -1], [1, 1, 0], [-1, 255, -1]])
        return request

    def multi_read(self, executor):
        ops = []
        for _ in range(self.rng.choice([0, 1, 2, 3, 5])):
            op = self.rng.choice(["getData", "getChildren"])
            ops.append({"op": op, "path": self.path(executor), "watch": self.rng.choice([0, 1])})
        if self.chance(0.05):
            ops.append(self.rng.choice([
                {"op": "exists", "path": "/a", "watch": 0}, {"op": "delete", "path": "/a",
                                                             "version": -1}]))
        request = {"op": "multiRead", "ops": ops}
        if self.chance(0.03):
            request["end"] = self.rng.choice([None, [4, 1, 0]])
        return request

    def set_watches(self, executor):
        op = self.rng.choice(["setWatches", "setWatches2"])
        request = {"op": op, "xid": -8}
        request["relative"] = self.rng.choice(
            [["at", 0], ["last", 0], ["last", -1], ["last", -3], ["last", -10], ["last", 5]])
        for name in ("data", "exist", "child", "persistent", "recursive"):
            many = self.rng.choices([0, 1, 2, 4], [4, 3, 2, 1])[0]
            request[name] = [self.echoed_path(executor) for _ in range(many)]
            request[name] = [path for path in request[name] if path is not None]
            if self.old and name in ("persistent", "recursive"):
                request[name] = []
        if self.chance(0.04):
            request[self.rng.choice(["data", "exist", "child"])] = None
        return request

    def request(self, executor):
        kind = self.rng.choices(
            ["create", "quota", "delete", "setData", "setACL", "read", "getACL", "multi",
             "multiRead", "sync", "ping", "watch", "setWatches", "count", "ephemerals", "whoAmI",
             "reconfig"],
            [20, 3, 9, 10, 4, 18, 4, 10, 3, 2, 1.5, 8, 3, 2, 2, 1, 0.5])[0]
        if kind == "create":
            request = self.create(executor)
        elif kind == "quota":
            request = self.quota_change()
        elif kind == "delete":
            request = self.delete(executor)
        elif kind == "setData":
            request = self.set_data(executor)
        elif kind == "setACL":
            request = self.set_acl(executor)
        elif kind == "read":
            request = self.read(executor)
        elif kind == "getACL":
            request = {"op": "getACL", "path": self.path(executor)}
        elif kind == "multi":
            request = self.multi(executor)
        elif kind == "multiRead":
            request = self.multi_read(executor)
        elif kind == "sync":
            request = {"op": "sync", "path": self.echoed_path(executor)}
        elif kind == "ping":
            return {"op": "ping", "xid": self.rng.choice([-2, 0, 5, -77])}
        elif kind == "watch":
            request = self.watch(executor)
        elif kind == "setWatches":
            request = self.set_watches(executor)
        elif kind == "count":
            request = {"op": "getAllChildrenNumber", "path": self.path(executor)}
        elif kind == "ephemerals":
            request = {"op": "getEphemerals", "path": self.rng.choice(
                [None, "", " ", "/", " / ", "/a", "/a/", "/e/", "/zz", "a", "/\udcff"])}
        elif kind == "whoAmI":
            request = {"op": "whoAmI"}
        else:
            request = {"op": "reconfig", "joining": None, "leaving": self.rng.choice([None, "7"]),
                       "members": None, "config": self.rng.choice([-1, 0, 5])}
        return self.damage(request)

    def watch(self, executor):
        op = self.rng.choices(["addWatch", "checkWatches", "removeWatches"], [4, 3, 3])[0]
        path = self.watch_path(executor)
        if op != "addWatch" and self.chance(0.8):
            path = self.rng.choice(self.watched)
        if op == "addWatch":
            # A null path has to be refused; Java accepts it as a watch that never fires.
            path = "/a" if path is None else path
            mode = self.rng.choices([0, 1, 2, -1], [5, 5, 0.2, 0.2])[0]
            request = {"op": op, "path": path, "mode": mode}
        else:
            request = {"op": op, "path": path, "type": self.rng.choices([0, 1, 2, 3, 4, 5, 6, -1],
                                                                    [1, 6, 6, 8, 5, 5, 1, 1])[0]}
        if self.old:
            # One mode for each client and path there, and no types 4 and 5.
            # There checkWatches also finds what only another client watches.
            if op in ("addWatch", "checkWatches"):
                return {"op": "sync", "path": "/a"}
            request["type"] = self.rng.choice([1, 2, 3, 6])
        return request

    def damage(self, request):
        """Now and then an odd xid, a cut or an overlong body."""
        if "xid" not in request and self.chance(0.05):
            request["xid"] = self.rng.choice(XIDS)
        r = self.rng.random()
        if r < 0.02 and not self.old:
            size = len(wire.whole_body(request, 0))
            if size:
                request["cut"] = self.rng.randrange(size)
        elif r < 0.04:
            request["tail"] = self.rng.choice(["\0", "\udcff\udcff\udcff\udcff", ["t", 50]])
        if self.old and None in (request.get("path", ""),) and request["op"] in WRITES:
            request["path"] = "/a"
        return request

    # Steps.

    def connect(self, executor, slot):
        step = {"s": slot, "timeout": self.rng.choice(TIMEOUTS),
                "lastz": self.rng.choices(["zero", "seen", "ahead"], [5, 5, 0.6])[0],
                "ro": self.rng.choices([None, 0, 1], [1, 4, 1])[0],
                "proto": self.rng.choices([0, 1, -1, 77], [6, 1, 1, 1])[0]}
        resumable = executor.resumable(slot)
        if resumable and self.chance(0.7):
            step["k"] = "attach"
            step["cred"] = self.rng.choices(
                ["own", "wrong", "short", "null", "long"], [8, 1, 1, 1, 1])[0]
        else:
            step["k"] = "open"
            r = self.rng.random()
            if r < 0.2:
                step["k"] = "attach"
                step["cred"] = self.rng.choices(["unknown", "abandoned", "dead"], [1, 4, 2])[0]
                step["index"] = self.rng.randrange(8)
                if not executor.applicable(step):
                    step["cred"] = "unknown"
            else:
                step["pw"] = self.rng.choice(["zeros", "zeros", "garbage", "short", "long", "empty",
                                              "null"])
        accepted = step["k"] == "open" or step["cred"] in ("own", "abandoned")
        if step["lastz"] == "ahead" or not accepted:
            step["closing"] = True
        elif self.chance(0.3):
            step["reqs"] = self.batch(executor, self.rng.randint(1, 4))
        return step

    def batch(self, executor, size):
        out = []
        while len(out) < size:
            request = self.request(executor)
            if size > 1 and touches_quota(request):
                continue
            if request["op"] in WRITES and any(before["op"] == "setACL" for before in out):
                continue
            out.append(request)
        return out

    def closing(self, executor):
        """A step after which the server hangs up, and the odd one after which it does not."""
        kind = self.rng.choices(["close", "unknown", "auth", "raw", "connect", "sasl", "cutauth"],
                                [6, 3, 3, 2, 0.5, 0.5, 0.5])[0]
        if kind == "close":
            batch = self.batch(executor, self.rng.choice([1, 2, 4])) if self.chance(0.5) else []
            # Nothing behind it: Java drops that or answers -112 at the price of a zxid, as the race
            # goes; `hostile.py` checks that it is not done.
            return batch + [{"op": "close"}]
        if kind == "unknown":
            # [J-7], [J-8]: 20 and -10 are served by Java.
            code = self.rng.choice([c for c in UNKNOWN if not (self.old and c == 13)])
            return [{"op": "unknown", "code": code, "tail": self.rng.choice(["", "abcdefgh"])}]
        if kind == "auth":
            scheme, data = self.rng.choice([
                ("nope", "x"), ("world", "anyone"), ("auth", "x"), ("super", "super:test"),
                ("digest", None), ("sasl", "x"), ("", "x"), ("x509", "x"), ("Digest", "u:p")])
            return [{"op": "auth", "scheme": scheme, "data": data, "xid": -4}]
        if kind == "cutauth":
            return [{"op": "auth", "scheme": "digest", "data": "u:p", "xid": -4,
                     "cut": self.rng.randrange(20)}]
        if kind == "sasl":
            return [{"op": "sasl", "token": None}]
        if kind == "connect":
            return [{"op": "raw", "hex": wire.connect_request(
                {"timeout": 30000, "ro": 0}, 0, wire.ZERO_PASSWORD, 0).hex()}]
        return [{"op": "raw", "hex": self.rng.choice([
            "ffffffff", "80000000", "00100000", "7fffffff", "72756f6b", "00000000", "0000000100",
            "00000007" + "00" * 7, "000000040000000b", "fffffffe00000000"])}]

    def alone(self):
        """A step that must stand alone but leaves the connection open."""
        if self.chance(0.2):
            return [{"op": "sasl", "token": self.rng.choice(["", "token"])}]
        scheme = self.rng.choices(["digest", "ip"], [9, 1])[0]
        user = SUPER if self.chance(0.15) else self.rng.choice(USERS)
        request = {"op": "auth", "scheme": scheme, "data": user, "kind": self.rng.choice([0, 9])}
        request["xid"] = self.rng.choice([-4, -4, 9])
        return [request]

    def step(self, executor):
        """The next step. It is a JSON value, and applies to any run in the same state."""
        slot = self.rng.randrange(executor.spare())
        connected = executor.connected(slot)
        if self.planned:
            return self.planned.pop(0)
        if connected and self.chance(0.0012):
            self.planned = [{"k": "restart", "s": slot, "swap": self.chance(0.5)}]
            limits = [path for path in QUOTA_NODES if path.endswith("_limits")]
            return {"k": "req", "s": slot, "reqs": [
                {"op": "delete", "path": path, "version": -1} for path in limits]}
        if not connected:
            return self.connect(executor, slot)
        r = self.rng.random()
        if r < 0.02:
            return {"k": "drop", "s": slot}
        if r < 0.03 and executor.resumable(slot):
            return {"k": "attach", "s": slot, "cred": "own", "lastz": "seen", "ro": 0,
                    "timeout": self.rng.choice(TIMEOUTS)}
        step = {"k": "req", "s": slot}
        if r < 0.065:
            step["reqs"] = self.closing(executor)
            step["closing"] = True
        elif r < 0.1:
            step["reqs"] = self.alone()
        else:
            step["reqs"] = self.batch(executor, self.rng.choices([1, 2, 3, 5, 12],
                                                                 [12, 2, 2, 1, 0.5])[0])
            if self.chance(0.005):
                step["slow"] = True
        return step


def is_plain(path):
    """Whether random data may be written to a created path."""
    return "zookeeper" not in path and not path.startswith("/q")


def touches_quota(request):
    """Whether a request writes at or below a path that may have a quota."""
    if request["op"] == "multi":
        return any(touches_quota(sub) for sub in request["ops"])
    path = request.get("path") or ""
    return request["op"] in WRITES and (path.startswith("/q") or path.startswith("/zookeeper/quota"))
