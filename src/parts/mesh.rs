//! The queues between parts and what happens when each is full, all in one place.
//!
//! | queue | writer → reader | when full |
//! |---|---|---|
//! | `requests[s]` | shard s → pipeline | the shard keeps the request and stops reading that connection |
//! | `deliveries[s]` | pipeline → shard s | the pipeline keeps it and stops publishing; it goes on logging |
//! | change ring | pipeline → every shard | as before: the slowest shard decides; of a txn that has more changes than the ring has room, the shards take what is there before it is published |
//!
//! No part ever waits for a queue.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::{Request, ToShard};
use crate::types::Millis;

/// Shared by all parts of one server.
pub struct Mesh {
    /// From each shard to the pipeline.
    pub requests: Box<[ArrayQueue<Request>]>,
    /// From the pipeline to each shard.
    pub deliveries: Box<[ArrayQueue<ToShard>]>,
    /// Monotonic ms at which the newest turn each shard has finished began.
    turns_ms: Box<[CachePadded<AtomicI64>]>,
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh {{ shards: {} }}", self.requests.len())
    }
}

impl Mesh {
    /// The queues of a server with `shards` shards, and how many items each may hold.
    pub fn new(shards: usize, requests_max: usize, deliveries_max: usize) -> Self {
        Self {
            requests: (0..shards).map(|_| ArrayQueue::new(requests_max)).collect(),
            deliveries: (0..shards).map(|_| ArrayQueue::new(deliveries_max)).collect(),
            turns_ms: (0..shards).map(|_| CachePadded::new(AtomicI64::new(0))).collect(),
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.requests.len()
    }

    /// A shard says that its turn that began at `began_ms` is over.
    pub fn finish_turn(&self, shard: usize, began_ms: Millis) {
        self.turns_ms[shard].store(began_ms, Ordering::Release);
    }

    /// When the newest finished turn of `shard` began: whatever had arrived by then was read.
    pub fn turn_began_ms(&self, shard: usize) -> Millis {
        self.turns_ms[shard].load(Ordering::Acquire)
    }
}
