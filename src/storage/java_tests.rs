//! Data directories that Java servers 3.8.0 and 3.9.5 left, whole and damaged, must load to what
//! Java makes of them (`tests/fixtures/storage`; every file there is packed with gzip).

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::disk::{Dir, Dirs, Disk, Entry, FileName, RealDisk};
use super::recovery::{Recovered, RecoveryError, RecoveryOptions, recover};
use super::retention;
use super::snapshot::SnapshotWriter;
use super::{Compression, Named};
use crate::tree::{DataTree, TreeOptions};
use crate::types::{SessionId, Zxid};
use crate::wire::client::Stat;

/// The directories of the vectors.
const DIRECTORIES: [&str; 17] = [
    "java-3.8.0/standalone/basic",
    "java-3.8.0/standalone/restarted",
    "java-3.8.0/standalone/compressed-gz",
    "java-3.8.0/standalone/compressed-snappy",
    "java-3.9.5/standalone/basic",
    "java-3.9.5/standalone/restarted",
    "java-3.9.5/standalone/compressed-gz",
    "java-3.9.5/standalone/compressed-snappy",
    "java-3.8.0/ensemble/static/server.1",
    "java-3.8.0/ensemble/static/server.2",
    "java-3.8.0/ensemble/static/server.3",
    "java-3.8.0/ensemble/static/server.4",
    "java-3.8.0/ensemble/uncommitted-tail/server.3",
    "java-3.8.0/ensemble/reconfig/server.1",
    "java-3.8.0/ensemble/reconfig/server.2",
    "java-3.8.0/ensemble/reconfig/server.3",
    "java-3.8.0/ensemble/reconfig/server.4",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/storage").join(name)
}

fn unpacked(path: &Path) -> Vec<u8> {
    let packed = std::fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("gzip");
    bytes
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&unpacked(&fixture(name))).expect("JSON")
}

/// A fresh copy of a directory of the vectors.
pub(super) fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    unpack_into(&fixture(name).join("data"), dir.path());
    dir
}

fn unpack_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("a fixture");
        let name = entry.file_name().into_string().expect("ASCII");
        if entry.path().is_dir() {
            std::fs::create_dir_all(to.join(&name)).expect("a directory");
            unpack_into(&entry.path(), &to.join(&name));
        } else {
            let name = name.strip_suffix(".gz").expect("all are packed");
            std::fs::write(to.join(name), unpacked(&entry.path())).expect("a file");
        }
    }
}

pub(super) fn disk(dir: &Path) -> RealDisk {
    let dirs = Dirs::new(dir, None);
    std::fs::create_dir_all(dirs.path(Dir::Snap)).expect("a directory");
    RealDisk::new(dirs)
}

pub(super) fn load_with(
    dir: &Path,
    options: &RecoveryOptions,
    tree_options: TreeOptions,
) -> Result<Recovered, RecoveryError> {
    recover(&mut disk(dir), options, tree_options, &mut |_| {})
}

pub(super) fn load(dir: &Path) -> Result<Recovered, RecoveryError> {
    load_with(dir, &RecoveryOptions::default(), TreeOptions::default())
}

/// Everything a client with all rights can see, in the order of the paths: one line a node.
pub(super) fn dump(tree: &DataTree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut walk = tree.view().walk();
    let mut nodes = Vec::new();
    while walk.step(usize::MAX, |node| {
        nodes.push((
            node.path().to_vec(),
            node.data().map(<[u8]>::to_vec),
            node.stat(),
            node.acl(),
        ));
        true
    }) {}
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, data, stat, acl) in nodes {
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        let acl: Vec<String> = tree
            .acls()
            .get(acl)
            .iter()
            .map(|acl| {
                let text =
                    |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
                format!("{}:{}:{}", acl.perms, text(acl.scheme), text(acl.id))
            })
            .collect();
        lines.push(line(&String::from_utf8_lossy(&path), data.as_deref(), &stat, &acl));
    }
    lines.sort();
    lines
}

fn line(path: &str, data: Option<&[u8]>, stat: &Stat, acl: &[String]) -> String {
    let data = data.map_or("null".to_owned(), |data| BASE64_STANDARD.encode(data));
    let stat =
        if path == "/zookeeper/config" { "rewritten".to_owned() } else { format!("{stat:?}") };
    format!("{path} {data} {stat} {}", acl.join(" "))
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

fn small(value: &Value) -> i32 {
    i32::try_from(number(value)).expect("32 bits")
}

fn expected_lines(expected: &Value) -> Vec<String> {
    let mut lines: Vec<String> = expected["tree"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| {
            let s = &node["stat"];
            let data =
                node["data"].as_str().map(|data| BASE64_STANDARD.decode(data).expect("base64"));
            let path = node["path"].as_str().expect("a path");
            let data_length = small(&s["dataLength"]);
            let stat = Stat {
                czxid: number(&s["czxid"]),
                mzxid: number(&s["mzxid"]),
                ctime: number(&s["ctime"]),
                mtime: number(&s["mtime"]),
                version: small(&s["version"]),
                cversion: small(&s["cversion"]),
                aversion: small(&s["aversion"]),
                ephemeral_owner: number(&s["ephemeralOwner"]),
                data_length,
                num_children: small(&s["numChildren"]),
                pzxid: number(&s["pzxid"]),
            };
            let acl: Vec<String> = node["acl"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|acl| {
                    let text = |key: &str| acl[key].as_str().expect("text").to_owned();
                    format!("{}:{}:{}", small(&acl["perms"]), text("scheme"), text("id"))
                })
                .collect();
            line(path, data.as_deref(), &stat, &acl)
        })
        .collect();
    lines.sort();
    lines
}

fn hex(value: &Value) -> u64 {
    let text = value.as_str().expect("hex").trim_start_matches("0x");
    u64::from_str_radix(text, 16).expect("hex")
}

fn digest(value: &Value) -> Option<u64> {
    value.as_i64().map(i64::cast_unsigned)
}

fn sessions(recovered: &Recovered) -> Vec<(SessionId, i32)> {
    let mut sessions: Vec<_> = recovered.sessions.iter().map(|(id, ms)| (*id, *ms)).collect();
    sessions.sort();
    sessions
}

/// The lines without what one side may compute for itself.
fn compare(found: Vec<String>, expected: Vec<String>, name: &str) {
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(found.len(), expected.len(), "{name}");
}

#[test]
fn every_directory_that_java_left_loads_to_what_java_says() {
    for name in DIRECTORIES {
        let dir = copy(name);
        let expected = json(&format!("{name}/expected.json.gz"));
        let mut recovered = load(dir.path()).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert_eq!(recovered.last_zxid.0, hex(&expected["last_zxid"]), "{name}");
        assert_eq!(recovered.tree.last_zxid(), recovered.last_zxid, "{name}");
        assert_eq!(
            Some(recovered.tree.digest()),
            digest(&expected["tree_digest_after_replay"]),
            "{name}"
        );
        assert_eq!(recovered.first_mismatch, None, "{name}");
        assert_eq!(recovered.cuts, [], "{name}");
        let snapshot = recovered.snapshot.clone().expect("it has one");
        assert_eq!(snapshot.file.name, expected["newest_snapshot"].as_str().unwrap(), "{name}");
        let mut wanted: Vec<(SessionId, i32)> = expected["sessions"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, ms)| (SessionId(hex(&Value::from(id.as_str())).cast_signed()), small(ms)))
            .collect();
        wanted.sort();
        assert_eq!(sessions(&recovered), wanted, "{name}");
        for (id, paths) in expected["ephemerals"].as_object().unwrap() {
            let id = SessionId(hex(&Value::from(id.as_str())).cast_signed());
            let found: Vec<_> =
                recovered.tree.ephemerals(id).map(String::from_utf8_lossy).collect();
            let wanted: Vec<_> =
                paths.as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
            assert_eq!(found, wanted, "{name}");
        }
        assert_eq!(recovered.remove_orphans(), [], "{name}");
        compare(dump(&recovered.tree), expected_lines(&expected), name);
    }
}

/// Applies a case's changes to a copy.
fn mutate(dir: &Path, mutation: &Value) {
    let path = |key: &str| dir.join(mutation[key].as_str().expect("a file"));
    let file = path("file");
    let bytes = |key: &str| -> Vec<u8> {
        let text = mutation[key].as_str().expect("hex");
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
            .collect()
    };
    let size = |key: &str| usize::try_from(number(&mutation[key])).expect("a size");
    match mutation["op"].as_str().expect("an operation") {
        "truncate" => {
            let mut content = std::fs::read(&file).unwrap();
            content.truncate(size("size"));
            std::fs::write(&file, content).unwrap();
        }
        "patch" => {
            let mut content = std::fs::read(&file).unwrap();
            let (at, patch) = (size("offset"), bytes("hex"));
            content.resize(content.len().max(at + patch.len()), 0);
            content[at..at + patch.len()].copy_from_slice(&patch);
            std::fs::write(&file, content).unwrap();
        }
        "remove" => std::fs::remove_file(&file).unwrap(),
        "copy" => {
            // The case removes the source before it copies it: it means the base's.
            let source = mutation["source"].as_str().unwrap();
            let base = fixture("java-3.8.0/standalone/basic/data").join(format!("{source}.gz"));
            std::fs::write(&file, unpacked(&base)).unwrap();
        }
        "create-zeros" => std::fs::write(&file, vec![0; size("size")]).unwrap(),
        "create" => {
            let mut content = bytes("hex");
            content.resize(size("pad_zeros_to"), 0);
            std::fs::write(&file, content).unwrap();
        }
        other => panic!("unknown operation {other}"),
    }
}

#[test]
fn damaged_directories_end_as_with_java_3_9_5() {
    let cases = json("java-3.8.0/standalone/recovery-cases.json.gz");
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 35);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let dir = copy("java-3.8.0/standalone/basic");
        for mutation in case["mutation"].as_array().unwrap() {
            mutate(dir.path(), mutation);
        }
        let properties = &case["system_properties"];
        let is = |key: &str, value: &str| properties[format!("zookeeper.{key}")] == value;
        let options = RecoveryOptions {
            trust_empty: is("snapshot.trust.empty", "true"),
            db_autocreate: !is("db.autocreate", "false"),
            ..RecoveryOptions::default()
        };
        let tree_options =
            TreeOptions { digest_enabled: !is("digest.enabled", "false"), ..Default::default() };
        // Java 3.9.5 cannot read a digest section that its settings do not expect, and refuses; 3.8.0
        // starts, and so do we: all seals are checked either way.
        let version = if tree_options.digest_enabled { "3.9.5" } else { "3.8.0" };
        let java = &case["java"][version];
        let result = load_with(dir.path(), &options, tree_options);
        if java["starts"] == false {
            let err = result.expect_err(name).to_string();
            assert!(err.contains(&dir.path().display().to_string()), "{name}: {err}");
            continue;
        }
        let recovered = result.unwrap_or_else(|err| panic!("{name}: {err}"));
        assert_eq!(recovered.last_zxid.0, hex(&java["highest_zxid"]), "{name}");
        assert_eq!(recovered.initialized, recovered.last_zxid != Zxid::MAX, "{name}");
        if tree_options.digest_enabled {
            assert_eq!(Some(recovered.tree.digest()), digest(&java["tree_digest"]), "{name}");
        }
        if let Some(nodes) = java["nodes"].as_u64() {
            assert_eq!(dump(&recovered.tree).len() as u64, nodes, "{name}");
        }
        let mismatch = name == "valid record with wrong tree digest";
        assert_eq!(recovered.digest_mismatches, u64::from(mismatch), "{name}");
        assert!(!dir.path().join("initialize").exists(), "{name}");
        // What was repaired stays repaired.
        if recovered.initialized {
            // Logs trusted once without a snapshot have one now.
            let options = RecoveryOptions { trust_empty: false, ..options };
            let again = load_with(dir.path(), &options, tree_options).expect(name);
            assert_eq!(again.cuts, [], "{name}");
            assert_eq!(again.last_zxid, recovered.last_zxid, "{name}");
        }
    }
}

#[test]
fn what_is_written_reads_back_the_same_in_every_packing() {
    for name in DIRECTORIES {
        let dir = copy(name);
        let mut recovered = load(dir.path()).unwrap();
        let before = dump(&recovered.tree);
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let target = tempfile::tempdir().unwrap();
            let mut disk = disk(target.path());
            let digest = Some(recovered.tree.digest());
            let sessions = sessions(&recovered);
            let view = recovered.tree.view();
            let mut writer = SnapshotWriter::new(view, &sessions, digest, compression);
            while writer.step(&mut disk).unwrap().is_some() {}
            let taken = writer.taken();
            assert_eq!(taken.zxid, recovered.last_zxid);
            assert_eq!(taken.nodes, before.len() as u64);
            let names: Vec<Entry> = disk.list(Dir::Snap).unwrap();
            let file = Named::snapshot(taken.zxid, compression);
            assert_eq!(names, [Entry { name: file.name, len_bytes: taken.len_bytes }]);

            let read = load(target.path()).unwrap_or_else(|err| panic!("{name}: {err}"));
            assert_eq!(read.last_zxid, recovered.last_zxid, "{name}");
            assert_eq!(read.first_mismatch, None, "{name}");
            assert_eq!(read.tree.digest(), recovered.tree.digest(), "{name}");
            assert_eq!(self::sessions(&read), sessions, "{name}");
            compare(dump(&read.tree), before.clone(), name);
        }
        recovered.tree.collect(recovered.last_zxid, usize::MAX);
    }
}

#[test]
fn every_changed_byte_of_a_snapshot_is_noticed() {
    for (name, snapshot, step) in [
        ("java-3.9.5/standalone/basic", "snapshot.3b", 53),
        ("java-3.8.0/standalone/compressed-gz", "snapshot.95.gz", 13),
        ("java-3.8.0/standalone/compressed-snappy", "snapshot.95.snappy", 21),
    ] {
        let good = copy(name);
        let bytes = std::fs::read(good.path().join("version-2").join(snapshot)).unwrap();
        let alone = tempfile::tempdir().unwrap();
        std::fs::create_dir(alone.path().join("version-2")).unwrap();
        std::fs::write(alone.path().join("version-2").join(snapshot), &bytes).unwrap();
        let before = dump(&load(alone.path()).unwrap().tree);
        let (mut noticed, mut idle) = (0, 0);
        for at in (0..bytes.len()).step_by(step) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("version-2")).unwrap();
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            std::fs::write(dir.path().join("version-2").join(snapshot), &changed).unwrap();
            // Some bytes mean nothing (versions, gzip's time), and snappy can say one thing in
            // several ways: but what loads is what was written.
            match load(dir.path()) {
                Ok(recovered) if recovered.snapshot.is_some() => {
                    assert_eq!(dump(&recovered.tree), before, "{snapshot}: byte {at}");
                    idle += 1;
                }
                Ok(_) | Err(_) => noticed += 1,
            }
        }
        assert!(noticed > 10 * idle, "{snapshot}: {noticed} noticed, {idle} not");
    }
}

#[test]
fn an_empty_database_gets_the_snapshot_that_java_writes() {
    let dir = tempfile::tempdir().unwrap();
    let recovered = load(dir.path()).unwrap();
    assert!(recovered.initialized && recovered.snapshot.is_none());
    let ours = std::fs::read(dir.path().join("version-2/snapshot.0")).unwrap();
    let java = copy("java-3.8.0/standalone/basic");
    let java = std::fs::read(java.path().join("version-2/snapshot.0")).unwrap();
    assert_eq!(ours.len(), java.len());
    // Equal up to the order of siblings, which differs, and so the checksums do.
    let sorted = |bytes: &[u8]| {
        let mut body = bytes[..0x19b].to_vec();
        body.sort_unstable();
        body
    };
    assert_eq!(ours[..0x87], java[..0x87], "header, sessions, ACLs, the root");
    assert_eq!(sorted(&ours), sorted(&java));
    assert_eq!(ours[0x1a8..0x1bc], java[0x1a8..0x1bc], "the digest section");
    assert!(load(dir.path()).unwrap().snapshot.is_some());
}

#[test]
fn a_purged_directory_loads_to_the_same_tree() {
    let dir = copy("java-3.8.0/standalone/restarted");
    let before = load(dir.path()).unwrap();
    let gone = retention::purge(&mut disk(dir.path()), 1).unwrap();
    assert!(gone.contains(&FileName::new(Dir::Snap, "snapshot.0")), "{gone:?}");
    let after = load(dir.path()).unwrap();
    assert_eq!(after.tree.digest(), before.tree.digest());
    assert_eq!(after.last_zxid, before.last_zxid);
}

#[test]
fn files_in_the_wrong_directory_refuse_the_start() {
    let dir = copy("java-3.8.0/standalone/basic");
    let logs = copy("java-3.8.0/standalone/compressed-gz");
    let mut disk = RealDisk::new(Dirs::new(dir.path(), Some(logs.path())));
    let options = RecoveryOptions::default();
    let err = recover(&mut disk, &options, TreeOptions::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(err, RecoveryError::Misplaced(_)), "{err}");
}
