//! ringkeeper.

pub mod limits;
pub mod storage;
pub mod sys;
pub mod types;
pub mod wire;
