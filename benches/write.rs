//! A set of 100 bytes from request to visible, without network and disk: checked by prep, made a
//! version with its digest, encoded into the log's batch, published, and what it replaced freed.
//!
//! Claim: at most 0.7 µs together, over 1000 nodes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringkeeper::auth::Schemes;
use ringkeeper::prep::{Options, Output, Prep, Request};
use ringkeeper::storage::log::{begin_record, end_record};
use ringkeeper::tree::{Change, DataTree, TreeOptions};
use ringkeeper::types::{SessionId, Zxid};
use ringkeeper::wire::client::{AclList, CreateRequest, Field, SetDataRequest};
use ringkeeper::wire::codes::OpCode;

const NODES: usize = 1000;
const DATA: &[u8] = &[b'x'; 100];
/// Writes between two syncs.
const BATCH: u64 = 64;

struct Writer {
    tree: DataTree,
    prep: Prep,
    log: Vec<u8>,
    reply: Vec<u8>,
    changes: Vec<Change>,
    writes: u64,
}

impl Writer {
    fn new() -> Self {
        let options = Options {
            extended_types: false,
            enforce_quota: false,
            skip_acl: false,
            reconfig_enabled: false,
            digest_enabled: true,
            schemes: Schemes::default(),
        };
        Self {
            tree: DataTree::new(TreeOptions::default()),
            prep: Prep::new(options),
            log: Vec::new(),
            reply: Vec::new(),
            changes: Vec::new(),
            writes: 0,
        }
    }

    fn write(&mut self, kind: OpCode, body: &[u8]) -> Zxid {
        self.reply.clear();
        let record = begin_record(&mut self.log);
        let request =
            Request { session: SessionId(1), cxid: 1, kind, body, ids: &[], closing: false };
        let mut output =
            Output { log: &mut self.log, reply: &mut self.reply, changes: &mut self.changes };
        let prepared = self.prep.request(&mut self.tree, &request, 1_700_000_000_000, &mut output);
        assert_eq!(prepared.error, None, "every request here is a good one");
        end_record(&mut self.log, record);
        self.writes += 1;
        if self.writes.is_multiple_of(BATCH) {
            self.tree.publish(prepared.zxid);
            self.tree.collect(self.tree.min_visible(), 8192);
            black_box(&self.log);
            self.log.clear();
            self.changes.clear();
        }
        prepared.zxid
    }
}

fn encoded<'a>(record: &impl Field<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

fn set(criterion: &mut Criterion) {
    let mut writer = Writer::new();
    let paths: Vec<String> = (0..NODES).map(|n| format!("/node-{n:010}")).collect();
    for path in &paths {
        let path = Some(path.as_bytes());
        let create = CreateRequest { path, data: Some(DATA), acl: AclList::OPEN, flags: 0 };
        writer.write(OpCode::Create, &encoded(&create));
    }
    let requests: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| {
            let path = Some(path.as_bytes());
            encoded(&SetDataRequest { path, data: Some(DATA), version: -1 })
        })
        .collect();
    let mut next = 0;
    criterion.bench_function("set of 100 bytes: prep, digest, log bytes, publish", |bencher| {
        bencher.iter(|| {
            next = (next + 7) % NODES;
            writer.write(OpCode::SetData, &requests[next])
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = set
}
criterion_main!(benches);
