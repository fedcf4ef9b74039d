//! ringkeeper.

pub mod config;
pub mod limits;
pub mod sys;
pub mod tree;
pub mod storage;
pub mod server;
pub mod auth;
pub mod session;
pub mod types;
pub mod watch;
pub mod wire;
