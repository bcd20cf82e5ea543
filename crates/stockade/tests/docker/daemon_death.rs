//! The daemon, or the way to it, is gone in the middle of a block: an error in time, nothing hangs, the code ends by
//! itself, and with the daemon's return a restart is all that it takes. The daemon that is killed is one of the test's
//! own.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::{ffi::OsStrExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use stockade::{
    CancellationToken, DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorBuilder, Error, Fault,
    Pool, RestartableExecutor, Session, WorkspaceMode,
};
use tempfile::TempDir;

use crate::{
    engine::{container, daemon, gone, image_of, start, try_docker},
    support::{Mark, Running, eventually, need, output, patiently, sh},
};

/// Long enough never to be the reason for an end.
const LONG: Duration = Duration::from_secs(600);

/// A block under way with two processes that don't end by themselves.
async fn under_way(session: &Session, mark: &Mark, timeout: Duration) -> Running {
    let call = session.call(vec![sh("echo ready; sleep 600")]).env(mark.name(), mark.value());
    let running = Running::until(call.timeout(timeout), "ready").await;
    mark.count_on_host(2).await;
    running
}

/// A daemon of a test's own, beside the one of all tests.
struct Daemon {
    directory: TempDir,
    process: Option<Child>,
}

impl Daemon {
    /// `None` when the test is to be skipped.
    async fn start() -> Option<Self> {
        if !need::has("root", geteuid().is_root(), "only root starts a daemon")
            || !need::has_program("dockerd", "unshare", &["--net", "dockerd", "--version"])
        {
            return None;
        }
        // A socket's path must be short.
        let directory = tempfile::Builder::new().prefix("d").tempdir_in("/tmp").expect("a directory");
        let mut daemon = Self { directory, process: None };
        daemon.run().await;
        Some(daemon)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// Starts it, and waits until it answers. One that comes back too early finds what is left of the last one in its
    /// way, and gives up: then it is started again, as a service is.
    async fn run(&mut self) {
        let answers = |daemon: &Self| {
            let version = Command::new("docker").args(["--host", &daemon.address(), "version"]).output();
            version.is_ok_and(|output| output.status.success())
        };
        eventually("the daemon", || {
            if self
                .process
                .as_mut()
                .is_none_or(|process| process.try_wait().is_ok_and(|ended| ended.is_some()))
            {
                self.process = Some(self.spawn());
            }
            answers(self).then_some(())
        })
        .await;
    }

    fn spawn(&self) -> Child {
        let option = |name: &str, value: &str| format!("--{name}={}", self.path(value).display());
        // In a network of its own: without a bridge it would remove the one that the other daemon has.
        let mut command = Command::new("unshare");
        command
            .args(["--net", "dockerd"])
            .args([option("data-root", "data"), option("exec-root", "exec"), option("pidfile", "pid")])
            .arg(format!("--host={}", self.address()))
            // Should it find another's containerd, its containers are no affair of the other daemon's.
            .args(["--containerd-namespace=stockade", "--containerd-plugins-namespace=stockade-plugins"])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("dockerd starts")
    }

    /// Copies an image of the other daemon.
    fn load(&self, image: &str) {
        let from = daemon().expect("there is one");
        let mut save = Command::new("docker");
        let save = save.args(["--host", &from, "save", image]).stdout(Stdio::piped()).spawn();
        let mut save = save.expect("docker runs");
        let mut load = Command::new("docker");
        load.args(["--host", &self.address(), "load", "--quiet"]);
        let loaded = load.stdin(save.stdout.take().expect("it is a pipe")).output().expect("docker runs");
        assert!(save.wait().is_ok_and(|status| status.success()) && loaded.status.success(), "{loaded:?}");
    }

    /// A builder of sessions there. It has no network to give.
    fn builder(&self) -> DockerCommandLineCodeExecutorBuilder {
        let image = image_of("BUSYBOX");
        DockerCommandLineCodeExecutor::builder().daemon(self.address()).image(image).network("none")
    }

    /// Ends it with SIGKILL.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it is ours to kill");
        process.wait().expect("it has ended");
    }

    /// What it started and left, by the paths that only its processes are told.
    fn left(&self) -> Vec<Pid> {
        let path = self.path("exec");
        let is_its = |directory: &fs::DirEntry| {
            let command = fs::read(directory.path().join("cmdline")).unwrap_or_default();
            let path = path.as_os_str().as_bytes();
            command.windows(path.len()).any(|window| window == path)
        };
        let processes = fs::read_dir("/proc").expect("/proc is there").flatten().filter(is_its);
        processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
    }
}

/// Ends whatever it has left, for it may have been killed. A runner whose shim is gone ends by itself.
impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = Pid::from_child(process);
            let _ = kill_process(pid, Signal::TERM);
            let _ = process.wait();
        }
        while let left = self.left()
            && !left.is_empty()
        {
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // The last ones mounted are the deepest.
        for place in places.filter(|place| Path::new(place).starts_with(self.directory.path())).rev() {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}

#[tokio::test]
async fn a_killed_daemon_is_an_error_and_after_its_return_a_restart_is_all_it_takes() {
    if daemon().is_none() {
        return;
    }
    let Some(mut daemon) = Daemon::start().await else { return };
    daemon.load(&image_of("BUSYBOX"));
    let executor = RestartableExecutor::new(daemon.builder().build().expect("the options are valid"));
    executor.start().await.expect("it starts");
    let session = executor.session().await.expect("it has started");
    let mark = Mark::new();
    let running = under_way(&session, &mark, LONG).await;
    daemon.kill();
    let error = running.end().await.expect_err("the daemon is gone");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::RunnerDied { .. }, .. }), "{error:?}");
    patiently("the stop", executor.stop()).await.expect_err("it did not end in order");
    let unreachable = patiently("the start", executor.start()).await.expect_err("the daemon is gone");
    assert!(matches!(unreachable, Error::DaemonUnreachable { .. }), "{unreachable:?}");
    // Nobody tells the runner, who misses its host.
    mark.gone_from_host().await;

    daemon.run().await;
    executor.restart().await.expect("the daemon is back");
    let token = CancellationToken::new();
    let result = executor.execute_code_blocks(&[sh("echo hello")], &token).await.expect("it runs");
    assert_eq!(result.output, "hello\n");
    executor.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_daemon_that_returns_at_once_ends_what_it_had_lost() {
    if daemon().is_none() {
        return;
    }
    let Some(mut daemon) = Daemon::start().await else { return };
    daemon.load(&image_of("BUSYBOX"));
    let (session, mark) = (start(daemon.builder()).await, Mark::new());
    let running = under_way(&session, &mark, LONG).await;
    daemon.kill();
    daemon.run().await;
    running.end().await.expect_err("the stream is gone");
    mark.gone_from_host().await;
    patiently("the stop", session.stop()).await.expect_err("it did not end in order");
    let list =
        || Command::new("docker").args(["--host", &daemon.address(), "ps", "--all", "--quiet"]).output();
    let left = || list().expect("docker runs").stdout;
    eventually("the end of the container", || left().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_pool_whose_daemon_goes_says_so_at_once_and_fills_itself_when_it_is_back() {
    if daemon().is_none() {
        return;
    }
    let Some(mut daemon) = Daemon::start().await else { return };
    daemon.load(&image_of("BUSYBOX"));
    let pool = Pool::builder(daemon.builder().build().expect("the options are valid"));
    let pool = pool.min_idle(2).max_total(4).acquire_timeout(LONG).build().expect("the options are valid");
    patiently("a full pool", pool.fill()).await.expect("the daemon is there");
    let (session, mark) = (pool.acquire().await.expect("one is idle"), Mark::new());
    let running = under_way(&session, &mark, LONG).await;
    patiently("a full pool", pool.fill()).await.expect("the daemon is there");
    daemon.kill();
    let error = running.end().await.expect_err("the daemon is gone");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::RunnerDied { .. }, .. }), "{error:?}");
    eventually("the end of the idle", || (pool.metrics().idle == 0).then_some(())).await;
    // Not after the timeout: somebody who waits is told why.
    let unreachable = patiently("the refusal", pool.acquire().into_future()).await;
    let unreachable = unreachable.expect_err("the daemon is gone");
    assert!(matches!(unreachable, Error::DaemonUnreachable { .. }), "{unreachable:?}");
    drop(session);
    mark.gone_from_host().await;

    let failed = pool.metrics().counts.failed_starts;
    assert!(failed < 100, "it was asked {failed} times");
    daemon.run().await;
    eventually("the refill", || (pool.metrics().idle == 2).then_some(())).await;
    let session = pool.acquire().await.expect("one is idle");
    assert_eq!(output(&session, sh("echo hello")).await, "hello\n");
    drop(session);
    patiently("the end of the pool", pool.close(LONG)).await;
    let left = Command::new("docker").args(["--host", &daemon.address(), "ps", "--all", "--quiet"]).output();
    assert_eq!(String::from_utf8_lossy(&left.expect("docker runs").stdout), "");
}

/// A way to the daemon over TCP, which can be lost.
struct Way {
    address: String,
    lost: Arc<Mutex<Lost>>,
}

#[derive(Default)]
struct Lost {
    /// Nothing goes through any more, and nobody is told.
    silent: bool,
    streams: Vec<TcpStream>,
    /// Those through which the daemon's events were asked for, each time once more.
    events: Vec<TcpStream>,
}

impl Way {
    /// `None` when the test is to be skipped.
    fn open() -> Option<Self> {
        let daemon = daemon()?;
        let socket = PathBuf::from(daemon.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = format!("tcp://{}", listener.local_addr().expect("it has one"));
        let lost = Arc::<Mutex<Lost>>::default();
        let way = Self { address, lost: Arc::clone(&lost) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let there = UnixStream::connect(&socket).expect("the daemon listens");
                let (here, kept) = (copy(&stream), copy(&stream));
                lost.lock().expect("no panic").streams.push(kept);
                let (from, to) = (there.try_clone().expect("a descriptor"), Arc::clone(&lost));
                let asks = copy(&stream);
                thread::spawn(move || {
                    forward(Asking { stream: here, asks, lost: Arc::clone(&to) }, there, &to)
                });
                let lost = Arc::clone(&lost);
                thread::spawn(move || forward(from, stream, &lost));
            }
        });
        Some(way)
    }

    fn builder(&self) -> DockerCommandLineCodeExecutorBuilder {
        let image = image_of("BUSYBOX");
        DockerCommandLineCodeExecutor::builder().daemon(&self.address).image(image)
    }

    /// As when a cable is pulled.
    fn fall_silent(&self) {
        self.lost.lock().expect("no panic").silent = true;
    }

    /// As when a router in between says that there is no such connection.
    fn break_off(&self) {
        let lost = self.lost.lock().expect("no panic");
        lost.streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Waits until the daemon's events have been asked for so many times.
    async fn events_asked_for(&self, times: usize) {
        eventually("the asking for events", || {
            (self.lost.lock().expect("no panic").events.len() >= times).then_some(())
        })
        .await;
    }

    /// As Podman ends its events when it reads one that is only half written.
    fn break_off_events(&self) {
        let lost = self.lost.lock().expect("no panic");
        lost.events.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

/// What a client says, of which it is noted when it asks for events.
struct Asking {
    stream: TcpStream,
    asks: TcpStream,
    lost: Arc<Mutex<Lost>>,
}

impl Read for Asking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        if String::from_utf8_lossy(&buffer[..length]).contains("/events?") {
            self.lost.lock().expect("no panic").events.push(copy(&self.asks));
        }
        Ok(length)
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

/// Passes on what comes, until the end or for as long as the way is not lost.
fn forward(mut from: impl Read, mut to: impl Write + End, lost: &Mutex<Lost>) {
    let mut buffer = [0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if lost.lock().expect("no panic").silent {
            // Both ends stay open.
            loop {
                thread::park();
            }
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.end();
}

/// The end of what is written.
trait End {
    fn end(&self) -> io::Result<()>;
}

impl End for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl End for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[tokio::test]
async fn a_daemon_over_tcp_is_given_a_copy_of_the_work_dir() {
    let Some(way) = Way::open() else { return };
    let session = start(way.builder()).await;
    assert_eq!(
        session.info().container.as_ref().map(|container| container.workspace),
        Some(WorkspaceMode::Copy)
    );
    assert_eq!(output(&session, sh("echo text >made.txt; cat made.txt")).await, "text\n");
    assert_eq!(fs::read(session.work_dir().join("made.txt")).expect("it came back"), b"text\n");
    let id = container(&session);
    session.stop().await.expect("it stops");
    gone(&id).await;
}

/// The way is lost in the middle of a block, whose runner then misses its host.
async fn assert_lost(lose: impl Fn(&Way), timeout: Duration, is_expected: impl Fn(&Fault) -> bool) {
    if !need::has("root", geteuid().is_root(), "this user does not see whose processes are left") {
        return;
    }
    let Some(way) = Way::open() else { return };
    let (session, mark) = (start(way.builder()).await, Mark::new());
    let id = container(&session);
    let running = under_way(&session, &mark, timeout).await;
    lose(&way);
    let error = running.end().await.expect_err("the way is lost");
    let Error::SessionEnded { fault, .. } = &error else { panic!("{error:?}") };
    assert!(is_expected(fault), "{fault:?}");
    patiently("the stop", session.stop()).await.expect_err("it did not end in order");
    mark.gone_from_host().await;
    gone(&id).await;
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_an_error_at_once_and_the_container_goes() {
    assert_lost(Way::break_off, LONG, |fault| matches!(fault, Fault::RunnerDied { .. })).await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_an_error_by_the_deadline_and_the_container_goes() {
    let timeout = Duration::from_secs(5);
    assert_lost(Way::fall_silent, timeout, |fault| matches!(fault, Fault::Unresponsive { .. })).await;
}

#[tokio::test]
async fn a_session_whose_events_break_off_goes_on_and_its_end_is_seen_all_the_same() {
    let Some(way) = Way::open() else { return };
    let session = start(way.builder().workspace(WorkspaceMode::Bind)).await;
    let (id, work_dir) = (container(&session), session.work_dir().to_owned());
    way.events_asked_for(1).await;
    way.break_off_events();
    way.events_asked_for(2).await;
    assert_eq!(output(&session, sh("echo text >made.txt; cat made.txt")).await, "text\n");
    assert_eq!(fs::read(work_dir.join("made.txt")).expect("the work_dir is there"), b"text\n");
    session.stop().await.expect("it stops");
    assert!(!try_docker(&["inspect", &id]).0, "stop has waited for the end of the container");
    assert!(!work_dir.exists());
}

#[tokio::test]
async fn a_session_whose_connection_fell_silent_can_be_stopped_and_its_container_goes() {
    let Some(way) = Way::open() else { return };
    let session = start(way.builder()).await;
    let id = container(&session);
    way.fall_silent();
    patiently("the stop", session.stop()).await.expect_err("nobody answers");
    gone(&id).await;
}
