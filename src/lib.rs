//! ringkeeper.

pub mod config;
pub mod limits;
pub mod sys;
pub mod tree;
pub mod storage;
pub mod server;
pub mod types;
pub mod wire;
