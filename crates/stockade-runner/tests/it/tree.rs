//! The tree of a block's processes: whatever one did to get away, it ends with its run, with the session and
//! with the runner.

use rustix::process::Signal;
use stockade_runner::{
    outcome::Status,
    wire::message::{Request, RunId, RunSpec},
};

use crate::harness::{Runner, block, exited, needs::Need, sh, variable, wait_until};

/// Ways for a process to get away from the block that started it. Each makes the file `$AWAY` once it
/// is away, and is known by the number `$LONG`.
const WAYS: &[(&str, &str)] = &[
    ("a session of its own", "setsid sh -c 'touch $AWAY; exec sleep $LONG' & wait"),
    ("nohup", "nohup sh -c 'touch $AWAY; exec sleep $LONG' > /dev/null & wait"),
    ("its parent is gone", "(sh -c 'touch $AWAY; exec sleep $LONG' &); sleep $LONG"),
    ("deaf", "(trap '' TERM HUP INT; touch $AWAY; while :; do sleep $LONG; done) & sleep $LONG"),
    ("stopped", "setsid sh -c 'touch $AWAY; kill -STOP $$; sleep $LONG' & sleep $LONG"),
    (
        "stopped and deaf",
        "setsid sh -c 'trap \"\" TERM; touch $AWAY; kill -STOP $$; sleep $LONG' & sleep $LONG",
    ),
    // The block itself ends at the request, and leaves the others to themselves.
    ("left in the grace", "setsid sh -c 'trap \"\" TERM; touch $AWAY; sleep $LONG; sleep $LONG' & wait"),
    ("always new", "setsid sh -c 'trap \"\" TERM; touch $AWAY; while :; do (sleep 0.01); done' $LONG & wait"),
];

/// All that daemons do.
const DAEMON: (&str, &str) = (
    "daemon",
    "
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        os.chdir('/')
        null = os.open('/dev/null', os.O_RDWR)
        for descriptor in 0, 1, 2:
            os.dup2(null, descriptor)
        open(os.environ['AWAY'], 'w')
        time.sleep(987)
    os._exit(0)
time.sleep(987)
",
);

/// Has a process get away in every way, and waits until all are away.
fn all_away(runner: &mut Runner, timeout_ms: u64) -> Vec<(&'static str, RunId)> {
    let shell = WAYS.iter().map(|(way, code)| (*way, sh(code)));
    let python = Need::Python.is_there().then(|| (DAEMON.0, block("python", DAEMON.1)));
    let ways: Vec<(&str, RunSpec)> = shell.chain(python).collect();
    let mut runs = Vec::new();
    for (number, (way, spec)) in ways.into_iter().enumerate() {
        let away = runner.path(&format!("away{number}")).into_os_string().into_encoded_bytes();
        let env = vec![variable("AWAY", away), variable("LONG", format!("{}", 9870 + number))];
        runs.push((way, runner.run(RunSpec { timeout_ms, env, ..spec })));
    }
    for number in 0..runs.len() {
        runner.file(&format!("away{number}"));
    }
    assert!(runner.survivors().len() >= runs.len());
    runs
}

#[test]
fn a_timeout_ends_every_process_whatever_it_did_to_get_away() {
    let mut runner = Runner::start();
    for (way, run) in all_away(&mut runner, 4000) {
        let ran = runner.finished(run);
        assert_eq!((ran.status(), ran.outcome().survivors.as_slice()), (Status::TimedOut, &[][..]), "{way}");
    }
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_cancel_ends_every_process_whatever_it_did_to_get_away() {
    let mut runner = Runner::start();
    let mut runs = all_away(&mut runner, 600_000);
    while let Some((way, run)) = runs.pop() {
        runner.send(&Request::Cancel { run });
        let ran = runner.finished(run);
        assert_eq!((ran.status(), ran.outcome().survivors.as_slice()), (Status::Cancelled, &[][..]), "{way}");
        assert!(runner.survivors().len() >= runs.len(), "the others go on");
    }
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn stop_ends_every_process_whatever_it_did_to_get_away() {
    let mut runner = Runner::start();
    all_away(&mut runner, 600_000);
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn the_end_of_the_stream_ends_every_process_whatever_it_did_to_get_away() {
    let mut runner = Runner::start();
    all_away(&mut runner, 600_000);
    runner.hang_up();
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn every_process_ends_when_the_runner_is_killed_whatever_it_did_to_get_away() {
    let mut runner = Runner::start();
    all_away(&mut runner, 600_000);
    runner.signal(Signal::KILL);
    runner.exit();
    runner.wait_for_no_survivor();
}

/// A fork bomb that tells when it has gone off. It runs as a user of its own where that is possible, so that
/// the limit counts it and nobody else; and it rests now and then, for the sake of the other tests.
const BOMB: &str = "
import os, random, resource, time
full = os.open('full', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if os.geteuid() == 0:
    limit = 200
    os.setuid(random.randrange(200_000, 2_000_000_000))
else:
    limit = len([name for name in os.listdir('/proc') if name.isdigit()]) + 200
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
while True:
    try:
        os.fork()
    except OSError:
        os.write(full, b'.')
        time.sleep(0.02)
";

/// Waits until the bomb has gone off.
fn wait_for_bomb(runner: &Runner) {
    wait_until("the bomb", || (!runner.file("full").is_empty()).then_some(()));
}

#[test]
fn a_fork_bomb_is_ended() {
    if !Need::Python.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let run = runner.run(block("python", BOMB));
    wait_for_bomb(&runner);
    runner.send(&Request::Cancel { run });
    assert_eq!(runner.finished(run).status(), Status::Cancelled);
    assert_eq!(runner.survivors(), [""; 0]);
    let ran = runner.ran(RunSpec { timeout_ms: 1000, ..block("python", BOMB) });
    assert_eq!(ran.status(), Status::TimedOut);
    assert_eq!(runner.survivors(), [""; 0]);
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
}

#[test]
fn a_fork_bomb_ends_with_the_session() {
    if !Need::Python.is_there() {
        return;
    }
    let mut runner = Runner::start();
    runner.run(block("python", BOMB));
    wait_for_bomb(&runner);
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_fork_bomb_ends_with_the_runner() {
    if !Need::Python.is_there() {
        return;
    }
    let mut runner = Runner::start();
    runner.run(block("python", BOMB));
    wait_for_bomb(&runner);
    runner.signal(Signal::KILL);
    runner.exit();
    runner.wait_for_no_survivor();
}
