//! A daemon that runs for as long as the tests do. Owns its process: starting it, waiting until it answers, ending
//! it in good order; what it serves is not its affair.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{api::Api, explained_by, log_to};
use crate::commands::say;

/// A daemon's first start on a slow disk takes seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Docker's gives its containers 10 seconds.
const END_LIMIT: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A command of `program` that gets a TERM from the kernel when this process ends, by Ctrl-C or SIGKILL too.
pub(super) fn daemon_command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]);
    command
}

pub(super) struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// Starts what `command`, one of [`daemon_command`], says, and waits until `api` answers.
    pub(super) fn start(program: &str, mut command: Command, api: &Api, log: &Path) -> Result<Self, String> {
        log_to(command.stdin(Stdio::null()), log)?;
        say(&format!("{program} is started for the tests, with its log in {}", log.display()));
        let child = command.spawn().map_err(|error| format!("start {program}: {error}"))?;
        let mut daemon = Self { name: program.to_owned(), child };
        daemon.wait_until_answers(api).map_err(|failure| explained_by(log, &failure))?;
        Ok(daemon)
    }

    fn wait_until_answers(&mut self, api: &Api) -> Result<(), String> {
        let end = Instant::now() + START_LIMIT;
        while Instant::now() < end {
            if api.answers().is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended at once ({status})", self.name));
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        Err(format!("{} did not answer within {} seconds", self.name, START_LIMIT.as_secs()))
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not yet waited for, so its id is still its own. The standard library sends KILL alone, and the program
        // `kill` is not on every system.
        if let Ok(None) = self.child.try_wait() {
            let terminate = format!("kill -TERM {}", self.child.id());
            let sent = Command::new("sh").args(["-c", &terminate]).status();
            if !sent.is_ok_and(|status| status.success()) || !self.ends_within(END_LIMIT) {
                say(&format!("{} did not end when asked to, and is killed", self.name));
                // It may have ended in between.
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;
    use crate::containers::Scratch;

    #[test]
    fn a_daemon_that_ends_instead_of_answering_is_explained_by_its_log() {
        let scratch = Scratch::new(&env::temp_dir(), "daemon").unwrap();
        let api = Api::at(scratch.0.join("socket"));
        let mut command = daemon_command("sh");
        command.args(["-c", "echo no cgroups; exit 1"]);
        let failure = Daemon::start("sh", command, &api, &scratch.0.join("log")).err().unwrap();
        assert!(failure.starts_with("sh ended at once"), "{failure}");
        assert!(failure.ends_with("no cgroups"), "{failure}");
    }

    #[test]
    fn a_daemon_may_end_in_its_own_time() {
        let scratch = Scratch::new(&env::temp_dir(), "ending").unwrap();
        let farewell = scratch.0.join("farewell");
        let script = format!("trap 'echo bye > {}; exit' TERM; echo; read line", farewell.display());
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        drop(Daemon { name: "sh".into(), child });
        assert_eq!(std::fs::read_to_string(farewell).unwrap(), "bye\n");
    }
}
