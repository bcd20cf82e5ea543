//! The cases, by line of the contract.

mod background; // 6
mod cancel; // 7
mod cleanup; // 12
mod concurrent; // 11
mod deadline; // 4
mod environment; // 10
mod errors; // 14
mod events; // 8
mod files; // 1
mod languages; // 13
mod manifest;
mod order; // 2
mod output; // 8
mod policy; // 15
mod result; // 3
mod survivors; // 5
mod terminal; // 9 // 16
// What no line has to itself.
mod get_file;
mod odd_input;
mod put_file;
mod shell_lines;
