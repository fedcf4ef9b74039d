//! The process's one clock and one random seed. Everybody else gets the time as an argument.

use std::fs::File;
use std::io::Read;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Millis, Now};

/// Monotonic and wall time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic times count from now.
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time of a turn.
    #[expect(clippy::cast_possible_truncation, reason = "584 years of ns fit")]
    pub fn now(&self) -> Now {
        let elapsed = self.start.elapsed();
        Now {
            mono_ms: elapsed.as_millis() as Millis,
            mono_ns: elapsed.as_nanos() as u64,
            wall_ms: wall_ms(),
        }
    }
}

/// ms since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
#[expect(clippy::cast_possible_truncation, reason = "ms since 1970 fit for 292 million years")]
pub fn wall_ms() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// 64 bits of the kernel's randomness; the clock where there is none.
#[expect(clippy::disallowed_methods, reason = "the seed's one source")]
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_ok() { u64::from_ne_bytes(bytes) } else { wall_ms().cast_unsigned() }
}
