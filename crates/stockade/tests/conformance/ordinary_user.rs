//! The suite once more as an ordinary user, at both levels of the sandbox: what root's code is held by differs from what
//! holds his. Only root can become him, so root's run does it; any other user's run is an ordinary one by itself.

use std::env;

use crate::support::{need, ordinary::Ordinary};

/// Nobody's number.
const ORDINARY: u32 = 65532;
/// The tests of the places that are in the sandbox.
const IN_THE_SANDBOX: [&str; 2] = ["::namespaces::", "::landlock::"];

#[test]
fn an_ordinary_user_is_promised_the_same_in_the_sandbox() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !need::has_program("setpriv", "setpriv", &["--version"]) {
        return;
    }
    let user = Ordinary::new(ORDINARY, ORDINARY);
    // What cargo sets stands for a secret in some cases.
    let of_cargo = env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CARGO_PKG"));
    let run = user.command().args(IN_THE_SANDBOX).envs(of_cargo).output().expect("this program starts");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
    // Filters that fit no test would succeed.
    assert!(told.contains("cases::order::landlock::"), "{told}");
}
