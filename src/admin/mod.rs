//! Operator's faces.
pub mod four_letter;
