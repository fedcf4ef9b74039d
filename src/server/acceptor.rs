//! Who may connect, and which shard serves him.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;

use super::logging::RateLimited;
use crate::net::driver::Waker;
use crate::types::{Map, Now};

/// Sockets on their way to another thread.
const HANDOVER_MAX: usize = 1024;

/// Counts connections; shared by all threads, touched only when one opens or closes.
#[derive(Debug)]
pub(super) struct Acceptor {
    max_per_address: usize,
    max: usize,
    /// Connections that one shard serves before the next is opened.
    packed: usize,
    counts: Mutex<Counts>,
    pub(super) handovers: Box<[Handover]>,
}

#[derive(Debug)]
struct Counts {
    by_address: Map<IpAddr, usize>,
    total: usize,
    too_many: RateLimited,
}

/// Sockets for one shard.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) queue: ArrayQueue<(OwnedFd, SocketAddr)>,
    pub(super) connections: AtomicUsize,
}

impl Acceptor {
    pub(super) fn new(max_per_address: u32, max: u32, shards: usize, packed: usize) -> Arc<Self> {
        Arc::new(Self {
            max_per_address: max_per_address as usize,
            max: max as usize,
            packed,
            counts: Mutex::new(Counts {
                by_address: Map::default(),
                total: 0,
                too_many: RateLimited::every(1_000),
            }),
            handovers: (0..shards)
                .map(|_| Handover {
                    queue: ArrayQueue::new(HANDOVER_MAX),
                    connections: AtomicUsize::new(0),
                })
                .collect(),
        })
    }

    /// Admits a connection and names its shard; `None` closes it without a byte.
    pub(super) fn admit(&self, peer: SocketAddr, now: Now) -> Option<usize> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = counts.by_address.get(&peer.ip()).copied().unwrap_or(0);
        let refusal = if self.max > 0 && counts.total >= self.max {
            Some(format!("Too many connections {} - max is {}", counts.total, self.max))
        } else if self.max_per_address > 0 && mine >= self.max_per_address {
            Some(format!(
                "Error accepting new connection: Too many connections from /{} - max is {} \
                 (maxClientCnxns)",
                peer.ip(),
                self.max_per_address
            ))
        } else {
            None
        };
        if let Some(why) = refusal {
            if let Some(held) = counts.too_many.pass(now.mono_ms) {
                tracing::warn!("{why}{held}");
            }
            return None;
        }
        counts.total += 1;
        counts.by_address.insert(peer.ip(), mine + 1);
        drop(counts);
        let loads = self.handovers.iter().map(|h| h.connections.load(Ordering::Relaxed));
        let loads: smallvec::SmallVec<[usize; 64]> = loads.collect();
        let packed = loads.iter().position(|load| *load < self.packed);
        let shard = packed.or_else(|| (0..loads.len()).min_by_key(|shard| loads[*shard]))?;
        self.handovers[shard].connections.fetch_add(1, Ordering::Relaxed);
        Some(shard)
    }

    /// A connection of `shard` is gone.
    pub(super) fn closed(&self, shard: usize, address: IpAddr) {
        self.handovers[shard].connections.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }

    /// Connections now.
    pub(super) fn total(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Hands a socket to the thread of `shard`.
    pub(super) fn hand_over(&self, shard: usize, socket: OwnedFd, peer: SocketAddr, waker: &Waker) {
        if self.handovers[shard].queue.push((socket, peer)).is_err() {
            // The other thread is far behind; the client will try again.
            self.closed(shard, peer.ip());
            return;
        }
        waker.wake();
    }
}

/// IPv4 addresses that came over a dual-stack socket are IPv4 addresses.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
