//! An ordinary user, for tests that root's program runs once more as him. Owns what is his, and becoming him.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::chown,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// Of a user who has set nothing up.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A user without rights, by his number and his group's, with a home and a place for temporary files.
pub(crate) struct Ordinary {
    user: u32,
    group: u32,
    folder: TempDir,
}

impl Ordinary {
    /// Makes what is his, as root alone can. All of it goes with this, as a process that ends at once leaves what it has
    /// not yet removed.
    pub(crate) fn new(user: u32, group: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let own = Self { user, group, folder };
        for name in ["home", "tmp"] {
            fs::create_dir(own.path(name)).expect("the folder is ours");
            chown(own.path(name), Some(user), Some(group)).expect("root gives it away");
        }
        chown(own.path(""), Some(user), Some(group)).expect("root gives it away");
        own
    }

    /// A path in his folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that becomes this program as him. The program's file is handed over open, for he may have no way to it.
    pub(crate) fn command(&self) -> Command {
        let program = File::open("/proc/self/exe").expect("this program can be read");
        let mut command = Command::new("setpriv");
        let user = [format!("--reuid={}", self.user), format!("--regid={}", self.group)];
        command.args(user).args(["--clear-groups", "/proc/self/fd/0"]).stdin(Stdio::from(program));
        let told = env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STOCKADE_TEST_"));
        command.env_clear().envs(told).current_dir("/");
        command.env("PATH", PATH).env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command
    }
}
