//! ringkeeper.

pub mod auth;
pub mod limits;
pub mod session;
pub mod sys;
pub mod tree;
pub mod types;
pub mod watch;
pub mod wire;
