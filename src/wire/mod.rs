//! The bytes of the protocol: jute records of clients, peers and files. A leaf: knows no state.

pub mod client;
pub mod codes;
pub mod four_letter;
pub mod frame;
pub mod jute;
pub mod txn;
