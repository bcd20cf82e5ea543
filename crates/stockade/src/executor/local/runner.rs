//! The runner as a child of this process. Owns how it is started, by itself or by programs that make a place for it
//! first, how it is watched and reaped, and what goes with it.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    runtime::Handle,
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Transport,
    environment,
    error::{Error, Result},
    executor::{control_group::ControlGroup, work_dir::PrivateDirectory},
    runner_image,
};

/// Enters control groups, whose files come first, and becomes the command that follows them.
const ENTER: &str = r#"
count=$1; shift
while [ "$count" -gt 0 ]; do
    echo 0 >"$1" || exit 125
    shift; count=$((count - 1))
done
exec "$@"
"#;
/// What is kept of what it says on stderr, the little there is.
const MAX_COMPLAINTS: u64 = 4 << 10;

/// What a runner is started with.
#[derive(Debug, Default)]
pub(super) struct Launch {
    pub(super) variables: Vec<(OsString, OsString)>,
    /// A program that makes a place for the runner and then becomes it, with its arguments.
    pub(super) through: Option<(PathBuf, Vec<OsString>)>,
    pub(super) kept: Kept,
}

/// What a session needs until its runner has ended, and what is then removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// Directories that are the session's own.
    pub(super) directories: Vec<Arc<PrivateDirectory>>,
    pub(super) group: Option<Arc<ControlGroup>>,
}

impl Launch {
    /// With what of this process's environment passes.
    pub(super) fn plain(inherit_env: &[String], work_dir: Option<Arc<PrivateDirectory>>) -> Self {
        Self {
            variables: environment::inherited(inherit_env),
            kept: Kept { directories: work_dir.into_iter().collect(), group: None },
            ..Self::default()
        }
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.unset(name);
        self.variables.push((name.into(), value.into()));
    }

    /// Whether a variable is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// The words of the command that becomes the runner, whose executable is `runner`.
    fn words(&self, runner: &OsStr) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some(group) = &self.kept.group {
            let entrances = group.entrances();
            words.extend(["/bin/sh", "-c", ENTER, "sh"].map(OsString::from));
            words.push(entrances.len().to_string().into());
            words.extend(entrances.into_iter().map(OsString::from));
        }
        if let Some((program, arguments)) = &self.through {
            words.push(program.into());
            words.extend(arguments.iter().cloned());
        }
        words.extend([runner.to_owned(), "local".into()]);
        words
    }
}

/// A runner that was started as a child.
pub(super) struct Runner {
    pub(super) transport: Transport<UnixStream>,
    /// Cancelled when it has been reaped.
    pub(super) ended: CancellationToken,
}

impl Runner {
    pub(super) async fn start(io: &Handle, launch: Launch) -> Result<Self> {
        // tokio's sockets and children belong to the runtime in whose context they are made; and a child that is to end
        // with its parent ends with the thread that started it, which is to be one that stays.
        let started = io.spawn({
            let io = io.clone();
            async move { Self::start_here(&io, launch) }
        });
        started.await.unwrap_or_else(|error| Err(Error::start("start it on its thread", error)))
    }

    fn start_here(io: &Handle, launch: Launch) -> Result<Self> {
        let refused = |error: io::Error| Error::start("connect to the runner", error);
        let (ours, theirs) = StdUnixStream::pair().map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        let socket = ours.try_clone().map_err(refused)?;
        let stream = UnixStream::from_std(ours).map_err(refused)?;
        let child = spawn(theirs, &launch)?;
        let (told, obituary) = oneshot::channel();
        let (ended, doomed) = (CancellationToken::new(), CancellationToken::new());
        io.spawn(watch(child, told, doomed.clone(), ended.clone(), launch.kept));
        // It sees this process through its pidfd and needs no heartbeat.
        let socket = Some(socket.into());
        Ok(Self {
            transport: Transport { stream, socket, obituary, doomed, heartbeat: None, lingers: false },
            ended,
        })
    }
}

/// Starts the child: its stdin is the socket, and its stdout a pidfd of this process, by which it sees our death
/// even while a forked worker holds our end of the socket.
fn spawn(socket: StdUnixStream, launch: &Launch) -> Result<Child> {
    let refused = |error: io::Error| Error::start("connect to the runner", error);
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|errno| refused(errno.into()))?;
    let is_plain = launch.through.is_none() && launch.kept.group.is_none();
    let start = |runner: &std::path::Path| {
        let words = launch.words(runner.as_os_str());
        let mut command = Command::new(&words[0]);
        if is_plain {
            command.arg0("stockade-runner");
        }
        command
            .args(&words[1..])
            .env_clear()
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(OwnedFd::from(socket.try_clone()?))
            .stdout(this_process.try_clone()?)
            .stderr(Stdio::piped())
            .spawn()
    };
    let child = if is_plain { runner_image::start(start) } else { runner_image::start_through(start) };
    Ok(child?)
}

/// Waits for the child's end, and kills it when it is doomed. What was its alone ends with it, should it have been
/// killed before it could remove that itself.
async fn watch(
    mut child: Child,
    told: oneshot::Sender<String>,
    doomed: CancellationToken,
    ended: CancellationToken,
    kept: Kept,
) {
    let complaints = child.stderr.take().map(|stderr| tokio::spawn(read(stderr)));
    let status = tokio::select! {
        status = child.wait() => status,
        () = doomed.cancelled() => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let said = match complaints {
        Some(complaints) => complaints.await.unwrap_or_default(),
        None => String::new(),
    };
    let _ = told.send(status.map_or_else(|error| error.to_string(), |status| describe(status, &said)));
    // Mostly the runner has removed what is there; if not, that can take as long as there are files.
    let _ = tokio::task::spawn_blocking(move || kept.remove()).await;
    ended.cancel();
}

impl Kept {
    /// Removes what nobody else keeps.
    fn remove(self) {
        drop(self.group);
        for directory in self.directories.into_iter().filter_map(Arc::into_inner) {
            directory.remove();
        }
    }
}

async fn read(stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = stderr.take(MAX_COMPLAINTS).read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn describe(status: ExitStatus, said: &str) -> String {
    match said {
        "" => status.to_string(),
        said => format!("{status}; it said: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_place_for_the_runner_comes_before_it() {
        let mut launch = Launch::default();
        assert_eq!(launch.words(OsStr::new("/runner")), ["/runner", "local"]);
        launch.through = Some(("/usr/bin/bwrap".into(), vec!["--".into()]));
        assert_eq!(launch.words(OsStr::new("/runner")), ["/usr/bin/bwrap", "--", "/runner", "local"]);
    }

    #[test]
    fn a_variable_is_set_once() {
        let mut launch = Launch::default();
        launch.set("HOME", "/a");
        launch.set("HOME", "/b");
        launch.set("TMPDIR", "/c");
        launch.unset("TMPDIR");
        assert_eq!(launch.variables, [("HOME".into(), "/b".into())]);
    }
}
