//! What an operator sees: the four-letter words, and the metrics behind `mntr`.
//!
//! Thread: whichever serves the connection that asks. Nothing here is on the path of a request;
//! the counts come from atomics that their owners write, the rest from the parts' [`Facts`].
//! Invariants: texts are byte for byte ZooKeeper's, since tools compare bytes; what is told is the
//! server's own figure or the zero that Java shows for what does not happen.
//! Not here: hearing a word (`wire/four_letter.rs`, `parts/shard.rs`), the whitelist and the
//! gathering of facts (`server/words.rs`).
//!
//! [`Facts`]: crate::parts::Facts

mod date;
pub mod four_letter;
mod host;
pub mod metrics;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use crate::config::Config;
use crate::parts::figures::ShardFigures;
use crate::parts::pipeline::PipelineFigures;
use crate::storage::disk::Dirs;
use crate::types::Now;

/// The ZooKeeper release whose behaviour is shown. COMPAT: it comes first in
/// every version text, because clients and checks branch on `\d+\.\d+\.\d+`.
const ZOOKEEPER_VERSION: &str = "3.9.5";

/// When the program was built, in the form of ZooKeeper's releases. A build that should be the
/// same on every machine cannot ask the clock: whoever packages it sets `RINGKEEPER_BUILT_ON`.
const BUILT_ON: &str = match option_env!("RINGKEEPER_BUILT_ON") {
    Some(date) => date,
    None => "1970-01-01 00:00 UTC",
};

/// What a server answers when it is asked for its version: a ZooKeeper version, then ours.
pub fn version() -> String {
    format!("{ZOOKEEPER_VERSION}-ringkeeper-{}, built on {BUILT_ON}", env!("CARGO_PKG_VERSION"))
}

/// What answering needs that is there at any time.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// As read.
    pub config: &'a Config,
    /// Where data and log are.
    pub dirs: &'a Dirs,
    /// The port that clients use, as bound.
    pub client_port: u16,
    /// Figures of all shards.
    pub shards: &'a [Arc<ShardFigures>],
    /// Figures of the pipeline.
    pub pipeline: &'a PipelineFigures,
    /// Open client connections, the one that asks among them.
    pub connections: usize,
    /// `uring` or `epoll`.
    pub backend: &'static str,
    /// What `gtmk` tells and `stmk` sets.
    pub trace_mask: &'a AtomicI64,
    /// The time.
    pub now: Now,
}
