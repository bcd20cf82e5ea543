//! Giving up privileges: no program can gain any, and every capability is dropped, root's too.

use std::io;

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};

/// Capabilities that fit into a set; there are fewer, and the kernel tells which is none.
const MOST_CAPABILITIES: u32 = u64::BITS;

/// Gives up everything, for this thread and what it will start.
pub(super) fn give_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    empty_bounding_set()?;
    // Kernels without such a set refuse; it is a part of the permitted one, so nothing of it is left below.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

/// Empties the set of what programs of root's can be given. Who may not do so has no need to: without new privileges
/// no program gets more than this process has.
fn empty_bounding_set() -> io::Result<()> {
    for number in 0..MOST_CAPABILITIES {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Not allowed, or beyond the last.
            Err(Errno::PERM | Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
