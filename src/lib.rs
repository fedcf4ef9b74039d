//! ringkeeper.

pub mod limits;
pub mod net;
pub mod sys;
pub mod types;
pub mod wire;
