//! From a request to a running process. Owns the queue of runs that can't start yet, for want of descriptors, of
//! a file that another run holds, or of the answer of a shim; and everything that can keep a block from
//! running, which is an outcome when the block is the cause and a failure when we are.

use std::{
    fs::Permissions,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{PermissionsExt, lchown},
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Engine, Handled, Session, failed, failure,
    run::{self, Block, Live, Phase, Purpose, Run, Shim, Spared, to_bytes},
    spares::Start,
};
use crate::{
    capture::Capture,
    environment::Environment,
    interpreter::{self, Interpreter},
    language::Language,
    manifest::Since,
    os::{
        descriptors,
        process::{Credentials, Parent, Program, Stage},
    },
    outcome::{Outcome, Status},
    source::{FileName, Source},
    spare::{self, Door},
    wire::message::{Failure, LIVE_WINDOW, Reply, RunId, RunSpec, Stream},
    workspace::{SaveError, SavedFile},
};

/// Run numbers from here on are our own. A host counts from 0 and never comes here.
pub(super) const FIRST_OWN_RUN: RunId = 1 << 63;
/// How long a shim may take to say what is behind it; then it is used as it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_OUTPUT: u64 = 64 << 10;
/// Answers of shims that are kept; each call may bring an environment of its own.
const MAX_RESOLVED: usize = 64;
/// How often a file that another process holds is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// A block that ends sooner is not announced to a host that does not listen, which would be woken for nothing.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(20);
/// Descriptors that are ours for other things than runs.
const RESERVED_DESCRIPTORS: usize = 64;

/// A run that has not started.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spec: RunSpec,
    plan: Option<Plan>,
    /// Where it had got to, if it is started again.
    pub(super) begun: Option<Begun>,
}

/// What of a run is not to begin again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) until: Option<Instant>,
    pub(super) announced: bool,
}

impl Waiting {
    pub(super) fn new(spec: RunSpec) -> Self {
        Self { spec, plan: None, begun: None }
    }

    /// The same, to be started once more.
    pub(super) fn again(self, begun: Begun) -> Self {
        Self { begun: Some(begun), ..self }
    }

    /// The file that it will hold alone.
    fn named_file(&self) -> Option<&FileName> {
        let plan = self.plan.as_ref()?;
        matches!(plan.name, FileName::Named(_)).then_some(&plan.name)
    }
}

/// What is known of a run from its request alone.
#[derive(Debug)]
struct Plan {
    language: Language,
    name: FileName,
    contents: Vec<u8>,
    environment: Rc<Environment>,
    /// A generated file is removed, whatever the session does with them.
    discard: bool,
}

/// What keeps a run from starting.
pub(super) enum Obstacle {
    /// To be tried again when another run ends.
    Later,
    /// To be tried again soon: nobody tells when another process gives a file back.
    Soon,
    /// It will never run, and this is its end.
    Over(Box<Result<Outcome, Failure>>),
}

impl Engine {
    /// Starts what can start, in order.
    pub(super) fn admit(&mut self) -> Handled {
        self.retry = None;
        // While one is tried, `self.waiting` holds those that came before it and wait on.
        for mut waiting in std::mem::take(&mut self.waiting) {
            match self.try_to_start(&mut waiting) {
                Ok(()) => self.remember(waiting),
                Err(Obstacle::Over(result)) => {
                    self.link.send(&Reply::Finished { run: waiting.spec.run, result: *result })?;
                }
                Err(Obstacle::Later) => self.waiting.push_back(waiting),
                Err(Obstacle::Soon) => {
                    self.waiting.push_back(waiting);
                    self.retry = Some(Instant::now() + RETRY);
                }
            }
        }
        Ok(())
    }

    fn try_to_start(&mut self, waiting: &mut Waiting) -> Result<(), Obstacle> {
        let plan = match waiting.plan.take() {
            Some(plan) => plan,
            None => self.plan(&waiting.spec)?,
        };
        let plan = &*waiting.plan.insert(plan);
        self.refresh_workspace()?;
        if !plan.language.runs() {
            return self.only_save(plan);
        }
        self.check_capacity()?;
        let interpreter = self.interpreter(&plan.language, &plan.environment)?;
        if self.waiting.iter().any(|earlier| earlier.named_file().is_some_and(|name| *name == plan.name)) {
            return Err(Obstacle::Later);
        }
        let file = self.save(plan)?;
        self.launch(&waiting.spec, plan, &interpreter, file, waiting.begun)
    }

    /// Keeps what was started with an interpreter that had waited, and that may not have heard of it.
    fn remember(&mut self, waiting: Waiting) {
        if let Some(Purpose::Block(block)) = self.runs.get_mut(&waiting.spec.run).map(|run| &mut run.purpose)
            && let Some(spared) = &mut block.spared
        {
            spared.again = Some(waiting);
        }
    }

    /// What the request asks for; fails when it can't be a block's.
    fn plan(&self, spec: &RunSpec) -> Result<Plan, Obstacle> {
        let session = self.session.as_ref().ok_or(Obstacle::Later)?;
        let Some(language) = session.languages.find(&spec.language) else {
            let name = &spec.language;
            let known = session.languages.supported();
            return Err(refused(name, 1, format!("unknown language {name}; supported are {known}")));
        };
        let source = Source::new(language, &spec.code);
        if let FileName::Refused(reason) = &source.name {
            return Err(refused(&language.name, 1, reason.to_string()));
        }
        Ok(Plan {
            name: source.name,
            contents: source.contents.into_owned(),
            environment: match spec.env.as_slice() {
                [] => Rc::clone(&session.environment),
                added => session.environment.with(added).into(),
            },
            language: language.clone(),
            discard: spec.discard_file,
        })
    }

    fn refresh_workspace(&mut self) -> Result<(), Obstacle> {
        let session = self.session.as_mut().ok_or(Obstacle::Later)?;
        let path = session.workspace.path().display().to_string();
        session
            .workspace
            .refresh()
            .map_err(|error| broken(failed(&format!("use {path} as the workspace"), &error)))
    }

    /// Each run takes two pipes, a file, its directory and a keeper's channel.
    fn check_capacity(&self) -> Result<(), Obstacle> {
        const OF_A_RUN: usize = 5;
        let used = self.runs.len() * 2 + self.pipes.len() + self.keepers.busy();
        let limit = usize::try_from(descriptors::limit()).unwrap_or(usize::MAX);
        if used + OF_A_RUN + RESERVED_DESCRIPTORS <= limit {
            return Ok(());
        }
        if !self.runs.is_empty() {
            return Err(Obstacle::Later);
        }
        let why = format!(
            "the limit of {limit} open files is too low: {RESERVED_DESCRIPTORS} are ours, and processes that \
             earlier blocks left behind hold {used}"
        );
        Err(broken(Failure { errno: Some(libc::EMFILE), ..failure("start a process", why) }))
    }

    /// What runs the block. A shim is asked once for the program behind it, and the block waits for the answer.
    pub(super) fn interpreter(
        &mut self,
        language: &Language,
        environment: &Rc<Environment>,
    ) -> Result<Interpreter, Obstacle> {
        let mut found = interpreter::find(language, environment)
            .map_err(|missing| refused(&language.name, 127, missing.to_string()))?;
        if !found.is_shim() {
            return Ok(found);
        }
        let shim = Shim { path: found.program.clone(), environment: Rc::clone(environment) };
        match self.resolved.get(&shim) {
            Some(program) => {
                found.program = program.clone();
                Ok(found)
            }
            None => Err(self.ask(&found, shim)),
        }
    }

    fn ask(&mut self, found: &Interpreter, shim: Shim) -> Obstacle {
        let asked = |run: &Run| matches!(&run.purpose, Purpose::Probe(asked) if *asked == shim);
        if self.runs.values().any(asked) {
            return Obstacle::Later;
        }
        let Some(session) = &self.session else { return Obstacle::Later };
        let program = run::probe(found, &shim.environment, &session.attributes);
        let id = self.next_own_run();
        let process = self.order(id, &program, stdin(), false);
        process.map_or_else(broken, |process| {
            let until = Instant::now().checked_add(PROBE_TIMEOUT);
            self.insert(id, process, Purpose::Probe(shim), PROBE_OUTPUT, until);
            Obstacle::Later
        })
    }

    /// A number for a process that the host knows nothing of.
    pub(super) fn next_own_run(&mut self) -> RunId {
        self.next_own_run += 1;
        self.next_own_run - 1
    }

    /// Takes in what a shim printed: the last line is the path. Whatever else it did, it is asked once only.
    pub(super) fn take_answer(&mut self, shim: Shim, printed: &[u8]) {
        let last = printed.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
        let path = PathBuf::from(String::from_utf8_lossy(last).trim());
        let usable = path.is_absolute() && interpreter::is_executable(&path);
        if self.resolved.len() >= MAX_RESOLVED {
            self.resolved.clear();
        }
        let program = if usable { path } else { shim.path.clone() };
        self.resolved.insert(shim, program);
    }

    fn save(&mut self, plan: &Plan) -> Result<SavedFile, Obstacle> {
        let workspace = &self.session.as_ref().ok_or(Obstacle::Later)?.workspace;
        let saved = match &plan.name {
            FileName::Generated(name) if plan.language.runs() => {
                workspace.save_generated(name, &plan.contents, plan.discard)
            }
            // What is only saved is there to stay, whoever chose its name.
            FileName::Generated(name) => workspace.save_named(Path::new(name), &plan.contents),
            FileName::Named(name) => workspace.save_named(name.as_path(), &plan.contents),
            FileName::Refused(reason) => return Err(refused(&plan.language.name, 1, reason.to_string())),
        };
        let saved = saved.map_err(|error| match error {
            SaveError::Held => Obstacle::Soon,
            SaveError::Io(error) => broken(failed("save the block's file in the workspace", &error)),
            error => refused(&plan.language.name, 1, error.to_string()),
        })?;
        if let FileName::Named(_) = plan.name {
            self.scanner.remember(saved.name(), saved.stamp);
        }
        Ok(saved)
    }

    fn only_save(&mut self, plan: &Plan) -> Result<(), Obstacle> {
        let file = self.save(plan)?;
        let path = self.path_of(&file);
        let language = &plan.language.name;
        let notice = format!("Saved as {}; {language} is not run", file.name().display());
        let saved =
            Outcome::without_process(language, Status::NotRun { code: 0 }, Some(to_bytes(&path)), notice);
        Err(Obstacle::Over(Box::new(Ok(saved))))
    }

    fn path_of(&self, file: &SavedFile) -> PathBuf {
        let workspace = self.session.as_ref().map(|session| session.workspace.path());
        workspace.unwrap_or(Path::new("/")).join(file.name())
    }

    fn launch(
        &mut self,
        spec: &RunSpec,
        plan: &Plan,
        interpreter: &Interpreter,
        file: SavedFile,
        begun: Option<Begun>,
    ) -> Result<(), Obstacle> {
        let path = self.path_of(&file);
        let attributes = &self.session.as_ref().ok_or(Obstacle::Later)?.attributes;
        let make = || make_scratch(attributes.credentials.as_ref());
        let scratch = match interpreter.command.compiles().then(make).transpose() {
            Ok(scratch) => scratch,
            Err(error) => {
                file.release();
                return Err(broken(failed("make a folder for the compiled program", &error)));
            }
        };
        // Where one has failed it, another is not asked.
        let spare = match begun {
            None => self.spare_for(spec, plan, interpreter),
            Some(_) => None,
        };
        let ordered = match spare {
            Some((process, door)) => Ok((process, Some(door))),
            None => self
                .order_block(spec, plan, interpreter, &path, scratch.as_ref())
                .map(|process| (process, None)),
        };
        let (process, door) = match ordered {
            Ok(ordered) => ordered,
            Err(obstacle) => {
                file.release();
                return Err(obstacle);
            }
        };
        let until = process.started.checked_add(Duration::from_millis(spec.timeout_ms));
        let until = begun.map_or(until, |begun| begun.until);
        let announced = begun.is_some_and(|begun| begun.announced);
        let block = Block {
            language: plan.language.name.clone(),
            file,
            path,
            interpreter: interpreter.program.clone(),
            announce_at: process.started.checked_add(ANNOUNCE_AFTER).filter(|_| !announced),
            live: spec.live.then_some(Live { credit: LIVE_WINDOW, lost: 0, backpressure: spec.backpressure }),
            _scratch: scratch,
            spared: door.map(|door| Box::new(Spared { door, again: None })),
        };
        self.insert(spec.run, process, Purpose::Block(block), spec.output_limit, until);
        self.let_in(spec.run);
        Ok(())
    }

    /// Has a block's process started.
    fn order_block(
        &mut self,
        spec: &RunSpec,
        plan: &Plan,
        interpreter: &Interpreter,
        file: &Path,
        scratch: Option<&TempDir>,
    ) -> Result<Ordered, Obstacle> {
        let attributes = &self.session.as_ref().ok_or(Obstacle::Later)?.attributes;
        let program = run::program(interpreter, file, scratch, &plan.environment, attributes);
        self.order(spec.run, &program, stdin(), spec.merge_streams).map_err(broken)
    }

    /// An interpreter that waited for this block, or one like it.
    fn spare_for(
        &mut self,
        spec: &RunSpec,
        plan: &Plan,
        interpreter: &Interpreter,
    ) -> Option<(Ordered, Door)> {
        let session = self.session.as_ref()?;
        if session.spares == 0 && !self.preload.is_wanted() || !spare::is_for(&plan.language, interpreter) {
            return None;
        }
        let start = Start {
            interpreter: interpreter.program.clone(),
            environment: Rc::clone(&plan.environment),
            merge_streams: spec.merge_streams,
            directory: session.workspace.identity().ok()?,
        };
        self.take_spare(start, spec.env.is_empty(), spec.run)
    }

    /// Has a keeper start the program.
    pub(super) fn order(
        &mut self,
        id: RunId,
        program: &Program,
        stdin: BorrowedFd<'_>,
        merge_streams: bool,
    ) -> Result<Ordered, Failure> {
        let ordered = self.with_pipes(id, merge_streams, |engine, [stdout, stderr]| {
            engine.order_keeper(id, program, Parent::This, [stdin, stdout, stderr])
        });
        ordered.map_err(|error| failed("start a process", &error))
    }

    /// Has something started that prints to pipes of ours, by `order`, which gives its keeper.
    pub(super) fn with_pipes(
        &mut self,
        id: RunId,
        merge_streams: bool,
        order: impl FnOnce(&mut Self, [BorrowedFd<'_>; 2]) -> io::Result<u64>,
    ) -> io::Result<Ordered> {
        let (pipe, stdout) = self.open_pipe(id, Stream::Stdout)?;
        let mut pipes = vec![pipe];
        let ordered = (|| {
            let stderr = if merge_streams {
                stdout.try_clone()?
            } else {
                let (pipe, end) = self.open_pipe(id, Stream::Stderr)?;
                pipes.push(pipe);
                end
            };
            let kills_before = self.session.as_ref().map_or(0, Session::out_of_memory_kills);
            let (started, since) = (Instant::now(), self.scanner.now());
            let keeper = order(self, [stdout.as_fd(), stderr.as_fd()])?;
            Ok(Ordered { keeper, pipes: pipes.clone(), started, since, kills_before })
        })();
        ordered.inspect_err(|_| self.pipes.close_all(&pipes))
    }

    fn open_pipe(&mut self, id: RunId, stream: Stream) -> std::io::Result<(u64, OwnedFd)> {
        self.pipes.open(id, stream, &self.reactor)
    }

    pub(super) fn order_keeper(
        &mut self,
        id: RunId,
        program: &Program,
        parent: Parent,
        streams: [BorrowedFd<'_>; 3],
    ) -> std::io::Result<u64> {
        // A free keeper may have been killed without our having heard of it.
        const TRIES: usize = 4;
        let no_session = || std::io::Error::other("the session has not started");
        let mut refused = no_session();
        for _ in 0..TRIES {
            let keeper = self.keepers.take(id, &self.reactor)?;
            let directory = self.session.as_ref().ok_or_else(no_session)?.workspace.directory();
            let kept = self.keepers.get(keeper).ok_or_else(no_session)?;
            match kept.keeper.order(program, parent, directory, streams) {
                Ok(()) => return Ok(keeper),
                Err(error) => refused = error,
            }
            self.keepers.remove(keeper);
        }
        Err(refused)
    }

    fn insert(&mut self, id: RunId, process: Ordered, purpose: Purpose, limit: u64, until: Option<Instant>) {
        let run = Run {
            id,
            purpose,
            keeper: process.keeper,
            pipes: process.pipes,
            capture: Capture::new(limit),
            since: process.since,
            started: process.started,
            phase: Phase::Running { until },
            end: None,
            kills_before: process.kills_before,
            out_of_memory: false,
        };
        self.runs.insert(id, run);
    }

    /// The keeper could not start the program.
    pub(super) fn not_spawned(&mut self, id: RunId, stage: Stage, errno: i32) -> Handled {
        let Some(run) = self.runs.remove(&id) else { return Ok(()) };
        self.pipes.close_all(&run.pipes);
        match run.purpose {
            Purpose::Probe(shim) => {
                self.take_answer(shim, b"");
                self.start_server()?;
            }
            Purpose::Block(block) => {
                let result = why_not_spawned(&block, stage, errno);
                block.file.release();
                self.link.send(&Reply::Finished { run: id, result })?;
            }
        }
        self.admit()
    }
}

/// A process that was ordered.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) keeper: u64,
    pub(super) pipes: Vec<u64>,
    pub(super) started: Instant,
    /// From when on files are its own: before it could make any.
    pub(super) since: Since,
    pub(super) kills_before: u64,
}

/// What blocks have as their stdin: nothing.
fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// A folder for a compiled program. It is for nobody but the blocks' user.
fn make_scratch(user: Option<&Credentials>) -> io::Result<TempDir> {
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("stockade-").permissions(private).tempdir()?;
    if let Some(Credentials { uid, gid, .. }) = user {
        lchown(&folder, Some(*uid), Some(*gid))?;
    }
    Ok(folder)
}

/// As in a shell: 127 for a program that is not there, 126 for one that can't be executed.
fn why_not_spawned(block: &Block, stage: Stage, errno: i32) -> Result<Outcome, Failure> {
    let error = std::io::Error::from_raw_os_error(errno);
    if stage != Stage::Execute || matches!(errno, libc::ENOMEM | libc::EAGAIN) {
        return Err(failed(&format!("start a process ({stage:?})"), &error));
    }
    let code = if errno == libc::ENOENT { 127 } else { 126 };
    let notice = format!("{} could not be executed: {error}", block.interpreter.display());
    let file = Some(to_bytes(&block.path));
    Ok(Outcome::without_process(&block.language, Status::NotRun { code }, file, notice))
}

fn refused(language: &str, code: i32, notice: String) -> Obstacle {
    Obstacle::Over(Box::new(Ok(Outcome::without_process(language, Status::NotRun { code }, None, notice))))
}

fn broken(failure: Failure) -> Obstacle {
    Obstacle::Over(Box::new(Err(failure)))
}
