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
    /// Latest; 0 without a count.
    pub last: Figure,
}

impl Summary {
    /// Counts one more.
    pub fn record(&self, value: u64) {
        let first = self.count.get() == 0;
        self.last.set(value);
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
        for figure in [&self.count, &self.sum, &self.min, &self.max, &self.last] {
            figure.set(0);
        }
    }
}

/// Buckets of [`Timings`]: 8 an octave, from 1 µs to 275 s, one for all that is less and the last
/// for all that is more.
const BUCKETS: usize = 1 + (LAST_OCTAVE - FIRST_OCTAVE + 1) * 8;
const FIRST_OCTAVE: usize = 10;
const LAST_OCTAVE: usize = 37;

/// A [`Summary`] of times in ns that knows percentiles too, each at most an eighth too high.
/// It has a fixed size, below 2 KiB, and recording allocates nothing.
#[derive(Debug)]
pub struct Timings {
    summary: Summary,
    buckets: [Figure; BUCKETS],
}

impl Default for Timings {
    fn default() -> Self {
        Self { summary: Summary::default(), buckets: std::array::from_fn(|_| Figure::default()) }
    }
}

impl Timings {
    /// Counts one more.
    pub fn record(&self, took_ns: u64) {
        self.summary.record(took_ns);
        self.buckets[bucket(took_ns)].add(1);
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.summary.reset();
        for figure in &self.buckets {
            figure.set(0);
        }
    }
}

/// The bucket of a time.
fn bucket(took_ns: u64) -> usize {
    let octave = took_ns.max(1).ilog2() as usize;
    if octave < FIRST_OCTAVE {
        return 0;
    }
    if octave > LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let eighth = (took_ns >> (octave - 3)) as usize & 7;
    1 + (octave - FIRST_OCTAVE) * 8 + eighth
}

/// The longest time of a bucket.
fn longest_ns(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => (1 << FIRST_OCTAVE) - 1,
        Some(above) => ((9 + (above as u64) % 8) << (above / 8 + FIRST_OCTAVE - 3)) - 1,
    }
}

/// What summaries said at one time, several of them added up. The writers do not stop for the
/// reader, so its parts may differ by what was recorded meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Sum.
    pub sum: u64,
    /// Smallest; 0 without a count.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// Counts by bucket; empty where only [`Summary`]s were added.
    buckets: Vec<u64>,
}

impl Spread {
    /// Adds a summary.
    pub fn add(&mut self, summary: &Summary) {
        let count = summary.count.get();
        if count == 0 {
            return;
        }
        let min = summary.min.get();
        self.min = if self.count == 0 { min } else { self.min.min(min) };
        self.max = self.max.max(summary.max.get());
        self.count += count;
        self.sum = self.sum.wrapping_add(summary.sum.get());
    }

    /// Adds times.
    pub fn add_timings(&mut self, timings: &Timings) {
        self.add(&timings.summary);
        self.buckets.resize(BUCKETS, 0);
        for (sum, figure) in self.buckets.iter_mut().zip(&timings.buckets) {
            *sum += figure.get();
        }
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
            self.max = self.max.max(other.max);
            self.count += other.count;
            self.sum = self.sum.wrapping_add(other.sum);
        }
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
    }

    /// The time in ns that `per_mille` of all did not exceed; 0 without a count.
    pub fn percentile_ns(&self, per_mille: u64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let rank = (total * per_mille).div_ceil(1_000);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && rank > 0 {
                // The last bucket has no longest time of its own.
                let longest_ns = if bucket == BUCKETS - 1 { self.max } else { longest_ns(bucket) };
                return longest_ns.clamp(self.min, self.max);
            }
        }
        0
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
    pub read_ns: Timings,
    /// Writes, from decoding to the reply.
    pub write_ns: Timings,
    /// Size of replies to requests.
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
        self.read_ns.reset();
        self.write_ns.reset();
        self.reply_bytes.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for index in 0..BUCKETS - 1 {
            let longest_ns = longest_ns(index);
            assert_eq!(bucket(longest_ns), index);
            assert_eq!(bucket(longest_ns + 1), index + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!(size_of::<Timings>() < 2048);
    }

    #[test]
    fn percentiles_are_at_most_an_eighth_too_high() {
        let (low, high) = (Timings::default(), Timings::default());
        for us in 1..=500 {
            low.record(us * 1_000);
            high.record((us + 500) * 1_000);
        }
        let mut spread = Spread::default();
        spread.add_timings(&low);
        spread.add_timings(&high);
        assert_eq!((spread.count, spread.min, spread.max), (1_000, 1_000, 1_000_000));
        for per_mille in [1, 10, 500, 950, 990, 999, 1_000] {
            let exact_ns = per_mille * 1_000;
            let told_ns = spread.percentile_ns(per_mille);
            assert!(told_ns >= exact_ns, "{per_mille}: {told_ns}");
            assert!(
                told_ns <= exact_ns + exact_ns / 8 || told_ns == 1_023,
                "{per_mille}: {told_ns}"
            );
        }
    }

    #[test]
    fn nothing_recorded_is_zero_and_adds_nothing() {
        let timings = Timings::default();
        timings.record(7_000_000);
        let mut spread = Spread::default();
        spread.add_timings(&Timings::default());
        assert_eq!(spread.percentile_ns(999), 0);
        spread.add_timings(&timings);
        spread.merge(&Spread::default());
        assert_eq!((spread.count, spread.min, spread.max), (1, 7_000_000, 7_000_000));
        assert_eq!(spread.percentile_ns(500), 7_000_000);
        timings.reset();
        let mut spread = Spread::default();
        spread.add_timings(&timings);
        assert_eq!((spread.count, spread.percentile_ns(500)), (0, 0));
    }
}
