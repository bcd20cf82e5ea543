//! A runner that outlives its host: what it ends, whom it lets in, and how the next host comes to it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    message::{Reply, Request, RunSpec, VERSION},
    token,
};
use tempfile::TempDir;

use crate::harness::{
    PATIENCE, RUNNER, Runner, Setup, exited,
    needs::{MOUNTS, Need, PROCESSES, unshare},
    processes::children,
    sh, wait_until, wait_until_equal,
};

/// Where a runner lingers: the executable in a directory of its own, and a workspace that all hosts share.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        // A copy could not be executed while another test's child has inherited the descriptor that it was written to.
        let target = Path::new(RUNNER).parent().expect("a file is in a directory");
        let folder = tempfile::tempdir_in(target).expect("a temporary directory");
        fs::create_dir(folder.path().join("workspace")).expect("a directory");
        fs::hard_link(RUNNER, folder.path().join("runner")).expect("linked");
        Self { folder }
    }

    fn executable(&self) -> PathBuf {
        self.folder.path().join("runner")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("host.sock")
    }

    fn setup(&self) -> Setup {
        Setup::at(&self.folder.path().join("workspace")).from(&self.executable())
    }

    /// A runner with its first host.
    fn first_host(&self, token: Option<&str>) -> Runner {
        self.setup().lingering(token).start()
    }

    /// Another host of the same runner, once that waits for one.
    fn next_host(&self, token: &str, next_token: Option<&str>) -> Runner {
        self.wait();
        let mut setup = self.setup().relayed(token);
        setup.session.token = next_token.map(ByteBuf::from);
        setup.start()
    }

    /// Waits until the runner waits for a host.
    fn wait(&self) {
        drop(self.knock());
    }

    /// A connection to the runner, once it waits for a host.
    fn knock(&self) -> UnixStream {
        wait_until("the runner to wait for a host", || UnixStream::connect(self.socket()).ok())
    }
}

/// What a visitor is told who sends these bytes; nothing is a refusal.
fn told(mut visitor: UnixStream, bytes: &[u8]) -> Vec<u8> {
    visitor.set_read_timeout(Some(PATIENCE)).expect("a socket");
    visitor.write_all(bytes).expect("the runner is there");
    let mut told = vec![0; 100];
    match visitor.read(&mut told) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Vec::new(),
        length => told[..length.expect("the runner answers in time")].to_vec(),
    }
}

/// Ends a runner that waits for a host.
fn end(mut runner: Runner) {
    runner.signal(Signal::TERM);
    runner.exit();
}

// The next host.

#[test]
fn the_next_host_gets_a_session_of_its_own_and_nothing_of_the_last_ones_processes() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    assert_eq!(first.ran(sh("echo 1 > file; setsid sleep 987 & echo left")).status(), exited(0));
    first.run(sh("(trap '' TERM; sleep 987) & touch ready; sleep 987"));
    first.file("ready");
    first.hang_up();

    let mut second = place.next_host("token", None);
    assert_eq!((second.pid, first.survivors()), (first.pid, vec![]));
    assert_eq!(second.ran(sh("cat file")).status_and_stdout(), (exited(0), "1\n".into()));
    assert_eq!(second.stop(), [0; 0]);
    first.exit();
}

#[test]
fn a_host_that_asked_for_a_stop_is_told_of_it_and_the_next_one_may_come() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.run(sh("touch ready; setsid sleep 987 & sleep 987"));
    first.file("ready");
    first.send(&Request::Stop);
    let stopped = |reply: &Reply| (*reply == Reply::Stopped { survivors: vec![] }).then_some(());
    first.wait_for("the end of everything", stopped);
    assert_eq!((first.reply(), first.survivors()), (None, vec![]));
    place.next_host("token", None).stop();
    first.exit();
}

#[test]
fn the_next_host_may_come_when_the_last_was_not_heard_for_too_long() {
    let place = Place::new();
    let mut setup = place.setup().lingering(Some("token"));
    setup.session.heartbeat_timeout_ms = Some(300);
    let mut first = setup.start();
    first.run(sh("setsid sleep 987 & sleep 987"));
    let mut second = place.next_host("token", None);
    assert_eq!(first.survivors(), [""; 0]);
    second.stop();
    first.exit();
}

#[test]
fn a_runner_whose_host_gave_no_token_ends_with_it() {
    let place = Place::new();
    let mut first = place.first_host(None);
    first.hang_up();
    assert!(first.exit().success());
    assert!(!place.socket().exists());
    assert_eq!(place.first_host(None).stop(), [0; 0]);
}

#[test]
fn a_token_is_good_until_a_session_has_started_and_then_the_new_one_is() {
    let place = Place::new();
    let mut first = place.first_host(Some("one"));
    first.hang_up();
    for _ in 0..2 {
        place.wait();
        let mut gone = place.setup().relayed("one").connect();
        assert_eq!(gone.reply(), Some(Reply::Hello { version: VERSION }));
    }
    place.next_host("one", Some("two")).hang_up();
    assert_eq!(told(place.knock(), &token::encode(b"one")), b"");
    place.next_host("two", Some("three")).hang_up();
    place.next_host("three", None).hang_up();
    first.exit();
}

#[test]
fn each_signal_that_asks_for_an_end_ends_a_runner_that_waits() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = Place::new();
        let mut first = place.first_host(Some("token"));
        first.hang_up();
        place.wait();
        first.signal(signal);
        assert!(first.exit().success());
        assert!(!place.socket().exists());
    }
}

#[test]
fn a_signal_that_asks_for_an_end_ends_a_runner_that_has_a_host_and_a_token() {
    let mut first = Place::new().first_host(Some("token"));
    first.signal(Signal::TERM);
    assert!(first.exit().success());
}

#[test]
fn the_first_process_of_a_container_reaps_orphans_while_it_waits() {
    if !Need::Namespaces.is_there() || !Need::Root.is_there() {
        return;
    }
    let place = Place::new();
    let mut first = place.setup().lingering(Some("token")).through(unshare(PROCESSES)).connect();
    let unshare = first.pid;
    first.reply();
    let mut session = place.setup().session;
    session.token = Some(ByteBuf::from("token"));
    first.send(&Request::Start(session));
    assert_eq!(first.reply(), Some(Reply::Ready { pid: 1, confined: None }));
    first.hang_up();
    place.wait();
    let runner = *children(unshare).first().expect("the runner is there");
    let entered = Command::new("nsenter")
        .args(["--target", &runner.pid.to_string(), "--pid", "sh", "-c", "sleep 0.1 &"])
        .status();
    assert!(entered.expect("nsenter starts").success());
    wait_until_equal("the orphan", vec![], || children(runner.pid));
    runner.signal(Signal::TERM);
    first.exit();
}

// Who is let in.

#[test]
fn who_does_not_know_the_token_is_refused_and_who_does_is_let_in_right_after() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mode = wait_until("the socket", || fs::metadata(place.socket()).ok()).permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for wrong in ["", "Token", "toke", "tokens", "token\0", &"x".repeat(1000)] {
        assert_eq!(told(place.knock(), &token::encode(wrong.as_bytes())), b"", "{wrong}");
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 2000]] {
        assert_eq!(told(place.knock(), bytes), b"");
    }
    // Those who break off.
    for length in [0, 3, 4, 8] {
        let mut visitor = place.knock();
        visitor.write_all(&token::encode(b"token")[..length]).expect("the runner is there");
    }
    place.next_host("token", None).stop();
    first.exit();
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mut silent: Vec<UnixStream> = (0..30).map(|_| place.knock()).collect();
    for visitor in silent.iter_mut().rev().take(3) {
        visitor.write_all(&token::encode(b"token")[..5]).expect("the runner is there");
    }
    // Who came first makes room for who came last.
    assert_eq!(told(silent.remove(0), b""), b"");
    let last = silent.last_mut().expect("there are many");
    last.set_nonblocking(true).expect("a socket");
    let left = last.read(&mut [0]).expect_err("nobody says anything");
    assert_eq!(left.kind(), std::io::ErrorKind::WouldBlock);
    let mut second = place.next_host("token", None);
    // Nobody else is left in the house.
    for mut visitor in silent {
        visitor.set_nonblocking(false).expect("a socket");
        let mut byte = [0];
        let left = visitor.read(&mut byte);
        assert!(!matches!(left, Ok(1)), "{left:?}");
    }
    second.stop();
    first.exit();
}

#[test]
fn who_shows_no_token_in_time_is_refused() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    assert_eq!(told(place.knock(), &token::encode(b"token")[..5]), b"");
    place.next_host("token", None).stop();
    first.exit();
}

#[test]
fn a_host_that_starts_no_session_in_time_makes_room_for_another() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    place.wait();
    let mut idle = place.setup().relayed("token").connect();
    assert_eq!(idle.reply(), Some(Reply::Hello { version: VERSION }));
    place.next_host("token", None).stop();
    assert_eq!(idle.reply(), None);
    first.exit();
}

#[test]
fn the_token_may_come_in_pieces() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mut visitor = place.knock();
    let bytes = token::encode(b"token");
    let (last, bytes) = bytes.split_last().expect("it is not empty");
    for byte in bytes {
        visitor.write_all(&[*byte]).expect("the runner is there");
        // Others come and go meanwhile.
        assert_eq!(told(place.knock(), &token::encode(b"other")), b"");
    }
    assert!(!told(visitor, &[*last]).is_empty(), "it says hello");
    end(first);
}

#[test]
fn one_host_at_a_time_is_let_in() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    let refused = || UnixStream::connect(place.socket()).expect_err("there is no door");
    refused();
    assert_eq!(first.ran(sh("ls ../host.sock 2>/dev/null || echo none")).stdout(), "none\n");
    first.hang_up();
    let mut second = place.next_host("token", None);
    refused();
    second.stop();
    first.exit();
}

// The relay.

/// What the relay says that finds no runner.
fn relay_in(place: &Place) -> (Option<i32>, String) {
    let mut command = Command::new(place.executable());
    let output = command.arg("connect").stdin(Stdio::null()).output().expect("the relay starts");
    assert_eq!(output.stdout, b"");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn a_relay_that_finds_no_runner_says_so() {
    let place = Place::new();
    let socket = place.socket();
    let none = |why: &str| {
        let socket = socket.display();
        let said = format!("failed to connect: no runner waits for a host at {socket}: {why}");
        (Some(1), format!("stockade-runner: {said}\n"))
    };
    let missing = none("No such file or directory (os error 2)");
    assert_eq!(relay_in(&place), missing);
    let mut first = place.first_host(Some("token"));
    assert_eq!(relay_in(&place), missing, "the runner has a host");
    // As a runner leaves it that is killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    assert_eq!(relay_in(&place), none("Connection refused (os error 111)"));
    first.hang_up();
    place.next_host("token", None).stop();
    first.exit();
}

#[test]
fn a_relay_carries_everything_both_ways() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mut second = place.next_host("token", None);
    let code = format!("# {}\nhead -c 5000000 /dev/zero", "x".repeat(5_000_000));
    let ran = second.ran(RunSpec { output_limit: 5_000_000, ..sh(code) });
    assert_eq!((ran.status(), ran.stdout().len()), (exited(0), 5_000_000));
    second.stop();
    first.exit();
}

#[test]
fn a_relay_holds_back_what_nobody_reads() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mut second = place.next_host("token", None);
    for number in 0..4 {
        let code = format!("head -c 4000000 /dev/zero; touch done{number}");
        second.run(RunSpec { output_limit: 4_000_000, ..sh(code) });
    }
    (0..4).for_each(|number| drop(second.file(&format!("done{number}"))));
    assert!(second.peak_memory_of_process() < 8 << 20);
    for run in 0..4 {
        assert_eq!(second.finished(run).stdout().len(), 4_000_000);
    }
    second.stop();
    first.exit();
}

#[test]
fn a_relay_ends_with_its_host_and_the_session_with_it() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    // A host that hangs up, and one that does not read any more.
    for leave in [Runner::hang_up, Runner::stop_listening] {
        let mut host = place.next_host("token", Some("token"));
        host.run(sh("touch ready; setsid sleep 987 & sleep 987"));
        host.file("ready");
        leave(&mut host);
        assert!(host.exit().success());
        place.wait();
        assert_eq!(host.survivors(), [""; 0]);
        fs::remove_file(host.path("ready")).expect("it was made");
    }
    end(first);
}

#[test]
fn a_relay_ends_with_the_runner() {
    let place = Place::new();
    let mut first = place.first_host(Some("token"));
    first.hang_up();
    let mut second = place.next_host("token", Some("token"));
    first.signal(Signal::KILL);
    assert_eq!(second.reply(), None);
    assert!(second.exit().success());
    first.exit();
    let mut third = place.first_host(None);
    third.stop();
}

// The executable.

#[test]
fn a_runner_that_was_delivered_removes_its_executable_unless_another_host_may_need_it() {
    if !Need::Mount.is_there() {
        return;
    }
    // The runner is started from where hosts deliver it, which nobody else sees.
    let deliver = "mount -t tmpfs tmpfs /run && mkdir /run/.stockade && cp \"$1\" /run/.stockade/x && shift \
                   && exec /run/.stockade/x \"$@\"";
    let through = || [unshare(MOUNTS), vec!["sh", "-c", deliver, "sh"]].concat();
    let look = || sh("ls -A /run/.stockade");
    let mut runner = Setup::new().through(through()).start();
    assert_eq!(runner.ran(look()).status_and_stdout(), (exited(0), String::new()));
    let mut runner = Setup::new().lingering(Some("token")).through(through()).start();
    assert_eq!(runner.ran(look()).status_and_stdout(), (exited(0), "x\n".into()));
    runner.signal(Signal::TERM);
    let place = Place::new();
    place.setup().start().stop();
    assert!(place.executable().exists(), "it was not delivered");
}

#[test]
fn a_runner_that_could_not_wait_for_a_host_does_not_start() {
    let place = Place::new();
    let long = place.folder.path().join("d".repeat(150));
    fs::create_dir(&long).expect("a directory");
    fs::hard_link(RUNNER, long.join("runner")).expect("linked");
    let lingers = |executable: PathBuf| {
        let mut command = Command::new(executable);
        // A host that is gone at once.
        let output = command.arg("linger").stdin(Stdio::piped()).output().expect("the runner starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let socket = long.join("host.sock").display().to_string();
    let (code, said) = lingers(long.join("runner"));
    let expected = format!("stockade-runner: failed to start: no other host could come to {socket}: ");
    assert!(code == Some(1) && said.starts_with(&expected), "{code:?} {said}");
    assert_eq!(lingers(place.executable()), (Some(0), String::new()));
}
