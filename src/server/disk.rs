//! The disk thread: what is large and may take its time. Snapshots, the next log segment, purge.
//!
//! Its work comes in steps at a bounded rate, so that the log's syncs on the same disk stay quick;
//! the next segment goes before a snapshot that is being written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::clock::Clock;
use super::flusher::{FlushJob, Results, fatal};
use super::thread::stage;
use crate::config::Config;
use crate::parts::pipeline::{Done, SnapshotJob};
use crate::storage::disk::{Dirs, Pace, RealDisk};
use crate::storage::log::{Finished, Preparation, trim};
use crate::storage::retention;
use crate::storage::snapshot::SnapshotWriter;
use crate::types::Millis;

/// Bound on writing the next segment's zeros, bytes a second: several times what the log of a busy
/// server grows by, and little enough not to crowd out its syncs.
const PREPARE_BYTES_PER_S: u64 = 64 << 20;

/// How long a full disk is left alone before the next try.
const FULL_RETRY_MS: Millis = 5_000;

/// How often a thread that waits for that looks whether the server ends.
const STOP_LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum DiskJob {
    Snapshot(Box<SnapshotJob>),
    Prepare(Preparation),
    Trim(Finished),
    /// The server ends: what is not done is done at the next start, or not needed then.
    Stop,
}

#[derive(Debug)]
pub(super) struct DiskThread {
    pub(super) dirs: Dirs,
    pub(super) jobs: Receiver<DiskJob>,
    pub(super) flush_jobs: Sender<FlushJob>,
    pub(super) results: Results,
    pub(super) clock: Clock,
    pub(super) config: Arc<Config>,
    pub(super) snapshot_bytes_per_s: u64,
    pub(super) stage: Arc<AtomicU8>,
}

/// A snapshot under way.
struct Taking {
    writer: SnapshotWriter,
    pace: Pace,
    began_ms: Millis,
}

impl DiskThread {
    /// Until it is told to stop.
    pub(super) fn run(self) {
        lower_priority();
        let mut disk = RealDisk::new(self.dirs.clone());
        let mut waiting: VecDeque<Box<SnapshotJob>> = VecDeque::new();
        let mut taking: Option<Taking> = None;
        let mut next_purge_ms = self.purge_interval_ms().map(|_| 0);
        loop {
            if taking.is_none()
                && let Some(job) = waiting.pop_front()
            {
                taking = Some(self.begin(*job));
            }
            // While a snapshot is being written, only look; else wait for work or the next purge.
            let job = if taking.is_some() {
                self.jobs.try_recv().map_err(|error| error == TryRecvError::Disconnected)
            } else {
                let now_ms = self.clock.now().mono_ms;
                let pause = next_purge_ms.map_or(Millis::MAX, |at_ms| at_ms - now_ms);
                let pause = Duration::from_millis(pause.clamp(0, 3_600_000).cast_unsigned());
                self.jobs
                    .recv_timeout(pause)
                    .map_err(|error| error == RecvTimeoutError::Disconnected)
            };
            match job {
                Ok(DiskJob::Snapshot(job)) => waiting.push_back(job),
                Ok(DiskJob::Prepare(preparation)) => self.prepare(&mut disk, preparation),
                Ok(DiskJob::Trim(finished)) => {
                    if let Err(error) = trim(&mut disk, &finished) {
                        tracing::warn!("cannot trim a finished log segment: {error}");
                    }
                }
                Ok(DiskJob::Stop) | Err(true) => return,
                Err(false) => {}
            }
            if let Some(mut snapshot) = taking.take() {
                if self.step(&mut disk, &mut snapshot) {
                    taking = Some(snapshot);
                }
            } else if let (Some(at_ms), Some(every_ms)) = (next_purge_ms, self.purge_interval_ms())
                && at_ms <= self.clock.now().mono_ms
            {
                next_purge_ms = Some(self.clock.now().mono_ms + every_ms);
                self.purge(&mut disk);
            }
        }
    }

    fn begin(&self, job: SnapshotJob) -> Taking {
        let SnapshotJob { view, sessions, digest } = job;
        let zxid = view.zxid();
        tracing::info!("Snapshotting: {zxid} to snapshot.{:x}", zxid.0);
        let digest = self.config.digest_enabled.then_some(digest);
        let compression = super::compression(&self.config);
        Taking {
            writer: SnapshotWriter::new(view, &sessions, digest, compression),
            pace: Pace::new(self.snapshot_bytes_per_s),
            began_ms: self.clock.now().mono_ms,
        }
    }

    /// One step; whether there are more.
    fn step(&self, disk: &mut RealDisk, snapshot: &mut Taking) -> bool {
        let began_ns = self.clock.now().mono_ns;
        match snapshot.writer.step(disk) {
            Ok(Some(bytes)) => {
                let took_us = (self.clock.now().mono_ns - began_ns) / 1000;
                sleep_us(snapshot.pace.after(bytes, took_us));
                true
            }
            Ok(None) => {
                let took_ms = self.clock.now().mono_ms - snapshot.began_ms;
                let taken = snapshot.writer.taken();
                tracing::info!(
                    "Snapshot taken in {took_ms} ms: {} nodes, {} bytes",
                    taken.nodes,
                    taken.len_bytes
                );
                let took_ms = took_ms.max(0).cast_unsigned();
                self.results.push(Done::Snapshotted { len_bytes: taken.len_bytes, took_ms });
                false
            }
            Err(error) => {
                // The log has everything; the next snapshot may find room again.
                tracing::error!("cannot write a snapshot: {error}; the log keeps every txn");
                self.results.push(Done::Snapshotted { len_bytes: 0, took_ms: 0 });
                false
            }
        }
    }

    /// A full disk shows itself here, a whole segment before a write would fail. Then the pipeline
    /// takes no more writes until there is room again.
    fn prepare(&self, disk: &mut RealDisk, mut preparation: Preparation) {
        let len_bytes = preparation.len_bytes();
        let mut pace = Pace::new(PREPARE_BYTES_PER_S);
        let mut full = false;
        while !self.is_stopping() {
            let began_ns = self.clock.now().mono_ns;
            match preparation.step(disk) {
                Ok(Some(bytes)) => {
                    let took_us = (self.clock.now().mono_ns - began_ns) / 1000;
                    sleep_us(pace.after(bytes, took_us));
                }
                Ok(None) => {
                    if full {
                        self.results.push(Done::Room);
                    }
                    // The flusher ends first only when the server does.
                    let _ = self.flush_jobs.send(FlushJob::Prepared(Some(len_bytes)));
                    return;
                }
                Err(error) if is_full(&error) => {
                    if !full {
                        full = true;
                        self.results.push(Done::Full(format!(
                            "no room for the next log segment of {len_bytes} bytes in {}: {error}. \
                             Free some space, or set autopurge.purgeInterval",
                            self.dirs.path(crate::storage::disk::Dir::Log).display()
                        )));
                    }
                    let again_ms = self.clock.now().mono_ms + FULL_RETRY_MS;
                    while self.clock.now().mono_ms < again_ms && !self.is_stopping() {
                        std::thread::sleep(STOP_LOOK);
                    }
                    preparation = preparation.again();
                }
                Err(error) => fatal("prepare the next log segment", &error),
            }
        }
    }

    /// The flusher may still want a segment then, and makes it itself.
    fn is_stopping(&self) -> bool {
        self.stage.load(Ordering::Acquire) != stage::RUNNING
    }

    fn purge_interval_ms(&self) -> Option<Millis> {
        let hours = self.config.autopurge.interval_hours;
        (hours > 0).then(|| Millis::from(hours) * 3_600_000)
    }

    fn purge(&self, disk: &mut RealDisk) {
        tracing::info!("Purge task started.");
        let retain = self.config.autopurge.retain as usize;
        match retention::purge(disk, retain) {
            Ok(removed) => {
                for file in removed {
                    tracing::info!("Removing file: {file}");
                }
                tracing::info!("Purge task completed.");
            }
            Err(error) => tracing::error!("cannot purge old snapshots and logs: {error}"),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn sleep_us(us: u64) {
    if us > 0 {
        std::thread::sleep(Duration::from_micros(us));
    }
}

/// Below everything else on this machine's cores; the log's thread must not wait for a snapshot.
fn lower_priority() {
    // Only a courtesy: without it a snapshot takes its share as any thread does.
    let _ = rustix::process::nice(10);
}
