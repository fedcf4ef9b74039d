//! ringkeeper.

pub mod config;
pub mod limits;
pub mod server;
pub mod types;
pub mod wire;
