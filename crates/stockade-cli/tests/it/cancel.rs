//! Ctrl-C, SIGTERM, and a reader of stdout that goes away.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Child,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{PATIENCE, Place, wait_for, wait_for_end};

/// Writes its process id, ignores SIGTERM and sleeps.
const STUBBORN: &str = "trap '' TERM; echo begun; echo $$ > pid.part; mv pid.part pid; sleep 60; sleep 60";

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits")).expect("no process is 0");
    kill_process(pid, signal).expect("the command runs");
}

/// Waits until the block runs; its process.
fn block(work_dir: &Path) -> Pid {
    let text = wait_for("the block", || fs::read_to_string(work_dir.join("pid")).ok());
    Pid::from_raw(text.trim().parse().expect("a process id")).expect("no process is 0")
}

fn is_gone(pid: Pid) -> Option<()> {
    test_kill_process(pid).is_err().then_some(())
}

#[test]
fn first_signal_cancels_the_run_and_sums_it_up() {
    for number in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let child = place.command(["run", "--no-sandbox", "-w", ".", "-l", "sh", "-c", STUBBORN]).spawn();
        let child = child.expect("the command starts");
        let block = block(place.path());
        signal(&child, number);
        let ended = wait_for_end(child);
        assert_eq!((ended.stdout.as_str(), ended.status), ("begun\n", Some(125)), "{ended}");
        assert!(ended.stderr.contains("cancelled after "), "{ended}");
        assert!(is_gone(block).is_some());
    }
}

#[test]
fn cancelled_run_is_a_result_for_machines_too() {
    let place = Place::new();
    let child = place.command(["run", "--json", "-w", ".", "-l", "sh", "-c", STUBBORN]).spawn();
    let child = child.expect("the command starts");
    block(place.path());
    signal(&child, Signal::INT);
    let ended = wait_for_end(child);
    assert_eq!(ended.status, Some(125), "{ended}");
    assert_eq!(ended.json()["blocks"][0]["status"], "cancelled");
    assert_eq!(ended.json()["blocks"][0]["stdout"], "begun\n");
}

#[test]
fn second_signal_ends_the_command_at_once_and_leaves_nothing() {
    let place = Place::new();
    let child = place.command(["run", "--no-sandbox", "-w", ".", "-l", "sh", "-c", STUBBORN]).spawn();
    let mut child = child.expect("the command starts");
    let block = block(place.path());
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    signal(&child, Signal::INT);
    let mut said = String::new();
    while !said.contains("once more") {
        assert!(stderr.read_line(&mut said).expect("stderr is readable") > 0, "{said}");
    }
    signal(&child, Signal::INT);
    let before = Instant::now();
    let ended = wait_for_end(child);
    assert_eq!(ended.status, Some(130), "{ended}");
    assert!(before.elapsed().as_millis() < 900, "the grace of a cancelled block is 1 s");
    wait_for("the end of the block", || is_gone(block));
}

#[test]
fn reader_that_goes_away_ends_the_run_quietly() {
    let place = Place::new();
    let code = "echo $$ > pid.part; mv pid.part pid; while :; do echo line; done";
    let child = place.command(["run", "--no-sandbox", "-w", ".", "-l", "sh", "-c", code]).spawn();
    let mut child = child.expect("the command starts");
    let block = block(place.path());
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    stdout.read_exact(&mut [0; 5]).expect("the block prints");
    drop(stdout);
    let ended = wait_for_end(child);
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(141)), "{ended}");
    wait_for("the end of the block", || is_gone(block));
}

#[test]
fn signal_is_heard_while_nobody_reads_stdout() {
    let place = Place::new();
    let code = "echo $$ > pid.part; mv pid.part pid; while :; do echo line; done";
    let child = place.command(["run", "--no-sandbox", "-w", ".", "-l", "sh", "-c", code]).spawn();
    let child = child.expect("the command starts");
    let block = block(place.path());
    // Nobody reads: the pipe fills, and the main thread is stuck in a write.
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&child, Signal::INT);
    wait_for("the end of the block", || is_gone(block));
    signal(&child, Signal::INT);
    let before = Instant::now();
    let ended = wait_for_end(child);
    assert!(before.elapsed() < PATIENCE && matches!(ended.status, Some(125 | 130)), "{}", ended.stderr);
}
