//! This test once more, in a process of its own: to be killed, or to have a process's descriptors and memory for
//! itself. The test begins by asking which of the two it is.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

pub(crate) const ROLE: &str = "STOCKADE_TEST_RESPAWNED";

/// What the first line of the second process's own is preceded by: the test harness prints to stdout too.
const SAYS: &str = "respawned: ";

/// Whether this is the second process.
pub(crate) fn is_respawned() -> bool {
    env::var_os(ROLE).is_some()
}

/// Tells the first process something.
pub(crate) fn say(line: &str) {
    println!("\n{SAYS}{line}");
}

/// A second process that runs the same test.
#[derive(Debug)]
pub(crate) struct Respawned {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Respawned {
    /// Starts it; `test` is the full name of the test that asks.
    pub(crate) fn new(test: &str) -> Self {
        let mut command = Command::new(env::current_exe().expect("this program has a path"));
        command.stdin(Stdio::null());
        Self::by(command, test)
    }

    /// Starts it by a command that becomes this program with the arguments that are added.
    pub(crate) fn by(mut command: Command, test: &str) -> Self {
        command.args([test, "--exact", "--nocapture"]).env(ROLE, "yes");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, stdout }
    }

    /// What it says next.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.stdout.read_line(&mut line).expect("its stdout is text");
            assert_ne!(length, 0, "the respawned test ended: {:?}", self.child.wait());
            if let Some(said) = line.trim_end().strip_prefix(SAYS) {
                return said.to_owned();
            }
        }
    }

    /// Ends it with SIGKILL, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it has ended");
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn succeed(mut self) {
        let mut rest = String::new();
        while self.stdout.read_line(&mut rest).expect("its stdout is text") > 0 {}
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}\n{rest}");
        // A wrong name would run no test, and succeed.
        assert!(rest.contains("1 passed"), "{rest}");
    }
}

/// One that a failed test leaves must not live on.
impl Drop for Respawned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
