//! A block that tries to get out, at whatever place, and whether it did. Owns the bait on this host, the block and the
//! reading of what came of it: where it can, by what happened to the bait, and not by what the block says. Nothing here
//! judges: without a sandbox all of it is to succeed, for a trial that fails everywhere tells nothing.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::{
    CodeBlock, CodeExecutor, Error, Policy, Session,
    error::{self, ASK_DOCTOR, ELSEWHERE, Result},
};

const SECRET: &str = "STOCKADE_DOCTOR_SECRET";
const PORT: &str = "STOCKADE_DOCTOR_PORT";
const VICTIM: &str = "STOCKADE_DOCTOR_VICTIM";

const CONTENTS: &str = "nobody else's";
/// How long one block may take.
pub(super) const BLOCK: Duration = Duration::from_secs(3);
/// How long all blocks of a trial may take, should the runner not keep to that.
const BLOCKS: Duration = Duration::from_secs(4);
/// How long a session may take to end.
const END: Duration = Duration::from_secs(3);
/// How long a process may take to notice a signal, or to begin to wait for one.
const NOTICE: Duration = Duration::from_secs(1);

/// Waits for the signal, and ends at once when it comes. One that is ignored where nobody waits for it: should it hit
/// another process, whose id is the same in another namespace, it does no harm.
const WAIT: &str = "trap 'exit 9' URG; echo ready; read -r line";
/// What it then ends with.
const NOTICED: i32 = 9;

/// What to do where a trial can have no files.
pub(super) const TEMPORARY: &str =
    "`export TMPDIR=` some directory that can be written to and has room, or make /tmp one";
/// What to do where a trial has no shell.
pub(super) const SHELL: &str = "see that `sh -c true` succeeds, with a PATH that has sh on it";

/// What is tried, each with what is allowed beside it.
const SCRIPT: &str = include_str!("trial.sh");

/// What is there to be taken: a private file, a listener and a process.
#[derive(Debug)]
pub(super) struct Bait {
    _directory: TempDir,
    secret: PathBuf,
    listener: TcpListener,
    /// `None` where no process could be started; nobody can signal it then.
    victim: Option<Victim>,
}

/// A process that ends by itself only when it is signaled, or when its stdin ends.
#[derive(Debug)]
struct Victim {
    child: Child,
    /// Kept open: whoever waits for a child closes what he still has of it.
    _stdin: ChildStdin,
}

/// What a block could do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trial {
    /// Read or change a private file of this host.
    pub(super) took_file: bool,
    /// Connect to a port of this host.
    pub(super) connected: bool,
    /// Signal a process of this host.
    pub(super) signaled: bool,
    /// What it said.
    pub(super) said: BTreeMap<String, String>,
}

/// A session that was started, and tried in.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) start: Duration,
    /// Of a block that does nothing.
    pub(super) block: Duration,
    pub(super) policy: Policy,
    pub(super) trial: Trial,
}

/// Why there is no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) fix: String,
    /// The session started, and could not be tried in: that tells nothing of what holds it.
    pub(super) untried: bool,
}

/// Starts a session, which may take as long as `limit`, tries in it, and ends it.
pub(super) async fn attempt<E: CodeExecutor>(
    build: impl FnOnce(&Bait) -> Result<E>,
    limit: Duration,
) -> Result<Attempt, Refusal> {
    let mut bait = Bait::lay().await.map_err(|error| {
        let why = format!("failed to make files, sockets and processes for the trial: {error}");
        Refusal::new(why, TEMPORARY).untried()
    })?;
    let executor = build(&bait)?;
    let before = Instant::now();
    let session = start(&executor, limit).await?;
    let start = before.elapsed();
    let late = |_| Err(Refusal::slow("a trial", BLOCKS));
    let tried = timeout(BLOCKS, blocks(&session)).await.unwrap_or_else(late);
    let policy = session.info().policy.clone();
    let stopped = stop(session).await;
    // What a session said that does not end in order is worth nothing.
    let (block, said) = tried.and_then(|said| stopped.map(|()| said)).map_err(Refusal::untried)?;
    Ok(Attempt { start, block, policy, trial: bait.take(&said).await })
}

/// Starts a session, in time.
pub(super) async fn start<E: CodeExecutor>(executor: &E, limit: Duration) -> Result<Session, Refusal> {
    let started = timeout(limit, executor.start()).await;
    Ok(started.map_err(|_| Refusal::slow("the start of a session", limit))??)
}

/// Ends a session, in time.
pub(super) async fn stop(session: Session) -> Result<(), Refusal> {
    let stopped = timeout(END, session.stop()).await;
    Ok(stopped.map_err(|_| Refusal::slow("the end of a session", END))??)
}

/// Runs nothing, for the time it takes, and the trial.
async fn blocks(session: &Session) -> Result<(Duration, String), Refusal> {
    let run = |code: &str| session.call(vec![CodeBlock::new("sh", code)]).discard_file().timeout(BLOCK).run();
    let before = Instant::now();
    let nothing = run("true").await?;
    let block = before.elapsed();
    let tried = if nothing.exit_code == 0 { run(SCRIPT).await? } else { nothing };
    match tried.exit_code {
        0 => Ok((block, tried.output)),
        _ => Err(Refusal::new(format!("a block of sh failed: {}", tried.output.trim()), SHELL)),
    }
}

impl Bait {
    async fn lay() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("stockade-doctor-").tempdir()?;
        let secret = directory.path().canonicalize()?.join("secret");
        fs::write(&secret, format!("{CONTENTS}\n"))?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self { _directory: directory, secret, listener, victim: Victim::start().await })
    }

    /// What tells a block of it.
    pub(super) fn variables(&self) -> [(&'static str, OsString); 3] {
        let port = self.listener.local_addr().map_or(0, |address| address.port());
        let pid = self.victim.as_ref().and_then(|victim| victim.child.id()).map(|pid| pid.to_string());
        [
            (SECRET, self.secret.clone().into_os_string()),
            (PORT, port.to_string().into()),
            (VICTIM, pid.unwrap_or_default().into()),
        ]
    }

    /// What became of it.
    async fn take(&mut self, said: &str) -> Trial {
        let trial = Trial::read(said);
        let read = trial.said("read") == Some(CONTENTS);
        let kept = fs::read_to_string(&self.secret).is_ok_and(|text| text.trim_end() == CONTENTS);
        // What has connected waits there, also when it has left again.
        let connected = self.listener.accept().is_ok();
        let signaled = match &mut self.victim {
            // Only a claim so far: the id may have been another process's, in another namespace.
            Some(victim) if trial.said("signal").is_some() => victim.noticed().await,
            _ => false,
        };
        Trial { took_file: read || !kept, connected, signaled, ..trial }
    }
}

impl Victim {
    /// One that waits for the signal already.
    async fn start() -> Option<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", WAIT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().ok()?;
        let stdin = child.stdin.take()?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take()?);
        timeout(NOTICE, stdout.read_line(&mut line)).await.ok()?.ok()?;
        (line == "ready\n").then_some(Self { child, _stdin: stdin })
    }

    /// Whether the signal came.
    async fn noticed(&mut self) -> bool {
        let ended = timeout(NOTICE, self.child.wait()).await;
        ended.is_ok_and(|status| status.is_ok_and(|status| status.code() == Some(NOTICED)))
    }
}

impl Trial {
    /// What a block says of it.
    pub(super) fn read(said: &str) -> Self {
        let lines = said.lines().filter_map(|line| line.split_once('='));
        let said = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { said, ..Self::default() }
    }

    fn said(&self, name: &str) -> Option<&str> {
        self.said.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// It has a file of its own.
    pub(super) fn uses_own_file(&self) -> bool {
        self.said("own.file") == Some("mine")
    }

    pub(super) fn signals_itself(&self) -> bool {
        self.said("own.signal").is_some()
    }

    /// It has made a setuid file of its own.
    pub(super) fn makes_setuid(&self) -> bool {
        self.said("setuid").is_some()
    }

    /// It has given its file other permissions.
    pub(super) fn changes_mode(&self) -> bool {
        self.said("own.mode").is_some()
    }

    /// The program that it tried to connect with, which runs there.
    pub(super) fn client(&self) -> Option<&str> {
        self.said("client")
    }

    /// The interface of the route to everywhere, where it has one.
    pub(super) fn default_route(&self) -> Option<&str> {
        self.said("route")
    }

    /// The link that names a namespace of its.
    pub(super) fn namespace(&self, kind: &str) -> Option<&str> {
        self.said(&format!("namespace.{kind}"))
    }

    /// A number that the kernel tells of the process.
    pub(super) fn status(&self, name: &str) -> Option<u64> {
        let radix = if name.starts_with("Cap") { 16 } else { 10 };
        u64::from_str_radix(self.said(name)?, radix).ok()
    }
}

impl Refusal {
    pub(super) fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into(), untried: false }
    }

    pub(super) fn slow(what: &str, limit: Duration) -> Self {
        let why = format!("{what} took more than {} s", limit.as_secs());
        Self::new(
            why,
            "see what keeps this machine busy (`top`), or its daemon (`docker info`), and try again",
        )
    }

    /// Of one in a container, where to use one is no advice.
    pub(super) fn in_container(self, fix: &str) -> Self {
        Self { fix: self.fix.replace(IN_CONTAINER, fix), ..self }
    }

    /// Of a session that started all the same.
    fn untried(self) -> Self {
        Self { untried: true, ..self }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Where to look is what the reader does already.
        let hint = error.hint().map(|hint| hint.replace(ASK_DOCTOR, "")).unwrap_or_default();
        // What helps at any level is told once, by what is known of the other places.
        let own = hint.split(ELSEWHERE).next().unwrap_or_default().trim_end_matches("; or ");
        let fix = match own {
            "" => IN_CONTAINER.to_owned(),
            own if own.contains('`') => own.to_owned(),
            own => format!("{own}; or {IN_CONTAINER}"),
        };
        let why = match &error {
            Error::Sandbox { why, .. } => without_level(why),
            error => error::chain(error),
        };
        Self::new(why, fix)
    }
}

/// What helps whatever it is that can't be had here.
const IN_CONTAINER: &str = "run the code in a container (`stockade run --docker`)";

/// The level is the finding's subject.
fn without_level(why: &str) -> String {
    let levels = ["namespaces: ", "landlock: "];
    levels.into_iter().find_map(|level| why.strip_prefix(level)).unwrap_or(why).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder};

    async fn take(said: &str) -> Trial {
        Bait::lay().await.expect("it can be laid").take(said).await
    }

    #[tokio::test]
    async fn the_block_gets_out_where_nothing_holds_it() {
        let build = |bait: &Bait| {
            let builder = LocalCommandLineCodeExecutor::builder().no_sandbox();
            let set = |builder: LocalCommandLineCodeExecutorBuilder, (name, value)| builder.env(name, value);
            bait.variables().into_iter().fold(builder, set).build()
        };
        let trial = attempt(build, Duration::from_secs(30)).await.expect("it starts").trial;
        assert!(trial.took_file && trial.signaled && trial.makes_setuid(), "{trial:?}");
        assert!(trial.uses_own_file() && trial.signals_itself() && trial.changes_mode(), "{trial:?}");
        assert_eq!(trial.connected, trial.client().is_some(), "{trial:?}");
        assert_eq!(
            trial.namespace("net").map(str::to_owned),
            fs::read_link("/proc/self/ns/net").ok().map(|link| link.to_string_lossy().into_owned())
        );
    }

    #[tokio::test]
    async fn a_block_that_only_claims_to_have_got_out_has_not() {
        let trial = take("signal=sent\nclient=bash\nread=something else\n").await;
        assert!(!trial.took_file && !trial.connected && !trial.signaled, "{trial:?}");
        let told = take(&format!("read={CONTENTS}\n")).await;
        assert!(told.took_file, "it can have it from the file alone: {told:?}");
    }

    #[test]
    fn numbers_of_the_kernel_are_read_as_it_writes_them() {
        let trial = Trial::read("CapEff=00000000a80425fb\nNoNewPrivs=1\nSeccomp=\n");
        assert_eq!(trial.status("CapEff"), Some(0xa804_25fb));
        assert_eq!((trial.status("NoNewPrivs"), trial.status("Seccomp")), (Some(1), None));
    }

    #[test]
    fn a_refusal_names_no_level_and_does_not_send_its_reader_to_the_doctor() {
        let refusal = |hint: &str| {
            Refusal::from(Error::Sandbox {
                why: "namespaces: there is none".to_owned(),
                hint: hint.to_owned(),
            })
        };
        let elsewhere = format!("{ELSEWHERE}, or elsewhere");
        let expected = Refusal::new("there is none", "`install it`");
        assert_eq!(refusal(&format!("`install it`; or {elsewhere}")), expected);
        assert_eq!(refusal("no command").fix, format!("no command; or {IN_CONTAINER}"));
        assert_eq!(refusal(&format!("{ASK_DOCTOR}; or {elsewhere}")).fix, IN_CONTAINER);
        assert_eq!(refusal("").in_container("`other`").fix, "`other`");
        let other = Refusal::from(Error::start("x", io::Error::other("y")));
        assert_eq!(
            (other.why.as_str(), other.fix.as_str()),
            ("failed to start the runner: x: y", IN_CONTAINER)
        );
    }
}
