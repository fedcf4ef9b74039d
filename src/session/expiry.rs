//! The wheel: which sessions to look at when.
//!
//! Thread: the pipeline's. A session is filed under a time at which it may have to end; touches do
//! not move it, so they cost nothing here. When the time has come its last touch is looked at and
//! it ends or is filed anew: once a timeout for each session, not once a request.
//! Invariants: times are multiples of the tick; a session is filed at most once and never later
//! than its end; no bucket is empty.

use std::collections::BTreeMap;

use crate::types::{Millis, SessionId, Set};

#[derive(Debug)]
pub(super) struct Wheel {
    tick_ms: Millis,
    /// At most one bucket for each tick of the longest timeout, and those due.
    buckets: BTreeMap<Millis, Set<SessionId>>,
}

impl Wheel {
    pub(super) fn new(tick_ms: i32) -> Self {
        assert!(tick_ms > 0, "the config checks tickTime");
        Self { tick_ms: tick_ms.into(), buckets: BTreeMap::new() }
    }

    /// When a session last heard of at `last` ends: on a tick, more than the timeout later and at
    /// most a tick more than that.
    pub(super) fn bucket(&self, last: Millis, timeout_ms: i32) -> Millis {
        (last + Millis::from(timeout_ms)) / self.tick_ms * self.tick_ms + self.tick_ms
    }

    /// Files a session that is not filed; returns where.
    pub(super) fn file(&mut self, session: SessionId, last: Millis, timeout_ms: i32) -> Millis {
        let bucket = self.bucket(last, timeout_ms);
        let new = self.buckets.entry(bucket).or_default().insert(session);
        assert!(new, "session {session} is filed already");
        bucket
    }

    /// Takes a session out of the bucket it is filed in.
    pub(super) fn unfile(&mut self, session: SessionId, bucket: Millis) {
        let Some(sessions) = self.buckets.get_mut(&bucket) else { return };
        sessions.remove(&session);
        if sessions.is_empty() {
            self.buckets.remove(&bucket);
        }
    }

    /// Forgets everything filed.
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// The time of the first bucket, which may have passed.
    pub(super) fn next_due(&self) -> Option<Millis> {
        self.buckets.first_key_value().map(|(bucket, _)| *bucket)
    }

    /// Takes out all that is due, in order of bucket and id.
    pub(super) fn take_due(&mut self, now: Millis) -> Vec<SessionId> {
        let mut due = Vec::new();
        while let Some(first) = self.buckets.first_entry().filter(|first| *first.key() <= now) {
            let from = due.len();
            due.extend(first.remove());
            due[from..].sort_unstable();
        }
        due
    }
}
