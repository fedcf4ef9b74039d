//! What needs `unsafe`, one safe type a file; nothing else in the crate has any.

pub mod mmap;
