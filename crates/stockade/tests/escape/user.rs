//! A test once more as an ordinary user: root's test runs itself again. Owns who that is, and what the second process
//! tells the first.

use std::{env, fs, path::PathBuf};

use crate::{
    place::is_root,
    support::{need, ordinary::Ordinary as User, respawn::Respawned},
};

/// Nobody's number.
const ORDINARY: u32 = 65533;
/// A file that the second process writes to, as it likes; that it is set tells which of the two it is.
pub(crate) const NOTES: &str = "STOCKADE_TEST_NOTES";

/// Where the second process writes, in that.
pub(crate) fn notes() -> Option<PathBuf> {
    env::var_os(NOTES).map(PathBuf::from)
}

/// Runs the test, and once more as an ordinary user.
pub(crate) fn each(test: &str, run: impl FnOnce()) {
    run();
    if notes().is_none()
        && let Some(ordinary) = Ordinary::new()
    {
        ordinary.run(test);
    }
}

/// The user.
pub(crate) struct Ordinary(User);

impl Ordinary {
    /// When this is root, who alone can become another.
    pub(crate) fn new() -> Option<Self> {
        let can_become = is_root() && need::has_program("setpriv", "setpriv", &["--version"]);
        can_become.then(|| Self(User::new(ORDINARY, ORDINARY)))
    }

    /// Runs a test, which must succeed, and gives what it noted.
    pub(crate) fn run(&self, test: &str) -> String {
        let notes = self.0.path("home/notes");
        let mut command = self.0.command();
        command.env(NOTES, &notes);
        Respawned::by(command, test).succeed();
        fs::read_to_string(notes).unwrap_or_default()
    }
}
