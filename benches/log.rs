//! The log's two figures, which pull against each other (ARCHITECTURE.md, the log): a lone 256-byte
//! record brings at most 4.5 KB to the disk, and a stream of batches runs at 300 MB/s or more, on
//! one and the same prepared segment. Plus the latency of a lone append.
//!
//! `LOG_BENCH_DIR` chooses the disk; the system's temporary directory may be memory.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::storage::disk::{Dir, Dirs, Disk, FileName, Job, RealDisk};
use ringkeeper::storage::log::{LOG_HEADER, LogOptions, LogWriter, begin_record, end_record, trim};
use ringkeeper::types::Zxid;

const SEGMENT_BYTES: usize = 64 << 20;

struct Bench {
    _dir: tempfile::TempDir,
    disk: RealDisk,
    log: LogWriter,
    zxid: u64,
}

impl Bench {
    fn new() -> Self {
        let root = std::env::var_os("LOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(root).expect("a directory to write in");
        let dirs = Dirs::new(dir.path(), None);
        std::fs::create_dir_all(dirs.path(Dir::Log)).expect("a directory to write in");
        let options = LogOptions { segment_bytes: SEGMENT_BYTES as u64, ..LogOptions::default() };
        let mut bench = Self {
            _dir: dir,
            disk: RealDisk::new(dirs),
            log: LogWriter::new(options, Zxid(0)),
            zxid: 0,
        };
        bench.prepare();
        bench
    }

    /// What the disk thread does in the background.
    fn prepare(&mut self) {
        if let Some(mut preparation) = self.log.wants_segment() {
            while preparation.step(&mut self.disk).expect("space").is_some() {}
            self.log.prepared(Some(preparation.len_bytes()));
        }
    }

    fn append(&mut self, batch: &[u8]) {
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        self.log.append(&mut self.disk, black_box(batch), zxid, zxid).expect("space");
    }
}

fn records(count: usize, payload_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        let mark = begin_record(&mut out);
        out.resize(out.len() + payload_bytes, 0x5a);
        end_record(&mut out, mark);
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes this process caused to be written to disks.
fn disk_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find(|line| line.starts_with("write_bytes:")).expect("in every kernel");
    line["write_bytes:".len()..].trim().parse().expect("a number")
}

fn mb_per_s(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

fn figures(_: &mut Criterion) {
    const LONE: usize = 2000;
    let mut bench = Bench::new();
    let record = records(1, 256 - 13);
    bench.append(&record); // Takes the prepared segment.
    let before = disk_bytes();
    let mut took = Vec::new();
    for _ in 0..LONE {
        let start = now();
        bench.append(&record);
        took.push(start.elapsed());
    }
    let lone_bytes = (disk_bytes() - before) / LONE as u64;
    took.sort();

    // The disk is shared with whatever else runs: the best of a few segments is the log's figure,
    // and plain writes of the same bytes, segment about, say what the disk gave meanwhile.
    let batch = records(64, 4096 - 13);
    let (mut best, mut best_plain) = (0.0_f64, 0.0_f64);
    for _ in 0..5 {
        bench.prepare();
        let batches = (SEGMENT_BYTES - LOG_HEADER.len()) / batch.len();
        let rest = bench.log.roll(&mut bench.disk).expect("space");
        trim(&mut bench.disk, &rest.expect("a segment was open")).expect("space");
        let start = now();
        for _ in 0..batches {
            bench.append(&batch);
        }
        best = best.max(mb_per_s(batches * batch.len(), start.elapsed()));

        bench.prepare();
        let file = FileName::new(Dir::Log, "next.tmp");
        let start = now();
        for i in 0..batches {
            let offset_bytes = (i * batch.len()) as u64;
            let disk = &mut bench.disk;
            disk.run(Job::Write { file: &file, offset_bytes, bytes: &batch }).expect("space");
            disk.run(Job::Sync(&file)).expect("space");
        }
        best_plain = best_plain.max(mb_per_s(batches * batch.len(), start.elapsed()));
        bench.disk.run(Job::Remove(&file)).expect("it is there");
        bench.log.prepared(None);
    }

    // The first write after a start waits for its own small segment.
    let mut cold = Bench::new();
    cold.log.prepared(None);
    let start = now();
    cold.append(&record);
    let first: Duration = start.elapsed();

    println!(
        "lone 256-byte record: {lone_bytes} disk bytes (claim: at most 4500), p50 {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    println!(
        "stream of 256 KiB batches: {best:.0} MB/s (claim: at least 300); plain writes of the same: \
         {best_plain:.0} MB/s"
    );
    println!("first write after a start, nothing prepared: {first:?}");
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.sample_size(20);
    for (name, count, payload) in [("256 B", 1, 243), ("64 x 256 B", 64, 243)] {
        let batch = records(count, payload);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        let mut bench = Bench::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = now();
                    bench.append(&batch);
                    total += start.elapsed();
                    bench.prepare();
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, figures, append);
criterion_main!(benches);
