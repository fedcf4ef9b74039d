//! Newtypes of the protocol and their arithmetic, and the maps everything else uses.
//!
//! Invariants: a `Zxid` and a `SessionId` never swap; maps iterate in an order that depends only on
//! the process seed, so that a simulated run replays.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::OnceLock;

/// A transaction id: epoch in the high 32 bits, counter in the low 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Of a fresh database: no txn was applied yet.
    pub const ZERO: Self = Self(0);
    /// Above every zxid that can occur.
    pub const MAX: Self = Self(u64::MAX);

    /// The zxid of `counter` in `epoch`.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as u64) << 32) | counter as u64)
    }

    /// The epoch of the leader that proposed it.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The place within the epoch, from 1 for proposals.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The following zxid. A leader hands over before its counter is used up (`zxids_left`); a
    /// standalone server just goes on in the next epoch, as ZooKeeper's does.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// As the wire and the files have it.
    pub const fn to_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// From the wire or a file.
    pub const fn from_wire(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

/// `0x` and hexadecimal digits without leading zeros, as every log line and four-letter word has it.
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A session id: server id in the high byte, then time, then a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Milliseconds: wall clock since 1970 where a znode's time is meant, else monotonic.
pub type Millis = i64;

/// The hasher of all maps: one seed a process.
#[derive(Clone, Debug)]
pub struct Seeded(ahash::RandomState);

static SEED: OnceLock<u64> = OnceLock::new();

/// Sets the seed of every map made from now on; the server does so once from the kernel's
/// randomness, so that a client cannot choose paths that collide. Without it the seed is fixed.
pub fn seed_maps(seed: u64) {
    // A second call finds the seed in use and must not change it under existing maps.
    let _ = SEED.set(seed);
}

impl Default for Seeded {
    fn default() -> Self {
        let seed = *SEED.get_or_init(|| 0x5eed);
        Self(ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), seed ^ 0x9e37))
    }
}

impl BuildHasher for Seeded {
    type Hasher = ahash::AHasher;
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// The map of this crate: iteration order depends on the process seed only.
#[expect(clippy::disallowed_types, reason = "the one place that names it, with a seeded hasher")]
pub type Map<K, V> = std::collections::HashMap<K, V, Seeded>;

/// The set of this crate, as [`Map`].
#[expect(clippy::disallowed_types, reason = "the one place that names it, with a seeded hasher")]
pub type Set<K> = std::collections::HashSet<K, Seeded>;

/// A connection of one thread's driver. A slot is reused, a generation is not, so a late message
/// for a dead connection finds nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Place in the driver's table.
    pub slot: u32,
    /// How often the place was given away.
    pub generation: u32,
}

/// A connection of the whole server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnRef {
    /// Index of the shard that owns it.
    pub shard: u16,
    /// The connection there.
    pub conn: ConnId,
}

/// What the one clock said when a turn began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, ms since the process started.
    pub mono_ms: Millis,
    /// Monotonic, ns since the process started.
    pub mono_ns: u64,
    /// Wall clock, ms since 1970.
    pub wall_ms: Millis,
}

#[cfg(test)]
mod tests {
    use super::Zxid;

    #[test]
    fn the_counter_runs_over_into_the_epoch() {
        assert_eq!(Zxid::new(0, 1).next(), Zxid::new(0, 2));
        assert_eq!(Zxid::new(7, u32::MAX).next(), Zxid::new(8, 0));
    }
}
