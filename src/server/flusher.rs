//! The flusher: the thread that may wait for the log's disk, so that nobody else does.
//!
//! Jobs run in order, one sync at a time. An error is final: the kernel may have dropped the dirty
//! pages, so the next sync would lie. The process says so and ends.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use crossbeam::queue::ArrayQueue;

use super::clock::Clock;
use super::disk::DiskJob;
use crate::net::driver::Waker;
use crate::parts::pipeline::Done;
use crate::storage::disk::RealDisk;
use crate::storage::log::LogWriter;
use crate::types::{Millis, Zxid};

/// What the flusher is asked for.
#[derive(Debug)]
pub(super) enum FlushJob {
    Append {
        bytes: Vec<u8>,
        first: Zxid,
        last: Zxid,
    },
    /// The disk thread made a segment, or could not.
    Prepared(Option<u64>),
    /// The server ends.
    Stop,
}

/// Results on their way to the pipeline, and whom to wake.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub(super) queue: Arc<ArrayQueue<Done>>,
    pub(super) waker: Waker,
}

impl Results {
    /// Room is reserved by the job: one append, one snapshot and a refusal at most are under way.
    pub(super) fn push(&self, done: Done) {
        assert!(self.queue.push(done).is_ok(), "more results than jobs");
        self.waker.wake();
    }
}

#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) writer: LogWriter,
    pub(super) disk: RealDisk,
    pub(super) jobs: Receiver<FlushJob>,
    pub(super) disk_jobs: Sender<DiskJob>,
    pub(super) results: Results,
    pub(super) clock: Clock,
    pub(super) warn_ms: Millis,
}

impl Flusher {
    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        self.want_segment();
        while let Ok(job) = self.jobs.recv() {
            match job {
                FlushJob::Append { mut bytes, first, last } => {
                    let began = self.clock.now();
                    let appended = match self.writer.append(&mut self.disk, &bytes, first, last) {
                        Ok(appended) => appended,
                        Err(error) => fatal("write and sync the txn log", &error),
                    };
                    let took_ns = self.clock.now().mono_ns - began.mono_ns;
                    bytes.clear();
                    self.results.push(Done::Appended { bytes, last, took_ns });
                    let took_ms = took_ns / 1_000_000;
                    if took_ms > self.warn_ms.max(0).cast_unsigned() {
                        tracing::warn!(
                            "fsync-ing the write ahead log in SyncThread:0 took {took_ms}ms which \
                             will adversely effect operation latency.File size is {} bytes. See \
                             the ZooKeeper troubleshooting guide",
                            appended.segment_bytes,
                        );
                    }
                    self.finished(appended.finished);
                    self.want_segment();
                }
                FlushJob::Prepared(len_bytes) => self.writer.prepared(len_bytes),
                FlushJob::Stop => return,
            }
        }
    }

    fn finished(&self, finished: Option<crate::storage::log::Finished>) {
        if let Some(finished) = finished {
            // The disk thread outlives the flusher; at the very end trimming is not worth waiting.
            let _ = self.disk_jobs.send(DiskJob::Trim(finished));
        }
    }

    fn want_segment(&mut self) {
        if let Some(preparation) = self.writer.wants_segment() {
            let _ = self.disk_jobs.send(DiskJob::Prepare(preparation));
        }
    }
}

/// The disk is the truth, and it did not take what it was given: stop acknowledging, now.
pub(super) fn fatal(what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(
        "cannot {what}: {error}. Nothing more is acknowledged; the server stops. \
                     Mend the disk, then start again: recovery finds the last durable txn."
    );
    std::process::exit(10);
}
