//! ringkeeper.

pub mod limits;
pub mod sys;
pub mod tree;
pub mod storage;
pub mod types;
pub mod wire;
