//! Scenarios of the whole tree; `vectors` replays logs of Java servers, `twin` compares random
//! streams with an obvious model, `threads` reads while a writer writes.

mod scenarios;
mod threads;
mod twin;
mod vectors;

use super::*;
use crate::wire::txn::{Txn, TxnHeader};

/// The header of a txn whose time is its zxid.
pub(super) fn header(session: i64, zxid: u64) -> TxnHeader {
    TxnHeader {
        session: SessionId(session),
        cxid: 0,
        zxid: Zxid(zxid),
        time_ms: 1000 + zxid.cast_signed(),
    }
}

/// Applies and returns what came of it.
pub(super) fn apply(
    tree: &mut DataTree,
    session: i64,
    zxid: u64,
    txn: &Txn<'_>,
) -> (Vec<Change>, Vec<Applied>) {
    let (mut changes, mut results) = (Vec::new(), SmallVec::new());
    tree.apply(&header(session, zxid), txn, &mut changes, &mut results);
    (changes, results.into_vec())
}

/// Digest and counters from scratch, to hold against the running ones.
pub(super) fn check_sums(tree: &DataTree) {
    let root = tree.get(b"").expect("the root is always there");
    let (mut sum, mut nodes, mut bytes) = (0_u64, 0, 0_u64);
    for node in root.subtree() {
        let mut fields = node.0.fields();
        fields.digest = 0;
        let digest = digest::of_node(node.path(), node.data(), &fields);
        assert_eq!(digest, node.0.digest(), "{:?}", node.path().escape_ascii().to_string());
        sum = sum.wrapping_add(u64::from(digest));
        nodes += 1;
        bytes += (node.path().len() + node.data().unwrap_or_default().len()) as u64;
        assert_eq!(node.child_nodes().count(), node.num_children() as usize);
    }
    assert_eq!((sum, nodes, bytes), (tree.digest, tree.nodes, tree.bytes));
}
