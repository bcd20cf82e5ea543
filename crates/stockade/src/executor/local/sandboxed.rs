//! Starting a runner in a sandbox. Owns the choice of the level, and the rule that what was asked for holds or there is
//! no session; what the sandbox consists of is the `sandbox` module's part.

use std::{ffi::OsStr, fmt::Write, io, path::Path, sync::Arc};

use stockade_runner::wire::message::{Confined, Confinement, Refusal, SessionSpec};
use tokio_util::sync::CancellationToken;

use super::{ConnectError, KIND, Options, connect, runner::Launch};
use crate::{
    Degraded, Policy, Sandbox, SandboxLevel, SandboxPolicy, Session,
    call::bytes,
    client::{Client, StartError},
    environment,
    error::{ASK_DOCTOR, ELSEWHERE, Error, Result},
    executor::{
        control_group::{ControlGroup, GroupLimits},
        work_dir::{PrivateDirectory, WorkDir},
    },
    sandbox::{self, Applied, Bubblewrap, Surroundings, View, Writable, place_of},
    session::SessionInfo,
    virtual_env,
};

/// Version managers look for their folder in the home unless a variable says where it is; at the level without
/// namespaces the code's home is another.
const MANAGERS: &[(&str, &str)] = &[
    ("PYENV_ROOT", ".pyenv"),
    ("RBENV_ROOT", ".rbenv"),
    ("NODENV_ROOT", ".nodenv"),
    ("ASDF_DATA_DIR", ".asdf"),
    ("RUSTUP_HOME", ".rustup"),
];

/// By what variables of the dynamic loader begin. What they name may be the blocks', and bubblewrap and the shell before it
/// are not confined: blocks get them from the runner instead.
const LOADER: &str = "LD_";

/// What tar takes for root, who may not give files to others here: what it does for everybody else.
const TAR: &str = "TAR_OPTIONS";

/// A start that is under way.
struct Start<'a> {
    options: &'a Options,
    sandbox: &'a Sandbox,
    work_dir: &'a WorkDir,
    view: View,
    group: Option<Arc<ControlGroup>>,
    /// What was asked for and can't be had.
    degraded: Vec<Degraded>,
}

/// A session's runner, at a level.
type Started = (Client, CancellationToken, Applied);

/// Why a level was not taken.
struct Refused {
    level: SandboxLevel,
    why: String,
    hint: String,
}

/// What became of trying a level.
enum Tried {
    Started(Started),
    /// The next one may work.
    Refused(Refused),
}

/// Starts a session at the strongest level of those that were asked for.
pub(super) async fn start(options: &Options, sandbox: &Sandbox, work_dir: WorkDir) -> Result<Session> {
    let surroundings = Surroundings::new(&options.path(), options.programs());
    let mut view = View::new(sandbox, &work_dir.path, &surroundings)?;
    if let Some(directory) = &options.virtual_env {
        let place = place_of(directory).map_err(|error| virtual_env::failed(directory, &error))?;
        // One that lies where blocks can change files is seen as what else lies there. Another session's code may put a
        // link in its place at any moment, so it is not shown by its name.
        if Writable::new(sandbox, &work_dir.path).decides(&place).is_none() {
            view.show(&place);
        }
    }
    let mut start = Start { options, sandbox, work_dir: &work_dir, view, group: None, degraded: Vec::new() };
    start.limit()?;
    start.require_own_workspace()?;
    let mut refused = Vec::new();
    for level in levels(sandbox.level) {
        match start.try_level(level).await? {
            Tried::Started(started) => return start.session(Some(started), refused).await,
            Tried::Refused(why) => refused.push(why),
        }
    }
    if !sandbox.best_effort {
        return Err(unavailable(&refused));
    }
    start.degraded.extend(refused.into_iter().map(Refused::into_degraded));
    start.session(None, Vec::new()).await
}

fn levels(asked: SandboxLevel) -> Vec<SandboxLevel> {
    match asked {
        SandboxLevel::Auto => vec![SandboxLevel::Namespaces, SandboxLevel::Landlock],
        level => vec![level],
    }
}

fn unavailable(refused: &[Refused]) -> Error {
    let mut why = String::new();
    let mut hints: Vec<&str> = Vec::new();
    for Refused { level, why: reason, hint } in refused {
        let _ = write!(why, "{}{level}: {reason}", if why.is_empty() { "" } else { "\n  " });
        if !hints.contains(&hint.as_str()) {
            hints.push(hint);
        }
    }
    let elsewhere = format!(
        "{ELSEWHERE}, with what this machine has (`--sandbox best-effort`), or without a sandbox (`--no-sandbox`)"
    );
    hints.push(&elsewhere);
    Error::Sandbox { why, hint: hints.join("; or ") }
}

impl Refused {
    fn into_degraded(self) -> Degraded {
        Degraded { control: format!("level {}", self.level), why: self.why }
    }
}

impl Start<'_> {
    /// Makes the control group that the limits need.
    fn limit(&mut self) -> Result<()> {
        let sandbox::Limits { memory, pids, cpus, .. } = self.sandbox.limits;
        let limits = GroupLimits { memory, pids, cpus };
        if limits == GroupLimits::default() {
            return Ok(());
        }
        match ControlGroup::create(&limits) {
            Ok(group) => self.group = Some(Arc::new(group)),
            Err(error) if self.sandbox.best_effort => {
                self.degraded
                    .push(Degraded { control: "limits".to_owned(), why: format!("failed to {error}") });
            }
            Err(error) => {
                let hint = error.hint().unwrap_or(ASK_DOCTOR);
                return Err(Error::Sandbox { why: format!("failed to {error}"), hint: hint.to_owned() });
            }
        }
        Ok(())
    }

    /// Root's code has no capabilities, so it has no right to others' directories.
    fn require_own_workspace(&self) -> Result<()> {
        let path = &self.work_dir.path;
        let owner = rustix::fs::stat(path).map(|found| found.st_uid);
        match owner {
            Ok(owner) if rustix::process::geteuid().is_root() && owner != 0 => Err(Error::Sandbox {
                why: format!(
                    "the work_dir {} belongs to the user {owner}, and in the sandbox root has no right to others' files",
                    path.display()
                ),
                hint: "run it as that user, or choose a work_dir of root's".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn try_level(&self, level: SandboxLevel) -> Result<Tried> {
        let refused = |why: String, hint: String| Ok(Tried::Refused(Refused { level, why, hint }));
        let tried = match level {
            SandboxLevel::Auto | SandboxLevel::Namespaces => {
                let Some(bubblewrap) = Bubblewrap::find() else {
                    let hint = "install bubblewrap (on Debian and Ubuntu: `apt-get install bubblewrap`)";
                    return refused(
                        "there is no bubblewrap (`bwrap`) on this machine".to_owned(),
                        hint.to_owned(),
                    );
                };
                self.connect(level, self.in_namespaces(&bubblewrap), None).await
            }
            SandboxLevel::Landlock => {
                let private = self.private_directory()?;
                self.connect(level, self.by_itself(&private), Some(private)).await
            }
        };
        match tried {
            Ok((client, ended, confined)) => self.judge(client, ended, Applied { level, confined }).await,
            Err(ConnectError::Start(StartError::Ended(fault))) => {
                let why = fault.to_string();
                let hint = sandbox::remedy(&why).to_owned();
                refused(why, hint)
            }
            Err(ConnectError::Start(StartError::Refused { refusal: Refusal::Confinement, failure })) => {
                refused(failure.to_string(), ASK_DOCTOR.to_owned())
            }
            Err(error) => Err(error.into_error(&self.work_dir.path)),
        }
    }

    /// Takes a runner that was started, if everything holds that was asked for.
    async fn judge(&self, client: Client, ended: CancellationToken, applied: Applied) -> Result<Tried> {
        let missing = applied.missing(self.sandbox);
        if missing.is_empty() || self.sandbox.best_effort {
            return Ok(Tried::Started((client, ended, applied)));
        }
        client.close();
        ended.cancelled().await;
        let why: Vec<String> =
            missing.into_iter().map(|(property, why)| format!("{property} can't be held: {why}")).collect();
        let hint = "ask for the level of namespaces (`--sandbox namespaces`), which bubblewrap makes, or use a newer kernel"
            .to_owned();
        Ok(Tried::Refused(Refused { level: applied.level, why: why.join("; "), hint }))
    }

    async fn connect(
        &self,
        level: SandboxLevel,
        mut launch: Launch,
        private: Option<Arc<PrivateDirectory>>,
    ) -> Result<(Client, CancellationToken, Confined), ConnectError> {
        let path = private.as_ref().map(|private| private.path().to_owned());
        let path = path.as_deref();
        // Moved, for the last who has it removes it: that is to be over when a refusal is told.
        launch.kept.directories.extend(private);
        // Found out while the runner is on its way.
        let set = |spec| self.spec(spec, sandbox::confinement(self.sandbox, &self.view, level, path), path);
        let (client, ended) = connect(self.options, self.work_dir, launch, set).await?;
        let confined = client.confined().copied();
        let untold =
            || Error::start("confine the code", io::Error::other("the runner does not tell what it did"));
        Ok((client, ended, confined.ok_or_else(untold)?))
    }

    fn spec(&self, spec: SessionSpec, confinement: Confinement, private: Option<&Path>) -> SessionSpec {
        let spec = self.with_libraries(spec);
        SessionSpec {
            confinement: Some(confinement),
            concealed: true,
            memory_limit: self.group.is_some() && self.sandbox.limits.memory.is_some(),
            scratch: private.map(|path| bytes(path.as_os_str().to_owned())),
            ..spec
        }
    }

    /// With what [`launch`](Self::launch) keeps from the programs before the runner.
    fn with_libraries(&self, mut spec: SessionSpec) -> SessionSpec {
        let inherited = environment::inherited(&self.options.inherit_env);
        let libraries = inherited.into_iter().filter(|(name, _)| is_loaders(name));
        let libraries = libraries.map(|(name, value)| (bytes(name), bytes(value)));
        // What was set for the code comes last, and so holds.
        spec.env.splice(..0, libraries);
        spec
    }

    fn launch(&self) -> Launch {
        let mut launch = Launch::plain(&self.options.inherit_env, self.work_dir.temporary.clone());
        launch.variables.retain(|(name, _)| !is_loaders(name));
        launch.kept.group = self.group.clone();
        if rustix::process::geteuid().is_root() && !launch.has(TAR) {
            launch.set(TAR, "--no-same-owner --no-same-permissions");
        }
        launch
    }

    fn in_namespaces(&self, bubblewrap: &Bubblewrap) -> Launch {
        let groups = self.group.as_ref().map(|group| group.views()).unwrap_or_default();
        let arguments = Bubblewrap::arguments(&self.view, self.sandbox.network, &groups);
        let mut launch = self.launch();
        launch.set("HOME", &self.view.home);
        // Whatever it names is not there.
        launch.unset("TMPDIR");
        launch.through = Some((bubblewrap.program.clone(), arguments));
        launch
    }

    fn by_itself(&self, private: &PrivateDirectory) -> Launch {
        let mut launch = self.launch();
        for (variable, folder) in MANAGERS {
            let folder = self.view.home.join(folder);
            if folder.is_dir() && !launch.has(variable) {
                launch.set(variable, folder);
            }
        }
        launch.set("HOME", private.path().join(HOME));
        launch.set("TMPDIR", private.path().join(TMP));
        // zsh's own, for here-documents.
        launch.set("TMPPREFIX", private.path().join(TMP).join("zsh"));
        launch
    }

    /// The home and the folder for temporary files of a session, where those of this host are out of reach.
    fn private_directory(&self) -> Result<Arc<PrivateDirectory>> {
        let refused = |error: io::Error| Error::start("make a private home", error);
        let private = PrivateDirectory::new(KIND).map_err(refused)?;
        for folder in [HOME, TMP] {
            std::fs::create_dir(private.path().join(folder)).map_err(refused)?;
        }
        Ok(Arc::new(private))
    }

    /// The session; without a sandbox, where a best effort came to nothing.
    async fn session(self, started: Option<Started>, passed_over: Vec<Refused>) -> Result<Session> {
        let groups = self.group.as_ref().map(|group| format!("control group ({})", group.version()));
        let (client, ended, applied) = match started {
            Some((client, ended, applied)) => (client, ended, Some(applied)),
            None => {
                let connected =
                    connect(self.options, self.work_dir, self.launch(), |spec| self.with_libraries(spec))
                        .await;
                let (client, ended) = connected.map_err(|error| error.into_error(&self.work_dir.path))?;
                (client, ended, None)
            }
        };
        let policy =
            sandbox::report(self.sandbox, &self.view, applied.as_ref(), groups.as_deref(), self.degraded);
        let passed_over = passed_over.into_iter().map(Refused::into_degraded).collect();
        let policy = SandboxPolicy { passed_over, ..policy };
        let is_copied = policy.limits.workspace_size.is_some();
        let info = SessionInfo {
            policy: Policy { sandbox: Some(policy), ..Policy::default() },
            ..SessionInfo::new(KIND, self.work_dir.path.clone())
        };
        let session = Session::new(client, info, self.options.session.defaults(), ended);
        if is_copied { session.with_copies().await } else { Ok(session) }
    }
}

fn is_loaders(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(LOADER.as_bytes())
}

const HOME: &str = "home";
const TMP: &str = "tmp";
