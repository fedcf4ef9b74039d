//! The whole server as a black box: over sockets, in this process or in one of its own.
//!
//! Nothing is needed but this crate. Every server listens on a port that the kernel chose and has
//! a directory of its own; nothing sleeps where a condition can be awaited.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may fail loudly")]

mod clients;
mod disk_full;
mod housekeeping;
mod limits;
mod orders;
mod process;
mod restart;
mod world;
