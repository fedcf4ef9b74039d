//! A heap that counts: for the benchmark that says how many allocations an operation takes.
//!
//! Threads: any. Not used by the server: a program opts in with `#[global_allocator]`.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use super::atomic::{AtomicU64, Ordering};
use std::alloc::{GlobalAlloc, Layout, System};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's heap, with every allocation of every thread counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountedHeap;

/// What [`CountedHeap`] has counted; never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapCounts {
    /// Allocations, and reallocations.
    pub allocations: u64,
    /// Bytes they asked for.
    pub bytes: u64,
}

impl CountedHeap {
    /// The counts so far; zero where it is not the global allocator.
    pub fn counts() -> HeapCounts {
        HeapCounts {
            allocations: ALLOCATIONS.load(Ordering::Relaxed),
            bytes: BYTES.load(Ordering::Relaxed),
        }
    }

    fn count(bytes: usize) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's heap unchanged, which keeps the trait's promises.
unsafe impl GlobalAlloc for CountedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count(new_size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}
