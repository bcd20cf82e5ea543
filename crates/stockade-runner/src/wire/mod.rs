//! The language between a host and its runner: what is said (`message`) and how it becomes bytes (`frame`).
//! It does no input or output of its own, so that it works over any byte stream, blocking or not.

pub mod frame;
pub mod message;
