//! Keepers: one small process above each block's processes. A keeper starts the block's process, waits for it
//! and for every orphan of its tree (it is a subreaper), and says how the block ended. It holds no deadline,
//! reads no output and decides nothing: whoever runs as the same user could stop or kill it.
//!
//! Keepers come from a zygote, a process that was cloned from the runner before the runner had any buffers:
//! cloning it costs the same however large the runner has grown. A keeper is made as the zygote's sibling, so
//! it is the runner's child and the runner reaps it; if a keeper is killed, its tree falls to the runner. A zygote
//! that is confined makes keepers that are, and they start nothing that is not.
//!
//! A keeper without children is used again. When the runner is gone a keeper ends its tree and itself.
//!
//! A block that is forked from an interpreter gets a keeper of its own: the block's parent, which was forked just before
//! it, becomes one by executing the runner's executable ([`keep`]), and then says so.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    process::{
        DumpableBehavior, Pid, Signal, getpid, kill_process, set_child_subreaper, set_dumpable_behavior,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    confinement::{ConfinementError, Confiner},
    os::{
        channel::{Channel, MAX_MESSAGE},
        descriptors,
        process::{self, End, Ended, Parent, Program, SpawnError, Stage},
        signals,
    },
    tree,
    wire::message::Confined,
};

/// What the runner asks of a keeper: start the program in the directory of the first descriptor, with the next three as
/// stdin, stdout and stderr. For a child of its own only a failure is answered; a sibling is none of its affair.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    parent: Parent,
    program: Encoded,
}

#[derive(Debug, Serialize, Deserialize)]
enum Encoded {
    /// The program's encoding follows.
    Small(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The fifth descriptor is a file with this many bytes of it: an environment can be larger than any message.
    Large { length: usize },
}

/// What the runner asks of the zygote: make a keeper that talks over the descriptor.
#[derive(Debug, Serialize, Deserialize)]
struct Fork;

/// What a keeper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It has become the keeper of a forked block. The first report of such a one.
    Adopted,
    /// The program was not started; the keeper is free.
    NotSpawned { stage: Stage, errno: i32 },
    /// The program was started as the runner's own child; the keeper is free.
    Spawned { pid: i32 },
    /// The block's process has ended.
    Ended {
        end: End,
        /// Of all processes that were waited for until now.
        cpu: Duration,
        max_rss_bytes: u64,
        /// It left no process behind: the keeper is free.
        childless: bool,
    },
    /// The last process that the block left behind has ended: the keeper is free.
    Childless,
}

/// Bytes of a program that go into a message.
const SMALL: usize = MAX_MESSAGE / 2;

/// The runner's side of a keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// It is our child. `None` until one has come that is expected.
    pub(crate) pid: Option<Pid>,
    channel: Channel,
    /// It is of the same fork as its block, and for no other.
    pub(crate) serves_once: bool,
}

impl Keeper {
    fn cloned(pid: Pid, channel: Channel) -> Self {
        Self { pid: Some(pid), channel, serves_once: false }
    }

    /// One that will come by itself, and the end of the channel that it is to bring.
    pub(crate) fn expected() -> io::Result<(Self, OwnedFd)> {
        let (channel, theirs) = Channel::pair()?;
        channel.ask_for_senders()?;
        Ok((Self { pid: None, channel, serves_once: true }, theirs.into()))
    }

    /// Has the keeper start `program`; its [`Report`] says whether it did.
    pub(crate) fn order(
        &self,
        program: &Program,
        parent: Parent,
        directory: &OwnedFd,
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<()> {
        let bytes = postcard::to_stdvec(program).map_err(io::Error::other)?;
        let [stdin, stdout, stderr] = streams;
        let places = [directory.as_fd(), stdin, stdout, stderr];
        if bytes.len() <= SMALL {
            return self.channel.send(&Order { parent, program: Encoded::Small(bytes) }, &places);
        }
        let mut file = File::from(memfd_create("stockade-program", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        let places = [directory.as_fd(), stdin, stdout, stderr, file.as_fd()];
        self.channel.send(&Order { parent, program: Encoded::Large { length: bytes.len() } }, &places)
    }

    /// The next report, or [`io::ErrorKind::WouldBlock`]; `None` when the keeper is gone.
    pub(crate) fn report(&mut self) -> io::Result<Option<Report>> {
        let Some((report, sender)) = self.channel.try_receive()? else { return Ok(None) };
        if self.pid.is_none() {
            // It has only our word for who it is, and will be killed by this number: no other process may be named.
            let own = sender.filter(|sender| report == Report::Adopted && process::is_child(*sender));
            self.pid = Some(own.ok_or(io::ErrorKind::PermissionDenied)?);
        }
        Ok(Some(report))
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        self.channel.descriptor()
    }
}

/// How long the zygote may take for a clone, which costs it less than a millisecond; then it counts as gone.
const ANSWER: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How long a new one may take to be confined, which costs it some milliseconds and nobody can disturb.
const CONFINING: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The runner's side of the zygote.
#[derive(Debug)]
pub(crate) struct Zygote {
    pub(crate) pid: Pid,
    channel: Channel,
}

impl Zygote {
    /// Clones the zygote from this process.
    pub(crate) fn start() -> io::Result<Zygote> {
        let (ours, theirs) = Channel::pair()?;
        match process::fork(Parent::This)? {
            Some(pid) => Ok(Zygote { pid, channel: ours }),
            None => run_zygote(theirs),
        }
    }

    /// Clones a zygote from this process that is confined before it serves.
    pub(crate) fn start_confined(confiner: &Confiner) -> Result<(Zygote, Confined), ConfinementError> {
        let (ours, theirs) = Channel::pair().map_err(ConfinementError::Process)?;
        let zygote = match process::fork(Parent::This).map_err(ConfinementError::Process)? {
            Some(pid) => Zygote { pid, channel: ours },
            None => confine_zygote(confiner, theirs),
        };
        drop(theirs);
        let answer: Result<Confined, String> =
            zygote.answer(&CONFINING).map_err(ConfinementError::Process)?;
        Ok((zygote, answer.map_err(ConfinementError::Reported)?))
    }

    /// Makes a keeper.
    pub(crate) fn keeper(&self) -> io::Result<Keeper> {
        let (ours, theirs) = Channel::pair()?;
        self.channel.send(&Fork, &[theirs.as_fd()])?;
        drop(theirs);
        let pid: i32 = self.answer(&ANSWER)?;
        match Pid::from_raw(pid.max(0)) {
            Some(pid) => Ok(Keeper::cloned(pid, ours)),
            None => Err(io::Error::from_raw_os_error(-pid)),
        }
    }

    /// What the zygote says next. One that says nothing is ended: somebody stopped it.
    fn answer<T: DeserializeOwned>(&self, patience: &Timespec) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the zygote is gone");
        let mut answered = [PollFd::new(self.channel.descriptor(), PollFlags::IN)];
        if poll(&mut answered, Some(patience)).is_ok_and(|ready| ready == 0) {
            let _ = kill_process(self.pid, Signal::KILL);
            return Err(gone());
        }
        let (answer, _) = self.channel.receive()?.ok_or_else(gone)?;
        Ok(answer)
    }
}

/// Confines this clone of the runner, tells what came of it, and serves only when it is confined.
fn confine_zygote(confiner: &Confiner, runner: Channel) -> ! {
    let confined = confiner.confine().map_err(|error| error.to_string());
    // The runner's own descriptors go before it hears that this one is ready: some are about to be closed there.
    descriptors::close_from(3, Some(runner.descriptor()));
    if runner.send(&confined, &[]).is_err() || confined.is_err() {
        std::process::exit(1)
    }
    run_zygote(runner)
}

fn run_zygote(runner: Channel) -> ! {
    let _ = rustix::thread::set_name(c"stockade-zygote");
    descriptors::close_from(3, Some(runner.descriptor()));
    while let Ok(Some((Fork, mut descriptors))) = runner.receive::<Fork>() {
        let Some(channel) = descriptors.pop() else { continue };
        let answer = match process::fork(Parent::Ours) {
            Ok(None) => run_keeper(Channel::from(channel)),
            Ok(Some(pid)) => pid.as_raw_pid(),
            Err(error) => -error.raw_os_error().unwrap_or(libc::EAGAIN),
        };
        if runner.send(&answer, &[]).is_err() {
            break;
        }
    }
    std::process::exit(0)
}

fn run_keeper(runner: Channel) -> ! {
    descriptors::close_from(3, Some(runner.descriptor()));
    let _ = watch_over(runner, None);
    std::process::exit(0)
}

/// Becomes the keeper of a block that was forked from an interpreter by the process that then executed this one, and
/// whose child it is therefore. The channel to the runner is stdin.
///
/// # Errors
///
/// When `block` is no process id, or the process can't be prepared; the block is ended then.
pub fn keep(block: &str) -> io::Result<()> {
    let block = block.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let block = block.ok_or(io::ErrorKind::InvalidInput)?;
    let runner = descriptors::take_standard(0)?;
    // Blocks run as the same user, and have no business here.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    signals::reset_and_block();
    descriptors::null_standard()?;
    descriptors::close_from(3, Some(&runner));
    watch_over(Channel::from(runner), Some(block))
}

/// Serves the runner until it is gone; then whatever was started is ended.
fn watch_over(runner: Channel, adopted: Option<Pid>) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"stockade-keeper");
    let kept = set_child_subreaper(Some(getpid())).map_err(io::Error::from);
    let signals = kept.and_then(|()| signals::descriptor(&[libc::SIGCHLD]));
    let kept = signals.map(|signals| {
        let mut keeping = Keeping { runner, signals, block: adopted, usage: Usage::default() };
        if adopted.is_some() && keeping.say(Report::Adopted) {
            // It may have ended when nobody was told of that yet.
            keeping.reap();
        }
        keeping.keep();
    });
    end_own_tree();
    kept
}

/// How long a keeper whose runner is gone waits for what it has killed.
const END_OF_TREE: Duration = Duration::from_secs(5);

fn end_own_tree() {
    let until = Instant::now() + END_OF_TREE;
    while Instant::now() < until {
        tree::kill(&[getpid()], || tree::descendants(&[getpid()]));
        loop {
            match process::wait_any() {
                Ok(Some(_)) => {}
                Ok(None) => break std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return,
            }
        }
    }
}

/// A keeper's own state.
struct Keeping {
    runner: Channel,
    signals: OwnedFd,
    /// The block's process, until it has ended.
    block: Option<Pid>,
    usage: Usage,
}

#[derive(Default)]
struct Usage {
    cpu: Duration,
    max_rss_bytes: u64,
}

impl Keeping {
    /// Serves the runner until it is gone.
    fn keep(&mut self) {
        loop {
            let mut ready = [
                PollFd::new(self.runner.descriptor(), PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let [asked, child] = ready.map(|descriptor| !descriptor.revents().is_empty());
            if child {
                self.reap();
            }
            if asked && !self.obey() {
                return;
            }
        }
    }

    /// Carries out the runner's next order. False when the runner is gone.
    fn obey(&mut self) -> bool {
        let Ok(Some((order, descriptors))) = self.runner.receive::<Order>() else { return false };
        self.usage = Usage::default();
        let parent = order.parent;
        match start(order, descriptors) {
            Ok(pid) if parent == Parent::Ours => self.say(Report::Spawned { pid: pid.as_raw_pid() }),
            Ok(pid) => {
                self.block = Some(pid);
                true
            }
            Err(SpawnError { stage, errno }) => self.say(Report::NotSpawned { stage, errno }),
        }
    }

    fn say(&self, report: Report) -> bool {
        self.runner.send(&report, &[]).is_ok()
    }

    /// Takes in everyone who has ended, and reports the block's process and the end of the last child.
    fn reap(&mut self) {
        // However many have ended, they are one pending signal.
        let _ = signals::next(&self.signals);
        let mut ended = None;
        let (mut reaped, mut childless) = (false, false);
        loop {
            match process::wait_any() {
                Ok(Some(child)) => {
                    reaped = true;
                    self.usage.cpu += child.cpu;
                    self.usage.max_rss_bytes = self.usage.max_rss_bytes.max(child.max_rss_bytes);
                    ended = ended.or(self.end_of_block(&child));
                }
                Ok(None) => break,
                Err(_) => break childless = true,
            }
        }
        let Usage { cpu, max_rss_bytes } = self.usage;
        match ended {
            Some(end) => drop(self.say(Report::Ended { end, cpu, max_rss_bytes, childless })),
            None if reaped && childless => drop(self.say(Report::Childless)),
            None => {}
        }
    }

    fn end_of_block(&mut self, child: &Ended) -> Option<End> {
        self.block.take_if(|block| *block == child.pid).map(|_| child.end)
    }
}

fn start(order: Order, descriptors: Vec<OwnedFd>) -> Result<Pid, SpawnError> {
    let broken = |stage| SpawnError { stage, errno: libc::EBADF };
    let [directory, stdin, stdout, stderr, file @ ..] = &descriptors[..] else {
        return Err(broken(Stage::Streams));
    };
    let bytes = match (order.program, file) {
        (Encoded::Small(bytes), []) => bytes,
        (Encoded::Large { length }, [file]) => read(file, length).map_err(|_| broken(Stage::Execute))?,
        _ => return Err(broken(Stage::Execute)),
    };
    let program: Program = postcard::from_bytes(&bytes).map_err(|_| broken(Stage::Execute))?;
    process::spawn(&program, order.parent, directory.as_fd(), [stdin, stdout, stderr].map(AsFd::as_fd))
}

fn read(file: &OwnedFd, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = rustix::io::pread(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
