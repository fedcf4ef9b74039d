//! ringkeeper.

pub mod auth;
pub mod limits;
pub mod session;
pub mod types;
pub mod watch;
pub mod wire;
