//! Starts the real runner and is its host: speaks the wire over a pipe or a socket, and remembers everything
//! that was heard. Owns the waiting: a test waits for a reply, a file or an end, never for time to pass, and
//! fails when it waited for longer than any machine needs. It reads only when a test waits, so a test that
//! does not wait is a host that does not read. Whoever starts a runner here is also made to leave nothing: a
//! test fails when a process of its session survives it.

pub(crate) mod needs;
pub(crate) mod processes;
mod setup;
mod transcript;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, kill_process},
};
use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    frame::{Decoder, encode},
    message::{Changes, Entry, Failure, Part, Reply, Request, RunId, RunSpec, Variable},
};
use tempfile::TempDir;

pub(crate) use self::{
    setup::{RUNNER, Setup},
    transcript::{Ran, exited},
};

/// Long enough for a loaded machine; a test that waits longer has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A runner, seen by its host.
pub(crate) struct Runner {
    process: Child,
    /// As the runner told it, or of the process that was started.
    pub(crate) pid: u32,
    to_runner: Option<File>,
    from_runner: Option<File>,
    /// Both directions are one socket.
    socket: bool,
    decoder: Decoder,
    heard: Vec<Reply>,
    next_id: u64,
    /// What every process of this session has in its environment.
    mark: String,
    workspace: PathBuf,
    _folder: Option<TempDir>,
}

impl Runner {
    /// A runner with a session, over pipes, in a workspace of its own.
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    // Asking.

    pub(crate) fn send(&mut self, request: &Request) {
        self.write(&encode(request).expect("the request fits in a frame")).expect("the runner reads");
    }

    /// Writes bytes that need not be a frame.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to_runner.as_mut().expect("the stream is open").write_all(bytes)
    }

    /// Asks for a run and gives the number that it got.
    pub(crate) fn run(&mut self, spec: RunSpec) -> RunId {
        let run = self.next_id();
        self.send(&Request::Run(RunSpec { run, ..spec }));
        run
    }

    /// Asks for a run and for something else in one breath.
    pub(crate) fn run_and(&mut self, spec: RunSpec, then: impl FnOnce(RunId) -> Request) -> RunId {
        let run = self.next_id();
        let requests = [Request::Run(RunSpec { run, ..spec }), then(run)];
        let frames = requests.map(|request| encode(&request).expect("the request fits in a frame"));
        self.write(&frames.concat()).expect("the runner reads");
        run
    }

    /// Runs a block to its end.
    pub(crate) fn ran(&mut self, spec: RunSpec) -> Ran {
        let run = self.run(spec);
        self.finished(run)
    }

    /// Saves something in the workspace. Gives its absolute path.
    pub(crate) fn save(&mut self, path: impl AsRef<[u8]>, entry: Entry) -> Result<PathBuf, Failure> {
        let id = self.next_id();
        self.send(&Request::Write { id, path: ByteBuf::from(path.as_ref()), entry });
        let written = self.wait_for("the answer", |reply| match reply {
            Reply::Written { id: of, result } if *of == id => Some(result.clone()),
            _ => None,
        });
        written.map(|path| OsString::from_vec(path.into_vec()).into())
    }

    /// Reads a part of a file in the workspace.
    pub(crate) fn read_part(
        &mut self,
        path: impl AsRef<[u8]>,
        offset: u64,
        length: u64,
    ) -> Result<Part, Failure> {
        let id = self.next_id();
        self.send(&Request::Read { id, path: ByteBuf::from(path.as_ref()), offset, length });
        self.wait_for("the answer", |reply| match reply {
            Reply::Read { id: of, result } if *of == id => Some(result.clone()),
            _ => None,
        })
    }

    /// Asks what has changed in the workspace.
    pub(crate) fn changes(&mut self) -> Changes {
        let id = self.next_id();
        self.send(&Request::Changes { id });
        self.wait_for("the answer", |reply| match reply {
            Reply::Changes { id: of, changes } if *of == id => Some(changes.clone()),
            _ => None,
        })
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Ends the stream to the runner.
    pub(crate) fn hang_up(&mut self) {
        self.to_runner = None;
        if self.socket {
            self.from_runner = None;
        }
    }

    /// Has the runner end everything. Gives what it could not end.
    pub(crate) fn stop(&mut self) -> Vec<u32> {
        self.send(&Request::Stop);
        let survivors = self.wait_for("the end of everything", |reply| match reply {
            Reply::Stopped { survivors } => Some(survivors.clone()),
            _ => None,
        });
        assert_eq!(self.reply(), None, "nothing follows the last message");
        self.exit();
        survivors
    }

    /// Closes the stream from the runner.
    pub(crate) fn stop_listening(&mut self) {
        self.from_runner = None;
    }

    // Hearing.

    /// The next reply; `None` at the end of the stream.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(reply) = self.decoder.next::<Reply>().expect("the runner sends messages") {
                self.heard.push(reply.clone());
                return Some(reply);
            }
            if self.read(until) == 0 {
                self.decoder.finish().expect("the stream ends between two messages");
                return None;
            }
        }
    }

    fn read(&mut self, until: Instant) -> usize {
        let stream = self.from_runner.as_mut().expect("the stream is open");
        let left = until.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(stream, PollFlags::IN)];
        let timeout = left.try_into().expect("the patience is no more than a minute");
        let found = poll(&mut ready, Some(&timeout)).expect("the stream can be polled");
        assert!(found > 0, "the runner says nothing more; the last it said: {:?}", self.heard.last());
        let mut buffer = vec![0; 256 << 10];
        let length = match stream.read(&mut buffer) {
            // So a socket ends when the runner did not read all that it was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            length => length.expect("the stream can be read"),
        };
        self.decoder.push(&buffer[..length]);
        length
    }

    /// The first reply, of all that came and will come, that `pick` picks something of.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&Reply) -> Option<T>) -> T {
        if let Some(picked) = self.heard.iter().find_map(&mut pick) {
            return picked;
        }
        loop {
            let reply = self.reply();
            let reply = reply.unwrap_or_else(|| panic!("the stream ended, and {what} had not come"));
            if let Some(picked) = pick(&reply) {
                return picked;
            }
        }
    }

    /// Waits until the run's process runs.
    pub(crate) fn started(&mut self, wanted: RunId) {
        self.wait_for("the start of the run", |reply| {
            matches!(reply, Reply::Started { run, .. } if *run == wanted).then_some(())
        });
    }

    /// Waits for the run's end and gives all that was told of it until then.
    pub(crate) fn finished(&mut self, wanted: RunId) -> Ran {
        let result = self.wait_for("the end of the run", |reply| match reply {
            Reply::Finished { run, result } if *run == wanted => Some(result.clone()),
            _ => None,
        });
        Ran::new(wanted, result, &self.heard)
    }

    /// Waits until everything that was sent before has been heard by the runner.
    pub(crate) fn round_trip(&mut self) {
        self.heard.retain(|reply| *reply != Reply::Heartbeat);
        self.send(&Request::Heartbeat);
        self.wait_for("an answer", |reply| (*reply == Reply::Heartbeat).then_some(()));
    }

    /// All replies until now.
    pub(crate) fn heard(&self) -> &[Reply] {
        &self.heard
    }

    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    // The runner's process.

    /// Waits for the end of the runner's process.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        wait_until("the end of the runner", || self.process.try_wait().expect("it is our child"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid as i32).expect("a pid is not 0");
        kill_process(pid, signal).expect("the runner is there");
    }

    /// The most memory that the runner ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        peak_memory(self.pid)
    }

    /// The same of the process that was started, which need not be the runner.
    pub(crate) fn peak_memory_of_process(&self) -> u64 {
        peak_memory(self.process.id())
    }

    /// The stream on which the runner is heard.
    pub(crate) fn stream(&self) -> &File {
        self.from_runner.as_ref().expect("the stream is open")
    }

    /// The processes of this session's blocks that run now: pid and command line of each.
    pub(crate) fn survivors(&self) -> Vec<String> {
        processes::marked(&self.mark)
    }

    /// Waits until no process of this session's blocks runs.
    pub(crate) fn wait_for_no_survivor(&self) {
        wait_until_equal("the processes of the session", Vec::<String>::new(), || self.survivors());
    }

    // The workspace.

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    /// What blocks wait for with [`wait_for_file`].
    pub(crate) fn touch(&self, name: &str) {
        fs::write(self.path(name), "").expect("the workspace is writable");
    }

    /// Waits until a block has made the file, and gives what is in it.
    pub(crate) fn file(&self, name: &str) -> String {
        wait_until(name, || fs::read_to_string(self.path(name)).ok())
    }

    /// The names in the workspace, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.workspace).expect("the workspace is there");
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("names in tests are text")
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.hang_up();
        if std::thread::panicking() {
            let _ = self.process.kill();
            let _ = self.process.wait();
            return;
        }
        self.exit();
        self.wait_for_no_survivor();
    }
}

fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// A block of shell code.
pub(crate) fn sh(code: impl AsRef<[u8]>) -> RunSpec {
    block("sh", code)
}

/// A block with nothing special about it.
pub(crate) fn block(language: &str, code: impl AsRef<[u8]>) -> RunSpec {
    RunSpec {
        language: language.to_owned(),
        code: ByteBuf::from(code.as_ref()),
        timeout_ms: PATIENCE.as_millis() as u64,
        output_limit: 1 << 20,
        ..RunSpec::default()
    }
}

/// A regular file that holds these bytes, as a request saves it.
pub(crate) fn whole(contents: impl AsRef<[u8]>) -> Entry {
    Entry::File { offset: 0, executable: false, contents: ByteBuf::from(contents.as_ref()) }
}

/// A block that is out of time soon, though not before it has printed a line on any machine.
pub(crate) fn soon_out_of_time(spec: RunSpec) -> RunSpec {
    RunSpec { timeout_ms: 1000, ..spec }
}

pub(crate) fn variable(name: &str, value: impl AsRef<[u8]>) -> Variable {
    (ByteBuf::from(name), ByteBuf::from(value.as_ref()))
}

/// Shell code that waits for a file in the workspace.
pub(crate) fn until_file(name: &str) -> String {
    format!("while [ ! -e {name} ]; do sleep 0.02; done")
}

/// Asks until there is an answer: for what nothing tells of.
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until the answer is this one, and shows the last one when it never is.
pub(crate) fn wait_until_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: T,
    mut ask: impl FnMut() -> T,
) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = ask();
        if found == expected {
            return;
        }
        assert!(Instant::now() < until, "{what}: waited in vain for {expected:?}, found {found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
