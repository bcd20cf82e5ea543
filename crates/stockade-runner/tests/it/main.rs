//! Drives the real runner over its wire, one file per behaviour that it promises.

mod background;
mod cancel;
mod environment;
mod files;
mod first_process;
mod harness;
mod host;
mod keepers;
mod languages;
mod linger;
mod live;
mod manifest;
mod memory;
mod output;
mod ownership;
mod source;
mod spawn;
mod stress;
mod timeout;
mod transfer;
mod tree;
mod unendable;
mod usage;
mod users;
mod wire;
mod workspace;
