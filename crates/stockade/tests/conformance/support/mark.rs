//! Marks: a variable in the environment of a block, by which its processes are known, whatever they call
//! themselves and whoever their parent is. They are looked for from inside, by a block that has no mark, and on
//! this host.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    sync::atomic::{AtomicU32, Ordering},
    time::{Instant, SystemTime},
};

use stockade::{CodeBlock, Session};

use super::{PATIENCE, eventually, output, python};

const NAME: &str = "STOCKADE_TEST_MARK";

/// Prints the process id and command line of each that has the mark.
const LOOK: &str = r"
import os
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        environ = open(f'/proc/{pid}/environ', 'rb').read().split(b'\0')
        if MARK in environ:
            print(pid, open(f'/proc/{pid}/cmdline', 'rb').read())
    except OSError:
        pass
";

/// Tries every way out of a tree of processes; prints `ready` when all of them are on it. Then it goes on with
/// whatever code follows.
const ESCAPES: &str = r"
import os, signal, subprocess, sys, time

def child(escape):
    ready, up = os.pipe()
    if os.fork() == 0:
        escape()
        os.write(up, b'.')
        while True:
            time.sleep(600)
    os.read(ready, 1)

def ignore_term():
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)

def new_group():
    os.setpgid(0, 0)

def new_session():
    os.setsid()
    ignore_term()

def daemon():
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    ignore_term()

def without_pipes():
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1); os.dup2(nothing, 2)
    daemon()

escapes = [ignore_term, new_group, new_session, daemon, without_pipes]
for escape in escapes:
    child(escape)
stopped = subprocess.Popen(['sleep', '600'])
stopped.send_signal(signal.SIGSTOP)
subprocess.run(['sh', '-c', 'nohup sleep 600 >/dev/null 2>&1 &'], check=True)
print('ready', flush=True)
";

/// How many processes `ESCAPES` leaves besides its own.
pub(crate) const ESCAPED: usize = 7;

/// A block that leaves [`ESCAPED`] processes and then does what `rest` says.
pub(crate) fn escapes(rest: &str) -> CodeBlock {
    python(format!("{ESCAPES}{rest}"))
}

/// The mark of one test.
#[derive(Debug, Clone)]
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{number}-{}", std::process::id(), now.as_nanos()))
    }

    /// One that another process has made.
    pub(crate) fn of(value: &str) -> Self {
        Self(value.to_owned())
    }

    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    pub(crate) fn value(&self) -> &str {
        &self.0
    }

    /// Who has it, as a block of the session sees it.
    pub(crate) async fn seen_inside(&self, session: &Session) -> Vec<String> {
        output(session, self.look()).await.lines().map(str::to_owned).collect()
    }

    /// Waits until so many processes are seen inside: one that is about to execute its program shows no environment.
    pub(crate) async fn count_inside(&self, session: &Session, expected: usize) {
        let started = Instant::now();
        loop {
            let seen = self.seen_inside(session).await;
            if seen.len() == expected {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {expected} marked processes: {seen:?}");
        }
    }

    /// A block that prints a line for each who has it.
    pub(crate) fn look(&self) -> CodeBlock {
        python(format!("MARK = b'{NAME}={}'\n{LOOK}", self.0))
    }

    /// Who has it, as this process sees it.
    pub(crate) fn seen_on_host(&self) -> Vec<String> {
        let mark = format!("{NAME}={}", self.0);
        let marked = |directory: &fs::DirEntry| {
            let numbered = directory.file_name().as_bytes().iter().all(u8::is_ascii_digit);
            let environ = fs::read(directory.path().join("environ")).unwrap_or_default();
            numbered && environ.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
        processes.filter(marked).map(|directory| describe(&directory)).collect()
    }

    /// The same on this host.
    pub(crate) async fn count_on_host(&self, expected: usize) {
        eventually("all marked processes", || (self.seen_on_host().len() == expected).then_some(())).await;
    }

    /// Waits until nobody on this host has it.
    pub(crate) async fn gone_from_host(&self) {
        eventually("the end of all marked processes", || self.seen_on_host().is_empty().then_some(())).await;
    }
}

fn describe(process: &fs::DirEntry) -> String {
    let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
    format!("{} {}", process.file_name().display(), command.escape_ascii())
}
