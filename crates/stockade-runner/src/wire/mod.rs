//! The language between a host and its runner: what is said (`message`, and `confinement` as a part of it), how it
//! becomes bytes (`frame`), and what a host shows that comes back (`token`).
//! It does no input or output of its own, so that it works over any byte stream, blocking or not.

mod confinement;
pub mod frame;
pub mod message;
pub mod token;
