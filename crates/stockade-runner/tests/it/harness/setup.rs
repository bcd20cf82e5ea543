//! How a runner is started: its command line and environment, its stream, its session.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    frame::Decoder,
    message::{Reply, Request, SessionSpec, VERSION},
    token,
};
use tempfile::TempDir;

use super::{Runner, needs, processes::MARK, variable};

/// What the tests run.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_stockade-runner");

/// A runner that is to be started.
pub(crate) struct Setup {
    /// What is started in the runner's place and becomes it.
    before: Vec<OsString>,
    executable: PathBuf,
    /// What the executable is asked to be.
    role: &'static str,
    /// Sent before anything else.
    shown: Vec<u8>,
    environment: Vec<(OsString, OsString)>,
    /// The process that the runner is told is its host; then the stream is a socket.
    host: Option<u32>,
    pub(crate) session: SessionSpec,
    workspace: PathBuf,
    folder: Option<TempDir>,
    mark: String,
}

impl Setup {
    /// A workspace of its own, over pipes, and of the outer environment only what finds programs.
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("stockade-test-").expect("a temporary directory can be made");
        let mut setup = Self::at(folder.path());
        setup.folder = Some(folder);
        setup
    }

    /// In a workspace that somebody else takes care of.
    pub(crate) fn at(workspace: &Path) -> Self {
        let mark = new_mark();
        let session = SessionSpec {
            workspace: ByteBuf::from(workspace.as_os_str().as_bytes()),
            env: vec![variable(MARK, &mark)],
            ..SessionSpec::default()
        };
        let inherited = ["HOME", "LLVM_PROFILE_FILE"];
        let inherited = inherited.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let path = [("PATH".into(), needs::path())];
        Self {
            before: Vec::new(),
            executable: RUNNER.into(),
            role: "stdio",
            shown: Vec::new(),
            environment: inherited.chain(path).collect(),
            host: None,
            session,
            workspace: workspace.to_owned(),
            folder: None,
            mark,
        }
    }

    /// Over a socket, as a child of the process `host`.
    pub(crate) fn local(mut self, host: u32) -> Self {
        self.host = Some(host);
        self.role = "local";
        self
    }

    /// From a copy of the executable.
    pub(crate) fn from(mut self, executable: &Path) -> Self {
        self.executable = executable.to_owned();
        self
    }

    /// As one that waits for another host, who knows the token, when this one is gone.
    pub(crate) fn lingering(mut self, token: Option<&str>) -> Self {
        self.role = "linger";
        self.session.token = token.map(ByteBuf::from);
        self
    }

    /// By way of a relay to one that waits for a host.
    pub(crate) fn relayed(mut self, token: &str) -> Self {
        self.role = "connect";
        self.shown = token::encode(token.as_bytes());
        self
    }

    /// Starts the runner by way of another command, which takes the runner's as its last arguments.
    pub(crate) fn through<S: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.before = command.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Sets a variable of the runner's own environment.
    pub(crate) fn outer_env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the session.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.session.env.push(variable(name, value.as_ref().as_bytes()));
        self
    }

    pub(crate) fn cleanup_temp_files(mut self) -> Self {
        self.session.cleanup_temp_files = true;
        self
    }

    /// Starts the runner and its session.
    pub(crate) fn start(self) -> Runner {
        let session = self.session.clone();
        let mut runner = self.connect();
        assert_eq!(runner.reply(), Some(Reply::Hello { version: VERSION }));
        runner.send(&Request::Start(session));
        match runner.reply() {
            Some(Reply::Ready { pid, .. }) => runner.pid = pid,
            other => panic!("the session did not start: {other:?}"),
        }
        runner.forget();
        runner
    }

    /// Starts the runner, and no session.
    pub(crate) fn connect(self) -> Runner {
        let words = self.before.iter().map(OsString::as_os_str).chain([self.executable.as_os_str()]);
        let words: Vec<&OsStr> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.role).env_clear().envs(self.environment);
        let (process, to_runner, from_runner) = match self.host {
            Some(host) => over_socket(&mut command, host),
            None => over_pipes(&mut command),
        };
        let mut runner = Runner {
            pid: process.id(),
            process,
            to_runner: Some(to_runner),
            from_runner: Some(from_runner),
            socket: self.host.is_some(),
            decoder: Decoder::new(),
            heard: Vec::new(),
            next_id: 0,
            mark: self.mark,
            workspace: self.workspace,
            _folder: self.folder,
        };
        // A relay that finds no runner has ended by now.
        let _ = runner.write(&self.shown);
        runner
    }
}

fn over_pipes(command: &mut Command) -> (Child, File, File) {
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the runner starts");
    let to_runner = OwnedFd::from(process.stdin.take().expect("a pipe was asked for"));
    let from_runner = OwnedFd::from(process.stdout.take().expect("a pipe was asked for"));
    (process, to_runner.into(), from_runner.into())
}

fn over_socket(command: &mut Command, host: u32) -> (Child, File, File) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair can be made");
    let host = Pid::from_raw(host as i32).expect("a pid is not 0");
    let host = pidfd_open(host, PidfdFlags::empty()).expect("the host's process is there");
    let process = command.stdin(OwnedFd::from(theirs)).stdout(host).spawn().expect("the runner starts");
    let to_runner = OwnedFd::from(ours.try_clone().expect("a descriptor is free"));
    (process, to_runner.into(), OwnedFd::from(ours).into())
}

/// No other session on this machine has it.
fn new_mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos();
    format!("{}-{}-{now}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
