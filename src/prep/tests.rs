//! Scenarios: one request a line, and what the tree and the client make of it. Every txn is also
//! replayed from its log bytes into a second tree, which must come out equal.
//!
//! The claims are client-protocol.md 6.2 and 8, and semantics.md 4 and 7, compared with Java by
//! `tests/differential`.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::auth::Auth;
use crate::tree::TreeOptions;
use crate::wire::client::{
    AclList, CreateRequest, CreateTtlRequest, MultiHeader, PathOnly, PathVersion, ReconfigRequest,
    SetAclRequest, SetDataRequest,
};
use crate::wire::codes::EventType;
use crate::wire::txn::TxnEntry;

/// Who asks unless a line says otherwise.
const SESSION: SessionId = SessionId(7);

struct Scene {
    prep: Prep,
    tree: DataTree,
    /// Replays what is logged.
    twin: DataTree,
    ids: Vec<Id>,
    closing: bool,
}

impl Scene {
    fn new() -> Self {
        let schemes = Schemes {
            super_digest: Some("super:nhw1qCrWUT+yEgX/TZlUhYYe3Hs=".into()),
            ..Schemes::default()
        };
        let options = Options {
            extended_types: true,
            enforce_quota: true,
            skip_acl: false,
            reconfig_enabled: false,
            digest_enabled: true,
            schemes,
        };
        Self {
            prep: Prep::new(options),
            tree: DataTree::new(TreeOptions::default()),
            twin: DataTree::new(TreeOptions::default()),
            ids: Auth::new([127, 0, 0, 1].into()).ids().to_vec(),
            closing: false,
        }
    }

    /// One line of a script; its outcome, or nothing for a setting.
    fn line(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "ttl" => self.prep.options.extended_types = words[1] == "on",
            "reconfig" => self.prep.options.reconfig_enabled = words[1] == "on",
            "closing" => self.closing = words[1] == "on",
            "as" => self.ids = ids(words[1]),
            "end" => {
                let session = SessionId(words[1].parse().expect("a session"));
                let now = self.now();
                let (mut log, mut reply, mut changes) = Default::default();
                let mut out = Output { log: &mut log, reply: &mut reply, changes: &mut changes };
                let zxid = self.prep.close_session(&mut self.tree, session, 1, now, &mut out);
                self.replay(&log);
                return Some(format!("{} closed{}", zxid.to_wire(), show_changes(&changes)));
            }
            _ => {
                let (kind, body) = request(line);
                return Some(self.request(kind, &body, session(&words)));
            }
        }
        None
    }

    fn now(&self) -> Millis {
        1000 + self.tree.last_zxid().next().to_wire()
    }

    fn request(&mut self, kind: OpCode, body: &[u8], session: SessionId) -> String {
        let now = self.now();
        let (mut log, mut reply, mut changes) = Default::default();
        let request =
            Request { session, cxid: 1, kind, body, ids: &self.ids, closing: self.closing };
        let mut out = Output { log: &mut log, reply: &mut reply, changes: &mut changes };
        let before = self.tree.last_zxid();
        let Prepared { zxid, is_txn, error } =
            self.prep.request(&mut self.tree, &request, now, &mut out);
        assert_eq!(self.tree.last_zxid(), if is_txn { before.next() } else { before });
        assert_eq!(zxid, self.tree.last_zxid());
        assert_eq!(log.is_empty(), !is_txn);
        if is_txn {
            self.replay(&log);
        }
        let mut text = format!("{}{} ", zxid.to_wire(), if is_txn { "" } else { " (no txn)" });
        match error {
            Some(code) => {
                assert!(reply.is_empty(), "an error has no body");
                assert!(changes.is_empty(), "an error changes nothing");
                write!(text, "{code:?}").unwrap();
            }
            None => text.push_str(&show_reply(kind, &reply)),
        }
        text + &show_changes(&changes)
    }

    /// A replica that only sees the log has the same tree, and its digest is the one in the txn.
    fn replay(&mut self, log: &[u8]) {
        let entry = TxnEntry::decode(log).expect("what prep logs can be read");
        let mut changes = Vec::new();
        self.twin.apply(&entry.header, &entry.txn, &mut changes, &mut SmallVec::new());
        assert_eq!(self.twin.last_zxid(), self.tree.last_zxid());
        assert_eq!(self.twin.digest(), self.tree.digest());
        if let Some(digest) = entry.digest {
            assert_eq!(digest, self.tree.digest());
        }
    }
}

fn ids(name: &str) -> Vec<Id> {
    let id = |scheme: &str, id: &str| Id { scheme: scheme.into(), id: id.into() };
    let mut ids = vec![id("ip", "127.0.0.1")];
    match name {
        "nobody" => {}
        "super" => ids.push(id("super", "")),
        user => ids.push(id("digest", &format!("{user}:hash"))),
    }
    ids
}

fn session(words: &[&str]) -> SessionId {
    option(words, "session").map_or(SESSION, |n| SessionId(n.parse().expect("a session")))
}

/// The value of `key=value`.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number<T: std::str::FromStr>(words: &[&str], key: &str, default: T) -> T {
    option(words, key).map_or(default, |n| n.parse().ok().expect("a number"))
}

/// `null`, or text in which `\0` stands for the byte.
fn bytes(word: Option<&&str>) -> Option<Vec<u8>> {
    let word = word.filter(|word| **word != "null")?;
    Some(word.trim_matches('"').replace("\\0", "\0").into_bytes())
}

/// `null`, `empty`, permissions of everybody (`crw`), or `auth`, `nope`, `nullid` or a user's name
/// behind an `@`.
fn acl(word: Option<&str>) -> Vec<u8> {
    let word = word.unwrap_or("cdrwa");
    let mut out = Vec::new();
    let (perms, scheme, id) = match word {
        "null" => {
            out.put_int(-1);
            return out;
        }
        "empty" => {
            out.put_int(0);
            return out;
        }
        "nullid" => (31, "world", None),
        "nope" => (31, "nope", Some("x".to_owned())),
        "auth" => (31, "auth", Some(String::new())),
        word => match word.strip_prefix('@') {
            Some(user) => (31, "digest", Some(format!("{user}:hash"))),
            None => {
                let bit = |c| 1 << "rwcda".find(c).expect("a permission");
                (word.chars().map(bit).sum(), "world", Some("anyone".to_owned()))
            }
        },
    };
    out.put_int(1);
    out.put_int(perms);
    out.put_some(scheme.as_bytes());
    out.put_buffer(id.as_deref().map(str::as_bytes));
    out
}

/// What begins an option and no data.
const KEYS: [&str; 5] = ["flags=", "acl=", "ver=", "ttl=", "session="];

/// `name PATH [DATA] [key=value ..]`; a multi has its operations between semicolons.
fn request(line: &str) -> (OpCode, Vec<u8>) {
    let mut body = Vec::new();
    if let Some(rows) = line.strip_prefix("multi") {
        for row in rows.split(';').map(str::trim).filter(|row| !row.is_empty()) {
            let (kind, record) = request(row);
            MultiHeader { kind: kind.to_wire(), done: false, err: -1 }.encode(&mut body);
            body.extend_from_slice(&record);
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
        return (OpCode::Multi, body);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let path = bytes(words.get(1));
    let path = path.as_deref();
    let data = bytes(words.get(2).filter(|word| !KEYS.iter().any(|key| word.starts_with(key))));
    let data = data.as_deref();
    let acl = acl(option(&words, "acl"));
    let acl = AclList { bytes: &acl };
    let version = number(&words, "ver", -1);
    let create = |kind, flags, body: &mut Vec<u8>| {
        CreateRequest { path, data, acl, flags: number(&words, "flags", flags) }.encode(body);
        kind
    };
    let kind = match words[0] {
        "create" => create(OpCode::Create, 0, &mut body),
        "create2" => create(OpCode::Create2, 0, &mut body),
        "container" => create(OpCode::CreateContainer, 4, &mut body),
        "createttl" => {
            let (flags, ttl_ms) = (number(&words, "flags", 5), number(&words, "ttl", 1000));
            CreateTtlRequest { path, data, acl, flags, ttl_ms }.encode(&mut body);
            OpCode::CreateTtl
        }
        "delete" => {
            PathVersion { path, version }.encode(&mut body);
            OpCode::Delete
        }
        "remove" => {
            PathOnly { path }.encode(&mut body);
            OpCode::DeleteContainer
        }
        "set" => {
            SetDataRequest { path, data, version }.encode(&mut body);
            OpCode::SetData
        }
        "setacl" => {
            SetAclRequest { path, acl, version }.encode(&mut body);
            OpCode::SetAcl
        }
        "check" => {
            PathVersion { path, version }.encode(&mut body);
            OpCode::Check
        }
        "reconf" => {
            ReconfigRequest { joining: None, leaving: None, new_members: None, config_id: -1 }
                .encode(&mut body);
            OpCode::Reconfig
        }
        // Not allowed where it stands.
        "sync" => {
            PathOnly { path }.encode(&mut body);
            OpCode::Sync
        }
        "cut" => {
            body.put_int(5);
            OpCode::SetData
        }
        word => panic!("no request is called {word}"),
    };
    (kind, body)
}

fn show_stat(reader: &mut Reader<'_>) -> String {
    let s = Stat::decode(reader).expect("a stat");
    format!(
        "v{} cv{} a{} len{} kids{} c{} m{} p{} t{}/{}",
        s.version,
        s.cversion,
        s.aversion,
        s.data_length,
        s.num_children,
        s.czxid,
        s.mzxid,
        s.pzxid,
        s.ctime - 1000,
        s.mtime - 1000,
    ) + &if s.ephemeral_owner == 0 { String::new() } else { format!(" of {}", s.ephemeral_owner) }
}

fn show_body(kind: i32, reader: &mut Reader<'_>) -> String {
    let path = |reader: &mut Reader<'_>| reader.some().expect("a path").escape_ascii().to_string();
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other result is ours")]
    match OpCode::from_wire(kind).expect("a result's type") {
        OpCode::Create => path(reader),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            format!("{} {}", path(reader), show_stat(reader))
        }
        OpCode::SetData | OpCode::SetAcl => show_stat(reader),
        OpCode::Delete | OpCode::Check | OpCode::DeleteContainer => "ok".into(),
        other => panic!("{other:?} has no result"),
    }
}

fn show_reply(kind: OpCode, reply: &[u8]) -> String {
    let mut reader = Reader::new(reply);
    let mut text = String::new();
    if kind == OpCode::Multi {
        loop {
            let header = MultiHeader::decode(&mut reader).expect("a header");
            if header.done {
                assert_eq!((header.kind, header.err), (-1, -1));
                break;
            }
            let row = if header.kind == -1 {
                assert_eq!(reader.int(), Ok(header.err), "the code stands twice");
                ErrorCode::from_wire(header.err).map_or("0".into(), |code| format!("{code:?}"))
            } else {
                assert_eq!(header.err, 0);
                format!("{}:{}", header.kind, show_body(header.kind, &mut reader))
            };
            write!(text, "[{row}]").unwrap();
        }
    } else {
        text = show_body(kind.to_wire(), &mut reader);
    }
    assert_eq!(reader.rest(), b"", "nothing else is in a reply");
    text
}

fn show_changes(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let sign = match change.kind {
            EventType::NodeCreated => '+',
            EventType::NodeDeleted => '-',
            EventType::NodeDataChanged => '=',
            EventType::NodeChildrenChanged => '?',
        };
        write!(text, " {sign}{}", change.path.escape_ascii()).unwrap();
    }
    if text.is_empty() { text } else { format!(" |{text}") }
}

/// Runs a script; lines behind `//` are prologue, whose outcome must be a success and is not shown.
fn check(script: &str, expected: Expect) {
    let mut scene = Scene::new();
    let mut text = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(line) = line.strip_prefix("//") {
            let outcome = scene.line(line.trim()).expect("a request");
            assert!(outcome.contains('|') || outcome.contains(" v"), "{line}: {outcome}");
        } else if let Some(outcome) = scene.line(line) {
            writeln!(text, "{line:<40} {}", outcome.trim_end()).unwrap();
        } else {
            writeln!(text, "{line}").unwrap();
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn create_fails_by_the_first_check_that_fails() {
    check(
        r#"
        // create /n x
        // create /e x flags=1
        // create /ro x acl=rwda
        cut
        create /n flags=7 acl=null
        create null flags=-1
        closing on
        create null acl=null
        closing off
        create null acl=null
        create x acl=null
        create /zz\0/y acl=null
        create /zz/y acl=null
        create /ro/.. acl=nope
        create /zz/y acl=nope
        create /zz/..
        create /zz/x/
        create /ro/..
        create /ro/x
        create /n/
        create /n//x
        create //x
        create n/x
        create /n/..
        create /
        create / flags=2
        create /n
        create /e/..
        create /e/x
        create /e/x acl=auth
        create /e/x acl=nullid
        "#,
        expect![[r#"
            cut                                      3 (no txn) MarshallingError
            create /n flags=7 acl=null               4 BadArguments
            create null flags=-1                     5 BadArguments
            closing on
            create null acl=null                     6 SessionExpired
            closing off
            create null acl=null                     7 MarshallingError
            create x acl=null                        8 BadArguments
            create /zz\0/y acl=null                  9 BadArguments
            create /zz/y acl=null                    10 InvalidAcl
            create /ro/.. acl=nope                   11 InvalidAcl
            create /zz/y acl=nope                    12 InvalidAcl
            create /zz/..                            13 NoNode
            create /zz/x/                            14 NoNode
            create /ro/..                            15 NoAuth
            create /ro/x                             16 NoAuth
            create /n/                               17 BadArguments
            create /n//x                             18 NoNode
            create //x                               19 BadArguments
            create n/x                               20 NoNode
            create /n/..                             21 BadArguments
            create /                                 22 NodeExists
            create / flags=2                         23 /0000000003 | +/0000000003
            create /n                                24 NodeExists
            create /e/..                             25 BadArguments
            create /e/x                              26 NoChildrenForEphemerals
            create /e/x acl=auth                     27 InvalidAcl
            create /e/x acl=nullid                   28 MarshallingError
        "#]],
    );
}

/// What is refused depends on the property first, then on the time to live.
#[test]
fn ttl_and_containers() {
    check(
        r#"
        createttl /a flags=5 ttl=0
        createttl /a flags=5 ttl=-5
        createttl /a flags=5 ttl=1099511627776
        createttl /a flags=5 ttl=1099511627775
        createttl /b flags=0 ttl=5
        createttl /b flags=0 ttl=-5
        createttl null flags=9 ttl=5
        create /b flags=5
        create2 /b flags=6
        container /b flags=6
        container /c
        create /c/x
        createttl /a/t- flags=6
        ttl off
        create /d flags=5
        createttl /d flags=5 ttl=0
        remove /c
        remove /zz/c
        remove /zz
        remove /
        remove /c/x
        remove /c
        create /e flags=1
        remove /e
        "#,
        expect![[r#"
            createttl /a flags=5 ttl=0               1 BadArguments
            createttl /a flags=5 ttl=-5              2 BadArguments
            createttl /a flags=5 ttl=1099511627776   3 BadArguments
            createttl /a flags=5 ttl=1099511627775   4 /a v0 cv0 a0 len0 kids0 c4 m4 p4 t4/4 | +/a
            createttl /b flags=0 ttl=5               5 BadArguments
            createttl /b flags=0 ttl=-5              6 BadArguments
            createttl null flags=9 ttl=5             7 BadArguments
            create /b flags=5                        8 BadArguments
            create2 /b flags=6                       9 BadArguments
            container /b flags=6                     10 BadArguments
            container /c                             11 /c v0 cv0 a0 len0 kids0 c11 m11 p11 t11/11 | +/c
            create /c/x                              12 /c/x | +/c/x
            createttl /a/t- flags=6                  13 /a/t-0000000000 v0 cv0 a0 len0 kids0 c13 m13 p13 t13/13 | +/a/t-0000000000
            ttl off
            create /d flags=5                        14 Unimplemented
            createttl /d flags=5 ttl=0               15 Unimplemented
            remove /c                                16 NotEmpty
            remove /zz/c                             17 NoNode
            remove /zz                               18 NoNode
            remove /                                 19 BadArguments
            remove /c/x                              20 ok | -/c/x
            remove /c                                21 ok | -/c
            create /e flags=1                        22 /e | +/e
            remove /e                                23 BadVersion
        "#]],
    );
}

#[test]
fn delete_fails_by_the_first_check_that_fails() {
    check(
        r#"
        // create /n x
        // create /n/c x
        // create /shut x
        // create /shut/c x acl=cdrwa
        // setacl /shut acl=rcwa
        closing on
        delete null
        closing off
        delete null
        delete x
        delete /\0
        delete /
        as super
        delete /zookeeper
        delete /zookeeper/quota
        delete /zookeeper/config
        as nobody
        delete /zz/c ver=5
        delete /shut/zz ver=5
        delete /shut/c ver=5
        delete /n/zz ver=5
        delete /n/
        delete //
        delete /n//c
        delete /n ver=5
        delete /n ver=-2
        delete /n ver=0
        delete /n/c ver=0
        delete /n
        "#,
        expect![[r#"
            closing on
            delete null                              6 SessionExpired
            closing off
            delete null                              7 MarshallingError
            delete x                                 8 BadArguments
            delete /\0                               9 BadArguments
            delete /                                 10 BadArguments
            as super
            delete /zookeeper                        11 BadArguments
            delete /zookeeper/quota                  12 BadArguments
            delete /zookeeper/config                 13 BadArguments
            as nobody
            delete /zz/c ver=5                       14 NoNode
            delete /shut/zz ver=5                    15 NoAuth
            delete /shut/c ver=5                     16 NoAuth
            delete /n/zz ver=5                       17 NoNode
            delete /n/                               18 NoNode
            delete //                                19 NoNode
            delete /n//c                             20 NoNode
            delete /n ver=5                          21 BadVersion
            delete /n ver=-2                         22 BadVersion
            delete /n ver=0                          23 NotEmpty
            delete /n/c ver=0                        24 ok | -/n/c
            delete /n                                25 ok | -/n
        "#]],
    );
}

#[test]
fn set_fails_by_the_first_check_that_fails() {
    check(
        r#"
        // create /ro x acl=r
        // create /n x
        closing on
        set null
        closing off
        set null
        set /n/
        set /zz ver=5
        set /ro y ver=5
        set /n y ver=5
        set /n y ver=-2
        set /n yy ver=0
        set /n null ver=1
        set /n null
        "#,
        expect![[r#"
            closing on
            set null                                 3 SessionExpired
            closing off
            set null                                 4 BadArguments
            set /n/                                  5 BadArguments
            set /zz ver=5                            6 NoNode
            set /ro y ver=5                          7 NoAuth
            set /n y ver=5                           8 BadVersion
            set /n y ver=-2                          9 BadVersion
            set /n yy ver=0                          10 v1 cv0 a0 len2 kids0 c2 m10 p2 t2/10 | =/n
            set /n null ver=1                        11 v2 cv0 a0 len0 kids0 c2 m11 p2 t2/11 | =/n
            set /n null                              12 v3 cv0 a0 len0 kids0 c2 m12 p2 t2/12 | =/n
        "#]],
    );
}

#[test]
fn set_acl_fails_by_the_first_check_that_fails() {
    check(
        r#"
        // create /na x acl=crwd
        // create /n x
        closing on
        setacl null acl=null
        closing off
        setacl null acl=null
        setacl /n/ acl=null
        setacl /zz acl=null
        setacl /zz acl=empty
        setacl /zz acl=nope
        setacl /zz acl=nullid
        setacl /zz acl=auth
        setacl /zz acl=r ver=5
        setacl /na acl=r ver=5
        setacl /n acl=r ver=5
        setacl /n acl=ra ver=0
        setacl /n acl=r ver=1
        setacl /n acl=cdrwa
        as super
        setacl /n acl=cdrwa
        "#,
        expect![[r#"
            closing on
            setacl null acl=null                     3 SessionExpired
            closing off
            setacl null acl=null                     4 BadArguments
            setacl /n/ acl=null                      5 BadArguments
            setacl /zz acl=null                      6 InvalidAcl
            setacl /zz acl=empty                     7 InvalidAcl
            setacl /zz acl=nope                      8 InvalidAcl
            setacl /zz acl=nullid                    9 MarshallingError
            setacl /zz acl=auth                      10 InvalidAcl
            setacl /zz acl=r ver=5                   11 NoNode
            setacl /na acl=r ver=5                   12 NoAuth
            setacl /n acl=r ver=5                    13 BadVersion
            setacl /n acl=ra ver=0                   14 v0 cv0 a1 len1 kids0 c2 m2 p2 t2/2
            setacl /n acl=r ver=1                    15 v0 cv0 a2 len1 kids0 c2 m2 p2 t2/2
            setacl /n acl=cdrwa                      16 NoAuth
            as super
            setacl /n acl=cdrwa                      17 v0 cv0 a3 len1 kids0 c2 m2 p2 t2/2
        "#]],
    );
}

#[test]
fn a_check_is_a_row_of_a_multi() {
    check(
        r#"
        // create /nr x acl=cdwa
        // create /n x
        multi check /n/ ver=5
        multi check /zz ver=5
        multi check /nr ver=5
        multi check /n ver=5
        multi check /n ver=0
        multi check /n ver=-2
        multi check /n; check /n ver=0
        "#,
        expect![[r#"
            multi check /n/ ver=5                    3 [BadArguments]
            multi check /zz ver=5                    4 [NoNode]
            multi check /nr ver=5                    5 [NoAuth]
            multi check /n ver=5                     6 [BadVersion]
            multi check /n ver=0                     7 [13:ok]
            multi check /n ver=-2                    8 [BadVersion]
            multi check /n; check /n ver=0           9 [13:ok][13:ok]
        "#]],
    );
}

#[test]
fn reconfig_of_a_lone_server() {
    check(
        r#"
        reconf
        reconfig on
        reconf
        "#,
        expect![[r#"
            reconf                                   1 ReconfigDisabled
            reconfig on
            reconf                                   2 Unimplemented
        "#]],
    );
}

#[test]
fn a_stat_shows_the_state_right_after() {
    check(
        r#"
        create2 /a x
        create2 /a/b y
        set /a xyz
        setacl /a acl=cdrwa
        create2 /a/e flags=1
        delete /a/b
        set /a null
        end 7
        set /a x
        "#,
        expect![[r#"
            create2 /a x                             1 /a v0 cv0 a0 len1 kids0 c1 m1 p1 t1/1 | +/a
            create2 /a/b y                           2 /a/b v0 cv0 a0 len1 kids0 c2 m2 p2 t2/2 | +/a/b
            set /a xyz                               3 v1 cv1 a0 len3 kids1 c1 m3 p2 t1/3 | =/a
            setacl /a acl=cdrwa                      4 v1 cv1 a1 len3 kids1 c1 m3 p2 t1/3
            create2 /a/e flags=1                     5 /a/e v0 cv0 a0 len0 kids0 c5 m5 p5 t5/5 of 7 | +/a/e
            delete /a/b                              6 ok | -/a/b
            set /a null                              7 v2 cv3 a1 len0 kids1 c1 m7 p6 t1/7 | =/a
            end 7                                    8 closed | -/a/e
            set /a x                                 9 v3 cv4 a1 len1 kids0 c1 m9 p8 t1/9 | =/a
        "#]],
    );
}

/// Sequential or not; neither deletes nor failures move it.
#[test]
fn the_counter_counts_every_create() {
    check(
        r#"
        // create /n x
        create /n/a- flags=2
        create /n/plain
        create /n/a- flags=3
        delete /n/plain
        create /n/b- flags=2
        create /n/b- flags=2 acl=nope
        create /n/ flags=2
        multi create /n/m- flags=2; create /n/m- flags=2; check /zz
        multi create /n/m- flags=2; create /n/m- flags=2
        create /n/m- flags=2
        createttl /n/t- flags=6
        "#,
        expect![[r#"
            create /n/a- flags=2                     2 /n/a-0000000000 | +/n/a-0000000000
            create /n/plain                          3 /n/plain | +/n/plain
            create /n/a- flags=3                     4 /n/a-0000000002 | +/n/a-0000000002
            delete /n/plain                          5 ok | -/n/plain
            create /n/b- flags=2                     6 /n/b-0000000003 | +/n/b-0000000003
            create /n/b- flags=2 acl=nope            7 InvalidAcl
            create /n/ flags=2                       8 /n/0000000004 | +/n/0000000004
            multi create /n/m- flags=2; create /n/m- flags=2; check /zz 9 [0][0][NoNode]
            multi create /n/m- flags=2; create /n/m- flags=2 10 [1:/n/m-0000000005][1:/n/m-0000000006] | +/n/m-0000000005 +/n/m-0000000006
            create /n/m- flags=2                     11 /n/m-0000000007 | +/n/m-0000000007
            createttl /n/t- flags=6                  12 /n/t-0000000008 v0 cv0 a0 len0 kids0 c12 m12 p12 t12/12 | +/n/t-0000000008
        "#]],
    );
}

#[test]
fn a_multi_is_all_or_nothing() {
    check(
        r#"
        // create /a x
        multi
        multi create /b x; create2 /b/c x; set /b yy ver=0; delete /b/c; check /b ver=1
        multi create /c x; create /c/d x; set /a z; delete /a ver=9; create /e x
        create /c
        multi container /k; createttl /t; createttl /p flags=0 ttl=-1; createttl /q flags=4
        multi create /r flags=4; container /s flags=0
        multi createttl /u flags=9
        multi createttl /u ttl=0
        multi createttl /u acl=null
        multi create /u acl=empty
        multi create /x flags=1; delete /x; create /x flags=1
        end 7
        "#,
        expect![[r#"
            multi                                    2
            multi create /b x; create2 /b/c x; set /b yy ver=0; delete /b/c; check /b ver=1 3 [1:/b][15:/b/c v0 cv0 a0 len1 kids0 c3 m3 p3 t3/3][5:v1 cv1 a0 len2 kids1 c3 m3 p3 t3/3][2:ok][13:ok] | +/b +/b/c =/b -/b/c
            multi create /c x; create /c/d x; set /a z; delete /a ver=9; create /e x 4 [0][0][0][BadVersion][RuntimeInconsistency]
            create /c                                5 /c | +/c
            multi container /k; createttl /t; createttl /p flags=0 ttl=-1; createttl /q flags=4 6 [15:/k v0 cv0 a0 len0 kids0 c6 m6 p6 t6/6][15:/t v0 cv0 a0 len0 kids0 c6 m6 p6 t6/6][1:/p][15:/q v0 cv0 a0 len0 kids0 c6 m6 p6 t6/6] | +/k +/t +/p +/q
            multi create /r flags=4; container /s flags=0 7 [15:/r v0 cv0 a0 len0 kids0 c7 m7 p7 t7/7][15:/s v0 cv0 a0 len0 kids0 c7 m7 p7 t7/7] | +/r +/s
            multi createttl /u flags=9               8 [BadArguments]
            multi createttl /u ttl=0                 9 [BadArguments]
            multi createttl /u acl=null              10 [InvalidAcl]
            multi create /u acl=empty                11 [InvalidAcl]
            multi create /x flags=1; delete /x; create /x flags=1 12 [1:/x][2:ok][1:/x] | +/x -/x +/x
            end 7                                    13 closed | -/x
        "#]],
    );
}

/// A null list costs no zxid, whatever it stands behind; all else does.
#[test]
fn what_spoils_a_whole_multi() {
    check(
        r#"
        // create /a x
        multi create /b x; sync /a
        multi create /b x; setacl /a
        multi create /b x; remove /a
        multi create /b x; cut
        multi create /b flags=7
        multi create /b flags=5
        multi container /b flags=6
        multi create /zz/b; create null
        multi create /zz/b; delete null
        multi set null x
        multi check null
        multi create /b acl=nullid
        multi create /zz/b; create /c acl=nullid
        multi create /b acl=null
        multi create /zz/b; container /c acl=null
        multi create /b acl=null flags=7
        multi create /b acl=null flags=5
        multi create /b acl=null; sync /a
        multi sync /a; create /b acl=null
        multi create null acl=null
        create /b
        "#,
        expect![[r#"
            multi create /b x; sync /a               2 MarshallingError
            multi create /b x; setacl /a             3 MarshallingError
            multi create /b x; remove /a             4 MarshallingError
            multi create /b x; cut                   5 MarshallingError
            multi create /b flags=7                  6 MarshallingError
            multi create /b flags=5                  7 MarshallingError
            multi container /b flags=6               8 MarshallingError
            multi create /zz/b; create null          9 MarshallingError
            multi create /zz/b; delete null          10 MarshallingError
            multi set null x                         11 MarshallingError
            multi check null                         12 MarshallingError
            multi create /b acl=nullid               13 MarshallingError
            multi create /zz/b; create /c acl=nullid 14 [NoNode][RuntimeInconsistency]
            multi create /b acl=null                 14 (no txn) MarshallingError
            multi create /zz/b; container /c acl=null 14 (no txn) MarshallingError
            multi create /b acl=null flags=7         15 MarshallingError
            multi create /b acl=null flags=5         15 (no txn) MarshallingError
            multi create /b acl=null; sync /a        15 (no txn) MarshallingError
            multi sync /a; create /b acl=null        16 MarshallingError
            multi create null acl=null               16 (no txn) MarshallingError
            create /b                                17 /b | +/b
        "#]],
    );
}

/// A limit without its stats node is none, a multi is judged by what was before it, and a version
/// is looked at behind the quota.
#[test]
fn quotas_refuse_by_their_hard_limits() {
    check(
        r#"
        // create /q x
        // create /zookeeper/quota/q x
        // create /zookeeper/quota/q/zookeeper_limits count=1,bytes=1;byteHardLimit=6;countHardLimit=3
        create /q/free xxxxxxxxxxxx
        delete /q/free
        // create /zookeeper/quota/q/zookeeper_stats x
        create /q/a xxxxxx
        create /q/a xxx
        set /q/a xxxxxx
        set /q/a xxxxxx ver=7
        set /q/a xxx ver=7
        set /q/a yyyyy
        set /q/a z
        multi create /q/b y; create /q/c y; create /q/d y
        create /q/e
        create /q/b
        delete /q/d
        delete /q/c
        create /q/c y
        set /zookeeper/quota/q/zookeeper_limits nothing
        create /q/e xxxxxxxx
        set /zookeeper/quota/q/zookeeper_limits countHardLimit=0
        set /q null
        create /q/f
        delete /zookeeper/quota/q/zookeeper_stats
        create /q/f
        "#,
        expect![[r#"
            create /q/free xxxxxxxxxxxx              4 /q/free | +/q/free
            delete /q/free                           5 ok | -/q/free
            create /q/a xxxxxx                       7 QuotaExceeded
            create /q/a xxx                          8 /q/a | +/q/a
            set /q/a xxxxxx                          9 QuotaExceeded
            set /q/a xxxxxx ver=7                    10 QuotaExceeded
            set /q/a xxx ver=7                       11 BadVersion
            set /q/a yyyyy                           12 v1 cv0 a0 len5 kids0 c8 m12 p8 t8/12 | =/q/a
            set /q/a z                               13 v2 cv0 a0 len1 kids0 c8 m13 p8 t8/13 | =/q/a
            multi create /q/b y; create /q/c y; create /q/d y 14 [1:/q/b][1:/q/c][1:/q/d] | +/q/b +/q/c +/q/d
            create /q/e                              15 QuotaExceeded
            create /q/b                              16 NodeExists
            delete /q/d                              17 ok | -/q/d
            delete /q/c                              18 ok | -/q/c
            create /q/c y                            19 QuotaExceeded
            set /zookeeper/quota/q/zookeeper_limits nothing 20 v1 cv0 a0 len7 kids0 c3 m20 p3 t3/20 | =/zookeeper/quota/q/zookeeper_limits
            create /q/e xxxxxxxx                     21 /q/e | +/q/e
            set /zookeeper/quota/q/zookeeper_limits countHardLimit=0 22 v2 cv0 a0 len16 kids0 c3 m22 p3 t3/22 | =/zookeeper/quota/q/zookeeper_limits
            set /q null                              23 v1 cv9 a0 len0 kids3 c1 m23 p21 t1/23 | =/q
            create /q/f                              24 QuotaExceeded
            delete /zookeeper/quota/q/zookeeper_stats 25 ok | -/zookeeper/quota/q/zookeeper_stats
            create /q/f                              26 /q/f | +/q/f
        "#]],
    );
}

#[test]
fn only_the_deepest_quota_counts() {
    check(
        r#"
        // create /q x
        // create /q/n x
        // create /zookeeper/quota/q x
        // create /zookeeper/quota/q/zookeeper_limits countHardLimit=2
        // create /zookeeper/quota/q/zookeeper_stats x
        // create /zookeeper/quota/q/n x
        // create /zookeeper/quota/q/n/zookeeper_limits countHardLimit=2
        // create /zookeeper/quota/q/n/zookeeper_stats x
        create /q/a
        create /q/n/a
        create /q/n/b
        delete /zookeeper/quota/q/n/zookeeper_limits
        create /q/n/b
        "#,
        expect![[r#"
            create /q/a                              9 QuotaExceeded
            create /q/n/a                            10 /q/n/a | +/q/n/a
            create /q/n/b                            11 QuotaExceeded
            delete /zookeeper/quota/q/n/zookeeper_limits 12 ok | -/zookeeper/quota/q/n/zookeeper_limits
            create /q/n/b                            13 QuotaExceeded
        "#]],
    );
}

#[test]
fn ends_take_ephemerals_that_are_not_committed_yet() {
    check(
        r#"
        create /a flags=1
        create /b flags=1 session=8
        multi create /c flags=1; create /d flags=1; delete /a
        end 7
        end 7
        delete /b
        "#,
        expect![[r#"
            create /a flags=1                        1 /a | +/a
            create /b flags=1 session=8              2 /b | +/b
            multi create /c flags=1; create /d flags=1; delete /a 3 [1:/c][1:/d][2:ok] | +/c +/d -/a
            end 7                                    4 closed | -/c -/d
            end 7                                    5 closed
            delete /b                                6 ok | -/b
        "#]],
    );
}

#[test]
fn permissions_are_those_of_the_connection() {
    check(
        r#"
        // create /a x acl=@u
        set /a y
        as u
        set /a y
        create /a/mine acl=auth
        as v
        set /a/mine y
        create /a/x
        as super
        create /a/x acl=auth
        set /a/mine y
        "#,
        expect![[r#"
            set /a y                                 2 NoAuth
            as u
            set /a y                                 3 v1 cv0 a0 len1 kids0 c1 m3 p1 t1/3 | =/a
            create /a/mine acl=auth                  4 /a/mine | +/a/mine
            as v
            set /a/mine y                            5 NoAuth
            create /a/x                              6 NoAuth
            as super
            create /a/x acl=auth                     7 InvalidAcl
            set /a/mine y                            8 v1 cv0 a0 len1 kids0 c4 m8 p4 t4/8 | =/a/mine
        "#]],
    );
}
