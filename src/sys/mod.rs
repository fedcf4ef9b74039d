//! The only unsafe code: one safe type a file.

pub mod ring;
