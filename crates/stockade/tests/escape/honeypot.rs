//! What of this host attempts aim at: files, sockets, processes and objects of the kernel's, made for one run of the
//! attempts and watched. Owns the program that makes them (`honeypot.py`), as a child.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::place::daemon;

const PROGRAM: &str = include_str!("honeypot.py");

/// Makes them, and tells what was done to them.
pub(crate) struct Honeypot {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// By names that attempts use.
    pub(crate) names: Map<String, Value>,
    _folder: TempDir,
}

impl Honeypot {
    pub(crate) fn new() -> Self {
        let home = env::var_os("HOME").map_or_else(env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix(".stockade-test-").tempdir_in(home);
        let folder = folder.expect("a folder can be made in the home");
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut names: Map<String, Value> = read(&mut stdout);
        names.insert("TEST".to_owned(), std::process::id().into());
        let daemon = daemon().and_then(|daemon| daemon.strip_prefix("unix://").map(str::to_owned));
        names.insert("DAEMON".to_owned(), daemon.unwrap_or_else(|| "/var/run/docker.sock".to_owned()).into());
        Self { child, stdin, stdout, names, _folder: folder }
    }

    /// A path that attempts know by a name.
    pub(crate) fn path(&self, name: &str) -> &Path {
        Path::new(self.names[name].as_str().expect("it is text"))
    }

    /// What was done to them: nothing, it is to be hoped.
    pub(crate) fn touched(mut self) -> Vec<String> {
        self.stdin.write_all(b"\n").expect("it listens");
        read(&mut self.stdout)
    }
}

fn read<T: serde::de::DeserializeOwned>(stdout: &mut impl BufRead) -> T {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it is text");
    serde_json::from_str(&line).expect("the honeypot says what it has")
}

/// Its processes end with it.
impl Drop for Honeypot {
    fn drop(&mut self) {
        let _ = self.stdin.write_all(b"\n");
        let _ = self.child.wait();
    }
}
