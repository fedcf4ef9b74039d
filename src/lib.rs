//! ringkeeper.

pub mod limits;
pub mod sys;
pub mod types;
pub mod wire;
