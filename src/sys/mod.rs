//! The only unsafe code of the crate, one safe type a file. A leaf: knows no ZooKeeper.
//!
//! [`versions`] is the memory of the tree: one writer, many readers, every state of the last few
//! zxids at once. [`readers`] are the handles of its readers. `raw` and `index` are its parts.

pub mod broadcast;
pub mod counted;
mod index;
pub mod mmap;
mod raw;
pub mod readers;
pub mod ring;
mod slots;
pub mod versions;

/// All atomics of `sys/` come from here, so that a model checker can stand in for them.
mod atomic {
    pub(super) use std::sync::atomic::{
        AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
    };
}
