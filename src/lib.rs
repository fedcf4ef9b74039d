//! ringkeeper.

pub mod bench;
pub mod client;
pub mod limits;
pub mod types;
pub mod wire;
