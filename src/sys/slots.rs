//! The table of readers and views: who is pinned, and which zxids they look at.
//!
//! Threads: a reader writes its own slot, the writer reads all. Slots are reused, never freed
//! before the table, so the chain needs no lock.
//! Invariants: a reader's zxid never goes back; a view's never changes.
//!
//! Order: a view that a reader takes starts at that reader's zxid and is registered (release)
//! before the reader moves on (release). The writer reads the readers' zxids first and the views
//! after: if it saw the reader moved, it sees the view; if not, the reader's own zxid protects
//! what the view needs.

use super::atomic::{AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
const READER: u8 = 2;
const VIEW: u8 = 3;

/// No pin.
const QUIESCENT: u64 = u64::MAX;

/// One reader's or view's line; alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Slot {
    state: AtomicU8,
    /// Epoch at which it was pinned.
    pinned: AtomicU64,
    /// What it looks at.
    zxid: AtomicU64,
    /// A reader that looks at nothing until it has called [`Slot::resume`].
    parked: AtomicU8,
    next: OnceLock<Arc<Slot>>,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(FREE),
            pinned: AtomicU64::new(QUIESCENT),
            zxid: AtomicU64::new(0),
            parked: AtomicU8::new(0),
            next: OnceLock::new(),
        })
    }

    pub(super) fn zxid(&self) -> u64 {
        self.zxid.load(Ordering::Relaxed)
    }

    /// Moves a reader forward, never back. Release: everything it registered before is seen by
    /// who sees this.
    pub(super) fn advance(&self, zxid: u64) {
        if zxid > self.zxid() {
            self.zxid.store(zxid, Ordering::Release);
        }
    }

    /// Nothing is kept for this reader until it resumes. Release: its reads are over.
    pub(super) fn park(&self) {
        self.parked.store(1, Ordering::Release);
    }

    /// Ends [`Slot::park`]: what is published when the reader looks after this is kept for it. The
    /// fence orders the store before that look; it pairs with the one in `Slots::min_reader`,
    /// which comes after the writer's last publication: either the writer sees the reader awake,
    /// or the reader sees that publication.
    pub(super) fn resume(&self) {
        if self.parked.load(Ordering::Relaxed) == 1 {
            self.parked.store(0, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// From here until [`Slot::unpin`] nothing is freed that was reachable now.
    pub(super) fn pin(&self, epoch: &AtomicU64) {
        // A stale epoch only delays frees. The fence orders this store before all loads of
        // pointers that follow; it pairs with the one in `Slots::oldest_pin`.
        self.pinned.store(epoch.load(Ordering::Acquire), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Release: all reads of the pin are over for a writer that sees it.
    pub(super) fn unpin(&self) {
        self.pinned.store(QUIESCENT, Ordering::Release);
    }

    /// Gives the slot back.
    pub(super) fn release(&self) {
        self.unpin();
        self.state.store(FREE, Ordering::Release);
    }
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    first: Arc<Slot>,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { first: Slot::new() }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        std::iter::successors(Some(&self.first), |slot| slot.next.get())
    }

    fn claim(&self, state: u8, zxid: u64) -> Arc<Slot> {
        let mut slot = &self.first;
        loop {
            let free =
                slot.state.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
            if free.is_ok() {
                slot.zxid.store(zxid, Ordering::Relaxed);
                slot.parked.store(0, Ordering::Relaxed);
                slot.state.store(state, Ordering::Release);
                return Arc::clone(slot);
            }
            slot = slot.next.get_or_init(Slot::new);
        }
    }

    pub(super) fn claim_reader(&self, zxid: u64) -> Arc<Slot> {
        self.claim(READER, zxid)
    }

    pub(super) fn claim_view(&self, zxid: u64) -> Arc<Slot> {
        self.claim(VIEW, zxid)
    }

    /// The smallest zxid any reader that is not parked looks at.
    pub(super) fn min_reader(&self) -> Option<u64> {
        fence(Ordering::SeqCst);
        self.iter()
            .filter(|slot| slot.state.load(Ordering::Acquire) == READER)
            .filter(|slot| slot.parked.load(Ordering::Acquire) == 0)
            .map(|slot| slot.zxid.load(Ordering::Acquire))
            .min()
    }

    /// The zxids of all views; call after [`Slots::min_reader`].
    pub(super) fn views(&self, into: &mut Vec<u64>) {
        into.clear();
        into.extend(
            self.iter()
                .filter(|slot| slot.state.load(Ordering::Acquire) == VIEW)
                .map(|slot| slot.zxid.load(Ordering::Acquire)),
        );
    }

    /// The smallest epoch somebody is pinned at; above all epochs if nobody is. What was unlinked
    /// in an earlier epoch is out of everybody's reach.
    pub(super) fn oldest_pin(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.iter().map(|slot| slot.pinned.load(Ordering::Acquire)).min().unwrap_or(QUIESCENT)
    }
}
