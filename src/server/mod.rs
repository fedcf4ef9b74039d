//! Placement, start and stop.

pub mod logging;
