//! ringkeeper.

pub mod limits;
pub mod storage;
pub mod sys;
pub mod tree;
pub mod types;
pub mod wire;
