//! The tree against a slow, obvious twin: a map from path to node for the writer, and a copy of it
//! for each published zxid.

use super::*;
use crate::wire::jute::Write;
use crate::wire::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};

/// All paths that occur; some parents are missing now and then.
const PATHS: [&str; 15] = [
    "/a",
    "/b",
    "/a/a",
    "/a/b",
    "/b/a",
    "/a/a/a",
    "/a/a/b",
    "/a/b/a",
    "/zookeeper/a",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper",
    "/nope/a",
    "/",
];

#[derive(Clone, Debug)]
enum Op {
    Create { path: usize, len: Option<usize>, owner: u8, acl: i32, pcv: bool },
    Delete(usize),
    SetData { path: usize, len: Option<usize> },
    SetAcl { path: usize, acl: i32 },
    Close(u8),
    Multi(Vec<Op>),
    FailedMulti(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Op),
    Rollback(usize),
    Publish(usize),
    Collect { budget: usize },
    Advance { reader: usize, how_far: usize },
    View { of_reader: Option<usize> },
    Walk { view: usize, nodes: usize },
    DropView(usize),
}

fn lens() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(7)), Just(Some(100)), Just(Some(600))]
}

fn ops() -> impl Strategy<Value = Op> {
    let path = 0..PATHS.len();
    let leaf = prop_oneof![
        6 => (path.clone(), lens(), 0..5_u8, 0..3, prop::bool::weighted(0.9)).prop_map(
            |(path, len, owner, acl, pcv)| Op::Create { path, len, owner, acl, pcv }
        ),
        3 => path.clone().prop_map(Op::Delete),
        4 => (path.clone(), lens()).prop_map(|(path, len)| Op::SetData { path, len }),
        1 => (path.clone(), 0..3).prop_map(|(path, acl)| Op::SetAcl { path, acl }),
        1 => (1..3_u8).prop_map(Op::Close),
    ];
    prop_oneof![
        6 => leaf.clone(),
        2 => prop::collection::vec(leaf, 1..5).prop_map(Op::Multi),
        1 => path.prop_map(Op::FailedMulti),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => ops().prop_map(Step::Apply),
        1 => (1..4_usize).prop_map(Step::Rollback),
        4 => (1..5_usize).prop_map(Step::Publish),
        4 => prop_oneof![Just(1_usize), Just(3), Just(100)]
            .prop_map(|budget| Step::Collect { budget }),
        3 => (0..3_usize, 1..6_usize)
            .prop_map(|(reader, how_far)| Step::Advance { reader, how_far }),
        1 => prop::option::of(0..3_usize).prop_map(|of_reader| Step::View { of_reader }),
        2 => (0..3_usize, 1..4_usize).prop_map(|(view, nodes)| Step::Walk { view, nodes }),
        1 => (0..3_usize).prop_map(Step::DropView),
    ]
}

fn acl_bytes(n: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_int(1);
    out.put_int(31 - n);
    out.put_some(b"world");
    out.put_some(b"anyone");
    out
}

/// A node of the twin.
#[derive(Clone, Debug, PartialEq)]
struct Twin {
    stat: DiskStat,
    data: Option<Vec<u8>>,
    acl: Vec<u8>,
}

type Model = BTreeMap<String, Twin>;

fn children<'m>(model: &'m Model, path: &str) -> Vec<&'m String> {
    let prefix = format!("{path}/");
    model
        .keys()
        .filter(|p| p.rsplit_once('/').map(|(q, _)| format!("{q}/")) == Some(prefix.clone()))
        .collect()
}

fn root_or(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn account(model: &mut Model, path: &str, count: i64, bytes: i64) {
    let mut root = path;
    while !model.contains_key(&format!("/zookeeper/quota{root}/zookeeper_limits")) {
        root = parent_of(root);
        if root.is_empty() {
            return;
        }
    }
    if let Some(stats) = model.get_mut(&format!("/zookeeper/quota{root}/zookeeper_stats"))
        && (count, bytes) != (0, 0)
    {
        let text = Track::parse(stats.data.as_deref()).moved(count, bytes).format();
        stats.data = Some(text.into_bytes());
    }
}

fn twin_delete(model: &mut Model, zxid: i64, path: &str) {
    if ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(&path) {
        return;
    }
    let below: Vec<String> = children(model, path).into_iter().cloned().collect();
    for child in below {
        if model.contains_key(path) {
            twin_delete(model, zxid, &child);
        }
    }
    let Some(parent) = model.get_mut(parent_of(path)) else { return };
    parent.stat.pzxid = parent.stat.pzxid.max(zxid);
    if let Some(gone) = model.remove(path) {
        account(model, path, -1, -len_of(gone.data.as_deref()));
    }
}

/// What `op` does to the twin.
fn twin_apply(model: &mut Model, zxid: i64, time: i64, txn: &Txn<'_>, session: i64) {
    let text = |bytes: &[u8]| root_or(std::str::from_utf8(bytes).unwrap()).to_owned();
    let (path, data, acl, owner, pcv, raises) = match txn {
        Txn::Create(t) => {
            let owner = if t.ephemeral { session } else { 0 };
            (text(t.path), t.data, t.acl, owner, t.parent_cversion, true)
        }
        Txn::CreateContainer(t) => {
            (text(t.path), t.data, t.acl, i64::MIN, t.parent_cversion, false)
        }
        Txn::CreateTtl(t) => {
            let owner = (0xff00_u64 << 48).cast_signed() | t.ttl_ms;
            (text(t.path), t.data, t.acl, owner, t.parent_cversion, false)
        }
        Txn::Delete(path) => return twin_delete(model, zxid, &text(path)),
        Txn::SetData(t) => {
            let Some(node) = model.get_mut(&text(t.path)) else { return };
            let bytes = len_of(t.data) - len_of(node.data.as_deref());
            node.data = t.data.map(<[u8]>::to_vec);
            node.stat.version = t.version;
            node.stat.mzxid = zxid;
            node.stat.mtime = time;
            return account(model, &text(t.path), 0, bytes);
        }
        Txn::SetAcl(t) => {
            if let Some(node) = model.get_mut(&text(t.path)) {
                node.acl = t.acl.bytes.to_vec();
                node.stat.aversion = t.version;
            }
            return;
        }
        Txn::CloseSession(_) => {
            let owned: Vec<String> = model
                .iter()
                .filter(|(_, node)| node.stat.owner == session)
                .map(|(path, _)| path.clone())
                .collect();
            for path in owned {
                twin_delete(model, zxid, &path);
            }
            return;
        }
        Txn::Multi(txns) => {
            if !txns.iter().any(|txn| matches!(txn, Txn::Error(_))) {
                for txn in txns {
                    twin_apply(model, zxid, time, txn, session);
                }
            }
            return;
        }
        Txn::Create2(_)
        | Txn::DeleteContainer(_)
        | Txn::Reconfig(_)
        | Txn::Check(_)
        | Txn::CreateSession(_)
        | Txn::Error(_) => return,
    };
    if path.is_empty() {
        return;
    }
    let exists = model.contains_key(&path);
    let Some(parent) = model.get_mut(parent_of(&path)) else { return };
    let pcv = if pcv == -1 { parent.stat.cversion + 1 } else { pcv };
    if pcv > parent.stat.cversion && (raises || !exists) {
        parent.stat.cversion = pcv;
        parent.stat.pzxid = zxid;
    }
    if exists {
        model.get_mut(&path).unwrap().acl = acl.bytes.to_vec();
        return;
    }
    let stat = DiskStat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: time,
        mtime: time,
        owner,
        ..DiskStat::default()
    };
    let node = Twin { stat, data: data.map(<[u8]>::to_vec), acl: acl.bytes.to_vec() };
    model.insert(path.clone(), node);
    if path == "/zookeeper/quota/a/zookeeper_stats" {
        let counted = model.iter().filter(|(p, _)| *p == "/a" || p.starts_with("/a/"));
        let (count, bytes) = counted.fold((0, 0), |(count, bytes), (_, node)| {
            (count + 1, bytes + len_of(node.data.as_deref()))
        });
        let text = format!("count={count},bytes={bytes}");
        model.get_mut(&path).unwrap().data = Some(text.into_bytes());
    }
    account(model, &path, 1, len_of(data));
}

struct World {
    tree: DataTree,
    model: Model,
    /// By zxid, published ones.
    history: BTreeMap<u64, Model>,
    /// Not published: zxid, where the tree and the twin were before.
    pending: Vec<(u64, Savepoint, Model, Model)>,
    readers: Vec<TreeReader>,
    views: Vec<(Walk, BTreeMap<String, Twin>, bool)>,
    zxid: u64,
}

fn twin_of(tree_acls: impl Fn(AclId) -> Vec<u8>, node: NodeRef<'_>) -> Twin {
    Twin {
        stat: node.disk_stat(),
        data: node.data().map(<[u8]>::to_vec),
        acl: tree_acls(node.acl()),
    }
}

fn key(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).unwrap()
}

impl World {
    fn new() -> Self {
        let tree = DataTree::new(TreeOptions::default());
        let acl = |id| tree.acls().get(id).bytes.to_vec();
        let model: Model = tree
            .get(b"")
            .unwrap()
            .subtree()
            .map(|node| (key(node.path()), twin_of(acl, node)))
            .collect();
        let readers = (0..3).map(|_| tree.reader()).collect();
        let history = BTreeMap::from([(0, model.clone())]);
        Self { tree, model, history, pending: Vec::new(), readers, views: Vec::new(), zxid: 0 }
    }

    fn apply(&mut self, op: &Op) {
        self.zxid += 1;
        let (savepoint, before) = (self.tree.savepoint(), self.model.clone());
        let datas: Vec<u8> = (0..600).map(|n| (n % 251) as u8).collect();
        let acls: Vec<Vec<u8>> = (0..3).map(acl_bytes).collect();
        let mut session = 1;
        let flat = |op: &Op, session: &mut i64| -> Txn<'_> {
            let data = |len: Option<usize>| len.map(|len| &datas[..len]);
            match op {
                Op::Create { path, len, owner, acl, pcv } => {
                    let path = PATHS[*path].as_bytes();
                    let acl = AclList { bytes: &acls[usize::try_from(*acl).unwrap()] };
                    let parent = path::parent(path::canonical(path)).unwrap_or(b"");
                    let creates = self.tree.get(parent).map_or(0, |node| node.creates());
                    let parent_cversion = if *pcv { creates + 1 } else { creates - 1 };
                    let data = data(*len);
                    match owner {
                        0..=2 => {
                            *session = if *owner == 2 { 2 } else { 1 };
                            let ephemeral = *owner > 0;
                            Txn::Create(CreateTxn { path, data, acl, ephemeral, parent_cversion })
                        }
                        3 => Txn::CreateContainer(CreateContainerTxn {
                            path,
                            data,
                            acl,
                            parent_cversion,
                        }),
                        _ => Txn::CreateTtl(CreateTtlTxn {
                            path,
                            data,
                            acl,
                            parent_cversion,
                            ttl_ms: 5,
                        }),
                    }
                }
                Op::Delete(path) => Txn::Delete(PATHS[*path].as_bytes()),
                Op::SetData { path, len } => Txn::SetData(SetDataTxn {
                    path: PATHS[*path].as_bytes(),
                    data: data(*len),
                    version: 3,
                }),
                Op::SetAcl { path, acl } => Txn::SetAcl(SetAclTxn {
                    path: PATHS[*path].as_bytes(),
                    acl: AclList { bytes: &acls[usize::try_from(*acl).unwrap()] },
                    version: 2,
                }),
                Op::Close(of) => {
                    *session = i64::from(*of);
                    Txn::CloseSession(None)
                }
                Op::Multi(_) | Op::FailedMulti(_) => Txn::Error(-1),
            }
        };
        let txn = match op {
            Op::Multi(ops) => {
                // One session a txn, as in life; a close does not occur in a multi.
                let ops = ops.iter().filter(|op| !matches!(op, Op::Close(_)));
                Txn::Multi(ops.map(|op| flat(op, &mut 1)).collect())
            }
            Op::FailedMulti(path) => {
                let path = PATHS[*path].as_bytes();
                let check = Txn::Check(CheckTxn { path, version: 1 });
                Txn::Multi(vec![Txn::Delete(path), Txn::Error(-103), check])
            }
            Op::Create { .. }
            | Op::Delete(_)
            | Op::SetData { .. }
            | Op::SetAcl { .. }
            | Op::Close(_) => flat(op, &mut session),
        };
        let time = header(1, self.zxid).time_ms;
        twin_apply(&mut self.model, self.zxid.cast_signed(), time, &txn, session);
        let digest = self.tree.digest();
        let (changes, _) = apply(&mut self.tree, session, self.zxid, &txn);
        if matches!(op, Op::FailedMulti(_)) {
            assert_eq!((self.tree.digest(), changes), (digest, Vec::new()));
        }
        self.pending.push((self.zxid, savepoint, before, self.model.clone()));
    }

    fn publish_through(&mut self, zxid: u64) {
        self.tree.publish(Zxid(zxid));
        while self.pending.first().is_some_and(|first| first.0 <= zxid) {
            let (zxid, _, _, after) = self.pending.remove(0);
            self.history.insert(zxid, after);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply(op) => self.apply(op),
            Step::Rollback(count) => {
                let at = self.pending.len().saturating_sub(*count);
                if let Some((_, savepoint, before, _)) = self.pending.get(at).cloned() {
                    self.pending.truncate(at);
                    self.tree.rollback(savepoint);
                    self.model = before;
                }
            }
            Step::Publish(count) => {
                if let Some(last) = self.pending.iter().take(*count).next_back() {
                    self.publish_through(last.0);
                }
            }
            Step::Collect { budget } => {
                let min_visible = self.tree.min_visible();
                self.tree.collect(min_visible, *budget);
            }
            Step::Advance { reader, how_far } => {
                let reader = &self.readers[*reader];
                let next = self.history.range(reader.visible().0 + 1..).take(*how_far);
                if let Some((zxid, _)) = next.last() {
                    reader.set_visible(Zxid(*zxid));
                }
            }
            Step::View { of_reader } => {
                if self.views.len() < 3 {
                    let view = match of_reader {
                        Some(reader) => self.readers[*reader].view(),
                        None => self.tree.view(),
                    };
                    self.views.push((view.walk(), BTreeMap::new(), true));
                }
            }
            Step::Walk { view, nodes } => {
                if let Some((walk, seen, more)) = self.views.get_mut(*view) {
                    *more = walk_some(walk, seen, *nodes);
                }
            }
            Step::DropView(view) => {
                if *view < self.views.len() {
                    self.finish_view(*view);
                }
            }
        }
    }

    fn finish_view(&mut self, view: usize) {
        let (mut walk, mut seen, mut more) = self.views.remove(view);
        while more {
            more = walk_some(&mut walk, &mut seen, 5);
        }
        assert_eq!(&seen, &self.history[&walk.zxid().0], "view at {}", walk.zxid());
    }

    fn check(&self) {
        check_sums(&self.tree);
        let acl = |id| self.tree.acls().get(id).bytes.to_vec();
        let ours: Model = self
            .tree
            .get(b"")
            .unwrap()
            .subtree()
            .map(|node| (key(node.path()), twin_of(acl, node)))
            .collect();
        assert_eq!(ours, self.model);
        for session in 1..3 {
            let ours: Vec<_> = self.tree.ephemerals(SessionId(session)).map(key).collect();
            let theirs: Vec<_> = self
                .model
                .iter()
                .filter(|(_, node)| node.stat.owner == session)
                .map(|(path, _)| path.clone())
                .collect();
            assert_eq!(ours, theirs);
        }
        let expired: BTreeSet<_> = self.tree.expired_containers(i64::MAX, 1).map(key).collect();
        let due = |path: &str, node: &Twin| {
            let owner = Owner::from_raw(node.stat.owner);
            matches!(owner, Owner::Container | Owner::Ttl(_))
                && children(&self.model, path).is_empty()
        };
        let theirs = self.model.iter().filter(|(path, node)| due(path, node));
        assert_eq!(expired, theirs.map(|(path, _)| path.clone()).collect());
        for reader in &self.readers {
            let at = reader.visible();
            let model = &self.history[&at.0];
            let pin = reader.pin();
            let paths: Vec<&[u8]> = PATHS.iter().map(|path| path.as_bytes()).collect();
            let mut batch = vec![None; paths.len()];
            pin.get_batch(&paths, at, |n, node| batch[n] = node.map(|node| node.stat()));
            for (path, batched) in PATHS.iter().zip(batch) {
                let node = pin.get(path.as_bytes(), at);
                assert_eq!(node.map(|node| node.stat()), batched);
                let path = root_or(path);
                let ours = node.map(|node| twin_of(|id| pin.acl(id).bytes.to_vec(), node));
                assert_eq!(ours.as_ref(), model.get(path), "{path} at {at}");
                let Some(node) = node else { continue };
                let mut names: Vec<_> =
                    node.children().map(|name| format!("{path}/{}", key(name))).collect();
                names.sort();
                let theirs: Vec<_> = children(model, path).into_iter().cloned().collect();
                assert_eq!(names, theirs, "children of {path} at {at}");
                let count = usize::try_from(node.num_children()).unwrap();
                assert_eq!(count, names.len());
            }
            let all = pin.all_children_number(b"/", at).unwrap();
            assert_eq!(usize::try_from(all).unwrap(), model.len() - 1);
        }
    }
}

fn walk_some(walk: &mut Walk, seen: &mut BTreeMap<String, Twin>, nodes: usize) -> bool {
    let acls = walk.acls().clone();
    walk.step(nodes, |node| {
        if !node.path().is_empty() {
            assert!(seen.contains_key(parent_of(&key(node.path()))), "parents come first");
        }
        let twin = twin_of(|id| acls.get(id).bytes.to_vec(), node);
        assert!(seen.insert(key(node.path()), twin).is_none(), "each node once");
        true
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tree_agrees_with_its_twin(steps in prop::collection::vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        // In the end nothing is left over but the tree itself.
        while !world.views.is_empty() {
            world.finish_view(0);
        }
        let last = world.zxid;
        world.publish_through(last);
        for reader in &world.readers {
            reader.set_visible(world.tree.published());
        }
        for _ in 0..300 {
            world.tree.collect(world.tree.published(), 10);
        }
        prop_assert_eq!(world.tree.backlog(), (0, 0));
        prop_assert_eq!(world.tree.store.linked(), world.tree.nodes);
        world.history.insert(world.tree.published().0, world.model.clone());
        world.check();
    }
}
