//! Our client library: so far its lowest layer, one blocking connection.

pub mod clock;
pub mod raw;
