//! The clock of the programs that stand on this library: monotonic, in nanoseconds since its first
//! use. It never meets the server's clock, which a simulation replaces.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "the one clock of client, shell and bench")]
fn now() -> Instant {
    Instant::now()
}

/// Time since the first call in this process.
pub fn elapsed() -> Duration {
    let start = *START.get_or_init(now);
    now().duration_since(start)
}

/// [`elapsed`] in nanoseconds; 584 years fit.
#[expect(clippy::cast_possible_truncation, reason = "584 years fit")]
pub fn nanos() -> u64 {
    elapsed().as_nanos() as u64
}
