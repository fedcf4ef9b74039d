//! Figures of one shard: written by its thread alone, read by whoever prints them.
//!
//! A load and a store instead of a locked add: there is one writer, and a reader may be late.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count with one writer.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Adds, wrapping.
    pub fn add(&self, value: u64) {
        self.set(self.get().wrapping_add(value));
    }
    /// Subtracts, wrapping.
    pub fn sub(&self, value: u64) {
        self.set(self.get().wrapping_sub(value));
    }
    /// Replaces.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
    /// The value of late.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Count, sum and extremes.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many.
    pub count: Figure,
    /// Sum.
    pub sum: Figure,
    /// Smallest; 0 without a count.
    pub min: Figure,
    /// Largest.
    pub max: Figure,
}

impl Summary {
    /// Counts one more.
    pub fn record(&self, value: u64) {
        let first = self.count.get() == 0;
        self.count.add(1);
        self.sum.add(value);
        if first || value < self.min.get() {
            self.min.set(value);
        }
        if value > self.max.get() {
            self.max.set(value);
        }
    }

    /// Forgets all.
    pub fn reset(&self) {
        for figure in [&self.count, &self.sum, &self.min, &self.max] {
            figure.set(0);
        }
    }
}

/// See the module. Times are in ns unless the name says otherwise.
#[derive(Debug, Default)]
pub struct ShardFigures {
    /// Connections now.
    pub connections: Figure,
    /// Packets received from sessions.
    pub received: Figure,
    /// Bytes of them.
    pub received_bytes: Figure,
    /// Replies sent.
    pub sent: Figure,
    /// Bytes sent.
    pub sent_bytes: Figure,
    /// Watch events sent.
    pub notifications: Figure,
    /// ConnectRequests.
    pub connect_requests: Figure,
    /// Failed auth packets.
    pub auth_failures: Figure,
    /// Connections closed because no ConnectRequest came.
    pub sessionless_expired: Figure,
    /// Requests without a reply now.
    pub outstanding: Figure,
    /// Watches now.
    pub watches: Figure,
    /// Reads.
    pub read_ns: Summary,
    /// Writes, from decoding to the reply.
    pub write_ns: Summary,
    /// Size of replies to requests: last, min, max bytes.
    pub reply_bytes: Summary,
}

impl ShardFigures {
    pub(super) fn read_done(&self, took_ns: u64) {
        self.sent.add(1);
        self.read_ns.record(took_ns);
    }

    pub(super) fn write_done(&self, took_ns: u64) {
        self.sent.add(1);
        self.write_ns.record(took_ns);
    }

    /// Forgets what `srst` forgets: counts and latencies, not what is there now.
    pub fn reset(&self) {
        for figure in [
            &self.received,
            &self.received_bytes,
            &self.sent,
            &self.sent_bytes,
            &self.notifications,
            &self.connect_requests,
            &self.auth_failures,
            &self.sessionless_expired,
        ] {
            figure.set(0);
        }
        for summary in [&self.read_ns, &self.write_ns, &self.reply_bytes] {
            summary.reset();
        }
    }
}
