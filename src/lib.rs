//! ringkeeper.

pub mod limits;
pub mod types;
pub mod wire;
