//! Logs of Java servers from their first txn on: our digest after each txn is theirs, and what a
//! client read from Java at the end is what we have.

use super::*;
use crate::types::Map;
use crate::wire::txn::TxnEntry;
use base64::Engine as _;
use serde_json::Value;

macro_rules! fixture {
    ($case:literal, $file:literal) => {
        &include_bytes!(concat!("../../../tests/fixtures/tree/", $case, "/", $file))[..]
    };
}

/// Payloads of a log without its zeros.
fn payloads(log: &[u8]) -> Vec<&[u8]> {
    let mut rest = &log[16..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let len = usize::try_from(u32::from_be_bytes(rest[8..12].try_into().unwrap())).unwrap();
        found.push(&rest[12..12 + len]);
        assert_eq!(rest[12 + len], b'B');
        rest = &rest[13 + len..];
    }
    found
}

fn replay(logs: &[&[u8]]) -> DataTree {
    let mut tree = DataTree::new(TreeOptions::default());
    let mut digests = 0;
    for payload in logs.iter().flat_map(|log| payloads(log)) {
        let entry = TxnEntry::decode(payload).unwrap();
        let before = tree.digest();
        // What is rolled back leaves no trace.
        let savepoint = tree.savepoint();
        let (mut changes, mut results) = (Vec::new(), SmallVec::new());
        tree.apply(&entry.header, &entry.txn, &mut changes, &mut results);
        tree.rollback(savepoint);
        assert_eq!(tree.digest(), before);
        check_sums(&tree);

        tree.apply(&entry.header, &entry.txn, &mut changes, &mut results);
        if let Some(digest) = entry.digest {
            assert_eq!(tree.digest(), digest, "after {:?}", entry);
            digests += 1;
        }
        assert_eq!(tree.last_zxid(), entry.header.zxid);
        tree.publish(entry.header.zxid);
        tree.collect(entry.header.zxid, 100);
        check_sums(&tree);
    }
    assert!(digests > 5, "the logs have digests");
    tree
}

fn acl_json(list: AclList<'_>) -> Value {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    list.iter()
        .map(|acl| {
            serde_json::json!({
                "perms": acl.perms, "scheme": text(acl.scheme), "id": text(acl.id),
            })
        })
        .collect()
}

fn expect(tree: &DataTree, expected: &[u8]) {
    let expected: Value = serde_json::from_slice(expected).unwrap();
    let mut theirs: Map<String, &Value> = Map::default();
    for node in expected["tree"].as_array().unwrap() {
        theirs.insert(node["path"].as_str().unwrap().to_owned(), node);
    }
    for node in tree.get(b"").unwrap().subtree() {
        let path = if node.path().is_empty() { &b"/"[..] } else { node.path() };
        let path = String::from_utf8(path.to_vec()).unwrap();
        let theirs = theirs.remove(&path).unwrap_or_else(|| panic!("{path} is not in Java's tree"));
        let stat = node.stat();
        let base64 = base64::engine::general_purpose::STANDARD;
        let ours = serde_json::json!({
            "path": path,
            "data": node.data().map(|data| base64.encode(data)),
            "stat": {
                "czxid": stat.czxid, "mzxid": stat.mzxid, "ctime": stat.ctime,
                "mtime": stat.mtime, "version": stat.version, "cversion": stat.cversion,
                "aversion": stat.aversion, "ephemeralOwner": stat.ephemeral_owner,
                "dataLength": stat.data_length, "numChildren": stat.num_children,
                "pzxid": stat.pzxid,
            },
            "acl": acl_json(tree.acls().get(node.acl())),
        });
        // The config node is written at each server's start, outside of the log.
        if path != "/zookeeper/config" {
            assert_eq!(&ours, theirs);
        }
    }
    assert!(theirs.is_empty(), "Java has more: {:?}", theirs.keys());
    let digest = &expected["tree_digest_after_replay"];
    assert_eq!(digest.as_u64(), Some(tree.digest()));
}

#[test]
fn a_standalone_3_8_0_log_gives_javas_digests_and_tree() {
    let tree = replay(&[
        fixture!("java-3.8.0-basic", "log.1"),
        fixture!("java-3.8.0-basic", "log.39"),
        fixture!("java-3.8.0-basic", "log.5d"),
        fixture!("java-3.8.0-basic", "log.90"),
    ]);
    expect(&tree, fixture!("java-3.8.0-basic", "expected.json"));
}

#[test]
fn a_standalone_3_9_5_log_gives_javas_digests_and_tree() {
    let tree = replay(&[
        fixture!("java-3.9.5-restarted", "log.1"),
        fixture!("java-3.9.5-restarted", "log.3d"),
        fixture!("java-3.9.5-restarted", "log.6e"),
        fixture!("java-3.9.5-restarted", "log.93"),
    ]);
    expect(&tree, fixture!("java-3.9.5-restarted", "expected.json"));
}

#[test]
fn an_ensembles_log_over_three_epochs_gives_javas_digests_and_tree() {
    let tree = replay(&[
        fixture!("java-3.8.0-ensemble", "log.100000001"),
        fixture!("java-3.8.0-ensemble", "log.200000001"),
        fixture!("java-3.8.0-ensemble", "log.300000001"),
    ]);
    expect(&tree, fixture!("java-3.8.0-ensemble", "expected.json"));
}

#[test]
fn a_log_with_reconfigs_gives_javas_digests_and_tree() {
    let tree = replay(&[fixture!("java-3.8.0-reconfig", "log.100000001")]);
    expect(&tree, fixture!("java-3.8.0-reconfig", "expected.json"));
}
