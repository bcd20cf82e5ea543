//! Starts the command in a directory of its own, with nothing of the outer environment but what finds programs.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Long enough for a loaded machine; a test that waits longer has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory in which the command is run.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().expect("a temporary directory can be made") }
    }

    /// A place with one file.
    pub(crate) fn with(name: &str, contents: impl AsRef<[u8]>) -> Self {
        let place = Self::new();
        place.write(name, contents);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), contents).expect("the file can be written");
    }

    /// The command with these arguments, not yet started.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args(args).current_dir(self.path()).env_clear();
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn stockade<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        Ended::new(self.command(args).output().expect("the command starts"))
    }

    /// Runs the command to its end with `input` on stdin.
    pub(crate) fn stockade_reading<A: AsRef<OsStr>>(
        &self,
        input: impl AsRef<[u8]>,
        args: impl IntoIterator<Item = A>,
    ) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the command starts");
        child
            .stdin
            .take()
            .expect("stdin is a pipe")
            .write_all(input.as_ref())
            .expect("the command reads stdin");
        Ended::new(child.wait_with_output().expect("the command ends"))
    }
}

/// What a command that has ended leaves: its streams as text, and its exit status.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<i32>,
}

impl Ended {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Each line of stdout as JSON.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
        self.stdout.lines().map(read).collect()
    }
}

/// Everything on one page, for snapshots.
impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stdout, stderr, status } = self;
        write!(formatter, "status: {status:?}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}

/// Compares with a snapshot in which times and places are the same on every machine.
macro_rules! assert_page {
    ($ended:expr, @$snapshot:literal) => {
        insta::with_settings!({filters => vec![
            // With what fills its column up to the longest.
            (r"\d+(\.\d+)? m?s {2,}", "[time]  "),
            (r"\d+(\.\d+)? m?s\b", "[time]"),
            (r"(/[\w.+-]+)+/tmp_code_[0-9a-f]{64}", "[dir]/tmp_code_[sha256]"),
            (r"tmp_code_[0-9a-f]{64}", "tmp_code_[sha256]"),
        ]}, { insta::assert_snapshot!($ended, @$snapshot) })
    };
}
pub(crate) use assert_page;

/// `None` when the calling test is to be skipped, which is said aloud; where `STOCKADE_TEST_REQUIRE` asks for the word
/// it fails instead. `why` says what is missing.
pub(crate) fn need(word: &str, is_there: bool, why: &str) -> Option<()> {
    if is_there {
        return Some(());
    }
    let required = std::env::var("STOCKADE_TEST_REQUIRE").unwrap_or_default();
    let required = required.split(',').map(str::trim).any(|required| required == word || required == "all");
    assert!(!required, "STOCKADE_TEST_REQUIRE asks for {word}: {why}");
    // Not by `eprintln!`: what that prints is shown for failed tests only.
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "skipped: {name} needs {word}: {why}");
    None
}

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the command's end, and ends the test when it does not come.
pub(crate) fn wait_for_end(mut child: Child) -> Ended {
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let status = wait_for("the end of the command", || child.try_wait().expect("the command is ours"));
    let read = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        stream.map(|stream| stream.read_to_end(&mut bytes).expect("the pipe is readable"));
        bytes
    };
    Ended::new(Output {
        status,
        stdout: read(stdout.as_mut().map(|stream| stream as &mut dyn Read)),
        stderr: read(stderr.as_mut().map(|stream| stream as &mut dyn Read)),
    })
}
