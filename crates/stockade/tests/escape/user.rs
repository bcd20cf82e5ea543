//! A test once more as an ordinary user: root's test runs itself again. Owns that user, and what is his.

use std::{
    env,
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{place::is_root, support::need};

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
        && let Some(mut ordinary) = Ordinary::new()
    {
        ordinary.run(test);
    }
}

/// The user's own folder.
pub(crate) struct Ordinary {
    folder: TempDir,
}

impl Ordinary {
    /// When this is root, who alone can become another.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() || !need::has_program("setpriv", "setpriv", &["--version"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("it is ours");
        for name in ["home", "tmp"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("the folder is ours");
            chown(path, Some(ORDINARY), Some(ORDINARY)).expect("this is root");
        }
        Some(Self { folder })
    }

    /// Runs a test, which must succeed, and gives what it noted.
    pub(crate) fn run(&mut self, test: &str) -> String {
        let path = |name: &str| self.folder.path().join(name);
        let notes = path("home/notes");
        // By its descriptor: the user may have no way to its folder.
        let program = File::open(env::current_exe().expect("this program has a path")).expect("it is there");
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                &ORDINARY.to_string(),
                "--regid",
                &ORDINARY.to_string(),
                "--clear-groups",
                "--",
            ])
            .args(["/proc/self/fd/0", test, "--exact", "--nocapture"])
            .env("HOME", path("home"))
            .env("TMPDIR", path("tmp"))
            .env(NOTES, &notes)
            .current_dir(Path::new("/"))
            .stdin(Stdio::from(program))
            .output()
            .expect("setpriv runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        // A wrong name would run no test, and succeed.
        let is_fine = output.status.success() && said.contains("1 passed");
        assert!(is_fine, "as an ordinary user, {test}: {}\n{said}", output.status);
        fs::read_to_string(notes).unwrap_or_default()
    }
}
