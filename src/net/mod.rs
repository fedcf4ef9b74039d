//! Sockets: completions in, submissions out, with two kernels' faces behind one type.
//!
//! [`driver`] is what a thread's loop sees; [`uring`] and [`epoll`] are its backends, [`probe`]
//! chooses between them; frames are found by `wire::frame` in what a driver delivers.
//! Not here: the bytes' meaning (`wire/`), whose thread runs which driver (`server/`).

pub mod driver;
pub mod epoll;
pub mod probe;
pub mod uring;

#[cfg(test)]
mod tests;
