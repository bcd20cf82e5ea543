//! The end of the host, in every way in which it can come: the runner ends everything that it started, and
//! exits.

use std::{
    env,
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use stockade_runner::{
    outcome::Status,
    wire::message::{Reply, Request, RunSpec},
};

use crate::harness::{
    PATIENCE, Runner, Setup, exited,
    processes::{Process, descendants},
    sh, until_file, wait_until_equal,
};

/// Has a block run, and another leave something behind. Gives all that the runner started.
fn busy(runner: &mut Runner) -> Vec<Process> {
    assert_eq!(runner.ran(sh("setsid sleep 987 & echo left")).status(), exited(0));
    runner.run(sh("(trap '' TERM; sleep 987) & setsid sleep 987 & touch ready; sleep 987"));
    runner.file("ready");
    descendants(runner.pid)
}

#[track_caller]
fn assert_all_gone(runner: &mut Runner, all: &[Process]) {
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
    let left: Vec<&Process> = all.iter().filter(|process| process.runs()).collect();
    assert_eq!(left, [&all[0]; 0]);
}

#[test]
fn the_end_of_the_stream_ends_everything() {
    let mut runner = Runner::start();
    let all = busy(&mut runner);
    runner.hang_up();
    assert_all_gone(&mut runner, &all);
}

#[test]
fn the_end_of_the_socket_ends_everything() {
    let mut runner = Setup::new().local(std::process::id()).start();
    let all = busy(&mut runner);
    runner.hang_up();
    assert_all_gone(&mut runner, &all);
}

#[test]
fn stop_ends_everything_and_tells_how_the_runs_ended() {
    let mut runner = Runner::start();
    let run = runner.run(sh("echo partial; touch ready; sleep 987"));
    let waiting = (0..2).map(|_| runner.run(sh("# filename: same\ntouch held; sleep 987")));
    let waiting: Vec<_> = waiting.collect();
    runner.file("ready");
    runner.file("held");
    let all = descendants(runner.pid);
    assert_eq!(runner.stop(), [0; 0]);
    assert_all_gone(&mut runner, &all);
    assert_eq!(runner.finished(run).status_and_stdout(), (Status::Cancelled, "partial\n".into()));
    for run in waiting {
        assert_eq!(runner.finished(run).status(), Status::Cancelled);
    }
}

#[test]
fn stop_ends_a_run_that_was_asked_for_in_the_same_breath() {
    for _ in 0..20 {
        let mut runner = Runner::start();
        let run = runner.run_and(sh("setsid sleep 987 & sleep 987"), |_| Request::Stop);
        let survivors = runner.wait_for("the end of everything", |reply| match reply {
            Reply::Stopped { survivors } => Some(survivors.clone()),
            _ => None,
        });
        assert_eq!(survivors, [0; 0]);
        assert_eq!(runner.survivors(), [""; 0]);
        assert_eq!(runner.finished(run).status(), Status::Cancelled);
    }
}

#[test]
fn the_end_of_the_stream_ends_a_run_that_was_asked_for_just_before() {
    for _ in 0..20 {
        let mut runner = Runner::start();
        runner.run(sh("setsid sleep 987 & sleep 987"));
        runner.hang_up();
        runner.exit();
        assert_eq!(runner.survivors(), [""; 0]);
    }
}

#[test]
fn stop_removes_the_workspace_when_that_was_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for remove_workspace in [false, true] {
        let workspace = folder.path().join("workspace");
        std::fs::create_dir_all(&workspace).expect("a directory");
        let mut setup = Setup::at(&workspace);
        setup.session.remove_workspace = remove_workspace;
        let mut runner = setup.start();
        assert_eq!(runner.ran(sh("mkdir -p a/b && echo > a/b/c")).status(), exited(0));
        runner.hang_up();
        runner.exit();
        assert_eq!(workspace.exists(), !remove_workspace);
    }
}

#[test]
fn each_signal_that_asks_for_an_end_ends_everything() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut runner = Runner::start();
        let all = busy(&mut runner);
        runner.signal(signal);
        assert_all_gone(&mut runner, &all);
    }
}

#[test]
fn signals_that_ask_for_nothing_do_nothing() {
    let mut runner = Runner::start();
    for signal in [Signal::PIPE, Signal::USR1, Signal::ALARM, Signal::CHILD, Signal::QUIT, Signal::TSTP] {
        runner.signal(signal);
    }
    assert_eq!(runner.ran(sh("echo on")).status_and_stdout(), (exited(0), "on\n".into()));
}

// Silence.

fn with_heartbeat(timeout_ms: u64) -> Runner {
    let mut setup = Setup::new();
    setup.session.heartbeat_timeout_ms = Some(timeout_ms);
    setup.start()
}

#[test]
fn a_host_that_is_not_heard_is_taken_for_dead() {
    let mut runner = with_heartbeat(300);
    runner.run(sh("setsid sleep 987 & sleep 987"));
    let started = Instant::now();
    runner.exit();
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_host_that_is_heard_is_not() {
    let mut runner = with_heartbeat(1500);
    let run = runner.run(sh(format!("{}; echo on", until_file("go"))));
    let until = Instant::now() + Duration::from_millis(3000);
    while Instant::now() < until {
        runner.round_trip();
        // The time between two signs of life.
        std::thread::sleep(Duration::from_millis(50));
    }
    runner.touch("go");
    runner.round_trip();
    assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "on\n".into()));
}

#[test]
fn a_host_that_never_starts_a_session_is_not_waited_for_once_it_is_gone() {
    let mut runner = Setup::new().connect();
    assert!(matches!(runner.reply(), Some(Reply::Hello { .. })));
    runner.hang_up();
    runner.exit();
}

// A host that does not read.

/// Asks for blocks whose results are more than a stream holds, and reads none of them.
fn ask_for_much(runner: &mut Runner) {
    let code = |number| format!("head -c 4000000 /dev/zero; touch done{number}");
    for number in 0..4 {
        runner.run(RunSpec { output_limit: 4_000_000, live: true, ..sh(code(number)) });
    }
    runner.run(sh("setsid sleep 987 & touch ready; sleep 987"));
}

/// The same, until the results are there.
fn deaf(runner: &mut Runner) {
    ask_for_much(runner);
    runner.file("ready");
    (0..4).for_each(|number| drop(runner.file(&format!("done{number}"))));
}

#[test]
fn a_host_that_does_not_read_is_heard_when_it_hangs_up() {
    let mut runner = Runner::start();
    deaf(&mut runner);
    runner.hang_up();
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_host_that_does_not_read_is_heard_when_it_asks_to_stop() {
    let mut runner = Runner::start();
    deaf(&mut runner);
    runner.send(&Request::Stop);
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_host_that_does_not_read_is_seen_to_fall_silent() {
    let mut runner = with_heartbeat(1500);
    ask_for_much(&mut runner);
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_host_that_reads_late_is_given_everything() {
    let mut runner = Runner::start();
    deaf(&mut runner);
    for run in 0..4 {
        let ran = runner.finished(run);
        assert_eq!((ran.status(), ran.stdout().len()), (exited(0), 4_000_000));
    }
}

#[test]
fn a_host_that_can_not_be_told_anything_is_gone() {
    let mut runner = Runner::start();
    let all = busy(&mut runner);
    runner.stop_listening();
    runner.send(&Request::Heartbeat);
    assert_all_gone(&mut runner, &all);
}

// The host's process.

#[test]
fn the_death_of_the_hosts_process_ends_everything_though_its_stream_is_open() {
    let mut host = Command::new("sleep").arg("985").spawn().expect("sleep starts");
    let mut runner = Setup::new().local(host.id()).start();
    let all = busy(&mut runner);
    host.kill().expect("it is our child");
    host.wait().expect("it is our child");
    assert_all_gone(&mut runner, &all);
}

/// Makes this binary the host of a runner instead of a test.
const PLAY: &str = "STOCKADE_TEST_PLAY_HOST";

#[test]
#[ignore = "the host that another test kills"]
fn plays_the_host() {
    if env::var_os(PLAY).is_none() {
        return;
    }
    let mut setup = Setup::new().local(std::process::id());
    setup.session.remove_workspace = true;
    let mut runner = setup.start();
    busy(&mut runner);
    let stream = OwnedFd::from(runner.stream().try_clone().expect("a descriptor is free"));
    let mut worker = Command::new("sleep").arg("120").stdin(stream).spawn().expect("sleep starts");
    println!("\nhost: {} {} {}", runner.pid, worker.id(), runner.path("").display());
    let _ = worker.wait();
}

/// A host in a process of its own, and what it told of itself.
struct Host {
    process: Child,
    runner: u32,
    /// Holds the stream.
    worker: u32,
    workspace: PathBuf,
}

fn start_host() -> Host {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args(["--exact", "host::plays_the_host", "--ignored", "--nocapture"]).env(PLAY, "1");
    let mut process = command.stdout(Stdio::piped()).spawn().expect("this binary starts");
    let stdout = BufReader::new(process.stdout.take().expect("a pipe was asked for"));
    let lines = stdout.lines().map(|line| line.expect("text"));
    let told = lines.filter_map(|line| line.strip_prefix("host: ").map(str::to_owned)).next();
    let told = told.expect("the host is ready before it ends");
    let [runner, worker, workspace] =
        told.splitn(3, ' ').collect::<Vec<_>>().try_into().expect("three words");
    Host {
        process,
        runner: runner.parse().expect("a pid"),
        worker: worker.parse().expect("a pid"),
        workspace: workspace.into(),
    }
}

#[test]
fn nothing_survives_a_host_that_is_killed_while_its_worker_holds_the_stream() {
    let mut host = start_host();
    let all = descendants(host.process.id());
    let find = |pid| *all.iter().find(|process| process.pid == pid).expect("it runs");
    let (runner, worker) = (find(host.runner), find(host.worker));
    assert!(all.len() > 6, "{all:?}");
    host.process.kill().expect("it is our child");
    host.process.wait().expect("it is our child");
    let left = || all.iter().copied().filter(|process| process.runs()).collect::<Vec<_>>();
    wait_until_equal("what the host started", vec![worker], left);
    assert!(!runner.runs() && !host.workspace.exists());
    worker.signal(Signal::KILL);
}
