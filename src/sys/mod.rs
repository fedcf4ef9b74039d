//! The only unsafe code of the crate: one safe type a file.

pub mod broadcast;

pub mod mmap;
