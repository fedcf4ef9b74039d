//! ringkeeper.

pub mod bench;
pub mod client;
pub mod limits;
pub mod shell;
pub mod types;
pub mod wire;
