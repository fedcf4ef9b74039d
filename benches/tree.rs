//! The tree's promises, each with its number: see the claim beside each bench.
//!
//! Run: `cargo bench --bench tree`. Memory is printed first. Random keys come from a fixed seed.

use criterion::{BatchSize, Criterion, Throughput};
use ringkeeper::tree::{Applied, Change, DataTree, TreeOptions};
use ringkeeper::types::{SessionId, Zxid};
use ringkeeper::wire::client::AclList;
use ringkeeper::wire::txn::{CreateTxn, SetDataTxn, Txn, TxnHeader};
use smallvec::SmallVec;
use std::hint::black_box;
use std::time::Duration;

const NODES: u64 = 1_000_000;
const DATA: &[u8] = &[b'x'; 100];
/// Nodes below one parent, so that parents have the usual size.
const FAMILY: u64 = 1000;

/// A tree and what a pipeline keeps around it.
struct Writer {
    tree: DataTree,
    zxid: u64,
    changes: Vec<Change>,
    results: SmallVec<[Applied; 1]>,
}

impl Writer {
    fn new() -> Self {
        let tree = DataTree::new(TreeOptions::default());
        Self { tree, zxid: 0, changes: Vec::new(), results: SmallVec::new() }
    }

    /// Applies, publishes and frees, a turn of 16 writes at a time.
    fn apply(&mut self, txn: &Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(1),
            cxid: 1,
            zxid: Zxid(self.zxid),
            time_ms: 1_700_000_000_000,
        };
        self.changes.clear();
        self.results.clear();
        self.tree.apply(&header, txn, &mut self.changes, &mut self.results);
        if self.zxid.is_multiple_of(16) {
            self.tree.publish(Zxid(self.zxid));
            self.tree.collect(self.tree.min_visible(), 64);
        }
    }

    fn create(&mut self, path: &[u8], data: &[u8]) {
        let acl = AclList::OPEN;
        self.apply(&Txn::Create(CreateTxn {
            path,
            data: Some(data),
            acl,
            ephemeral: false,
            parent_cversion: -1,
        }));
    }

    fn set(&mut self, path: &[u8], data: &[u8]) {
        self.apply(&Txn::SetData(SetDataTxn { path, data: Some(data), version: 1 }));
    }
}

/// 21 bytes.
fn path(n: u64) -> String {
    format!("/{:04}/node-{n:010}", n / FAMILY)
}

/// The same without an allocation or a cache miss of the bench's own.
fn path_bytes(n: u64) -> [u8; 21] {
    let mut path = *b"/0000/node-0000000000";
    let mut put = |end: usize, mut digits: u64| {
        let mut at = end;
        while digits > 0 {
            at -= 1;
            path[at] = b'0' + u8::try_from(digits % 10).expect("a digit");
            digits /= 10;
        }
    };
    put(5, n / FAMILY);
    put(21, n);
    path
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();

    let before = anonymous_kib();
    let mut writer = Writer::new();
    for parent in 0..NODES / FAMILY {
        writer.create(format!("/{parent:04}").as_bytes(), b"");
    }
    for n in 0..NODES {
        writer.create(path(n).as_bytes(), DATA);
    }
    let kib = anonymous_kib() - before;
    // Claim: at most 250 bytes a znode with a path of 21 and data of 100, all in.
    println!("{NODES} znodes: {kib} KiB anonymous, {} bytes each", kib * 1024 / NODES);

    gets(&mut criterion, &mut writer);
    writes(&mut criterion, &mut writer);
    lists(&mut criterion, &mut writer);
    criterion.final_summary();
}

fn gets(criterion: &mut Criterion, writer: &mut Writer) {
    writer.tree.publish(Zxid(writer.zxid));
    let reader = writer.tree.reader();
    let visible = reader.published();
    let mut random = Random(88172645463325252);

    // Claim: at most 300 ns where a cache miss costs below 100 ns: there are four in a row
    // (directory, segment, znode, version), and the making of the path is counted too.
    criterion.bench_function("get, random of 1 000 000", |b| {
        let pin = reader.pin();
        b.iter(|| {
            let path = path_bytes(random.below(NODES));
            let node = pin.get(&path, visible).expect("there");
            black_box(node.data().map(<[u8]>::first))
        });
    });

    // Claim: at most 120 ns each.
    let mut group = criterion.benchmark_group("get, batches of 16");
    group.throughput(Throughput::Elements(16));
    group.bench_function("random of 1 000 000", |b| {
        let pin = reader.pin();
        b.iter(|| {
            let batch: [[u8; 21]; 16] = std::array::from_fn(|_| path_bytes(random.below(NODES)));
            let keys: [&[u8]; 16] = std::array::from_fn(|n| &batch[n][..]);
            pin.get_batch(&keys, visible, |_, node| {
                black_box(node.expect("there").data().map(<[u8]>::first));
            });
        });
    });
    group.finish();
}

fn writes(criterion: &mut Criterion, writer: &mut Writer) {
    let mut random = Random(88172645463325252);
    let hot: Vec<String> = (0..1000).map(path).collect();

    // Claim: at most 500 ns with digest, change, publish and the freeing of the version before.
    criterion.bench_function("setData of 100 bytes, 1000 nodes", |b| {
        b.iter(|| {
            let path = &hot[usize::try_from(random.below(1000)).expect("small")];
            writer.set(path.as_bytes(), DATA);
        });
    });

    criterion.bench_function("setData of 100 bytes, random of 1 000 000", |b| {
        b.iter_batched(
            || path(random.below(NODES)),
            |path| writer.set(path.as_bytes(), DATA),
            BatchSize::SmallInput,
        );
    });

    // Claim: at most 1 us, the parent's new version included, however many children it has.
    writer.create(b"/created", b"");
    let mut next = 0_u64;
    criterion.bench_function("create of 100 bytes below one parent", |b| {
        b.iter_batched(
            || {
                next += 1;
                format!("/created/node-{next:010}")
            },
            |path| writer.create(path.as_bytes(), DATA),
            BatchSize::SmallInput,
        );
    });
}

fn lists(criterion: &mut Criterion, writer: &mut Writer) {
    const CHILDREN: u64 = 100_000;
    writer.create(b"/listed", b"");
    for n in 0..CHILDREN {
        writer.create(format!("/listed/node-{n:010}").as_bytes(), b"");
    }
    writer.tree.publish(Zxid(writer.zxid));
    let reader = writer.tree.reader();
    let visible = reader.published();

    // Claim: at most 50 ns a name.
    let mut group = criterion.benchmark_group("list");
    group.throughput(Throughput::Elements(CHILDREN));
    group.bench_function("100 000 children", |b| {
        let pin = reader.pin();
        b.iter(|| {
            let node = pin.get(b"/listed", visible).expect("there");
            node.children().map(<[u8]>::len).sum::<usize>()
        });
    });
    group.bench_function("100 000 children in slices of 1000, from a view", |b| {
        b.iter(|| {
            let mut listing = reader.view().listing(b"/listed").expect("there");
            let mut bytes = 0;
            while listing.step(1000, |name| {
                bytes += name.len();
                true
            }) {}
            bytes
        });
    });
    group.finish();
}
