//! What comes over the wire that should not: the runner ends or ignores it, and never hangs.

use std::process::{Command, Stdio};

use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    frame::{MAX_FRAME, encode},
    message::{Failure, Refusal, Reply, Request, RunSpec, SessionSpec, VERSION},
};

use crate::harness::{RUNNER, Runner, Setup, exited, sh, whole};

/// A runner that has said hello.
fn greeted(setup: Setup) -> Runner {
    let mut runner = setup.connect();
    assert_eq!(runner.reply(), Some(Reply::Hello { version: VERSION }));
    runner
}

/// Sends bytes to a session with a process in it, and leaves the stream open.
#[track_caller]
fn assert_ends_at(bytes: &[u8]) {
    let mut runner = Runner::start();
    runner.run(sh("touch ready; setsid sleep 987 & sleep 987"));
    runner.file("ready");
    // It may end before it has read them all.
    let _ = runner.write(bytes);
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

fn frame_of(request: &Request) -> Vec<u8> {
    encode(request).expect("it fits")
}

#[test]
fn a_frame_that_comes_in_pieces_is_one_frame() {
    let mut runner = Runner::start();
    for byte in [frame_of(&Request::Heartbeat), frame_of(&Request::Heartbeat)].concat() {
        runner.write(&[byte]).expect("the runner reads");
    }
    assert_eq!(runner.reply(), Some(Reply::Heartbeat));
    assert_eq!(runner.reply(), Some(Reply::Heartbeat));
}

#[test]
fn a_torn_frame_ends_everything() {
    let mut runner = Runner::start();
    runner.run(sh("touch ready; sleep 987"));
    runner.file("ready");
    let frame = frame_of(&Request::Cancel { run: 0 });
    runner.write(&frame[..frame.len() - 1]).expect("the runner reads");
    runner.hang_up();
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_frame_that_is_too_large_ends_everything_before_it_comes() {
    assert_ends_at(&(MAX_FRAME as u32 + 1).to_le_bytes());
    assert_ends_at(&u32::MAX.to_le_bytes());
}

#[test]
fn bytes_that_are_no_message_end_everything() {
    assert_ends_at(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_ends_at(&[0; 4]);
    assert_ends_at(&[1, 0, 0, 0, 0xff]);
    let mut trailing = frame_of(&Request::Heartbeat);
    trailing[0] += 1;
    trailing.push(0);
    assert_ends_at(&trailing);
}

#[test]
fn a_length_inside_a_message_is_not_believed() {
    // A `Write` whose contents claim to be almost 2^64 bytes.
    let mut body = frame_of(&Request::Write { id: 0, path: ByteBuf::new(), entry: whole(b"") })[4..].to_vec();
    body.pop();
    body.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_ends_at(&[&(body.len() as u32).to_le_bytes(), body.as_slice()].concat());
}

#[test]
fn what_is_asked_before_the_session_starts_is_ignored() {
    let setup = Setup::new();
    let session = setup.session.clone();
    let mut runner = greeted(setup);
    runner.run(sh("touch ran"));
    runner.send(&Request::Cancel { run: 0 });
    runner.send(&Request::Languages);
    runner.send(&Request::WatchBackground);
    runner.send(&Request::Write { id: 0, path: ByteBuf::from("written"), entry: whole(b"") });
    runner.send(&Request::Heartbeat);
    assert_eq!(runner.reply(), Some(Reply::Heartbeat), "nothing else is answered");
    runner.send(&Request::Start(session));
    assert_eq!(runner.reply(), Some(Reply::Ready { pid: runner.pid, confined: None }));
    assert_eq!(runner.ran(sh("echo ok")).status_and_stdout(), (exited(0), "ok\n".into()));
    assert_eq!(runner.names().iter().filter(|name| !name.starts_with("tmp_code_")).count(), 0);
}

#[test]
fn stop_before_the_session_starts_is_answered() {
    let mut runner = greeted(Setup::new());
    assert_eq!(runner.stop(), [0; 0]);
}

#[test]
fn a_second_start_ends_everything() {
    assert_ends_at(&frame_of(&Request::Start(SessionSpec::default())));
}

#[test]
fn two_runs_of_one_number_end_everything() {
    // The session has a run of that number.
    assert_ends_at(&frame_of(&Request::Run(RunSpec { run: 0, ..sh("echo never") })));
}

#[test]
fn a_runner_whose_stream_is_none_ends() {
    for transport in ["stdio", "local"] {
        let mut command = Command::new(RUNNER);
        command.arg(transport).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert_ne!(command.status().expect("the runner starts").code(), None, "{transport}");
    }
}

#[test]
fn a_session_whose_workspace_can_not_be_used_does_not_start() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    for (workspace, why, errno) in [
        (folder.path().join("missing"), "No such file or directory (os error 2)", 2),
        (file.clone(), "Not a directory (os error 20)", 20),
        (file.join("below"), "Not a directory (os error 20)", 20),
    ] {
        let setup = Setup::at(&workspace);
        let session = setup.session.clone();
        let mut runner = greeted(setup);
        runner.send(&Request::Start(session));
        let doing = format!("use {} as the workspace", workspace.display());
        let failure = Failure { doing, why: why.into(), errno: Some(errno) };
        assert_eq!(runner.reply(), Some(Reply::StartFailed { refusal: Refusal::Workspace, failure }));
        assert_eq!(runner.reply(), None);
        runner.exit();
    }
}

#[test]
fn the_command_says_how_it_is_used() {
    for arguments in [&[][..], &["nonsense"], &["--help"]] {
        let output = Command::new(RUNNER).args(arguments).output().expect("the runner starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: stockade-runner "));
    }
    let output = Command::new(RUNNER).arg("--version").output().expect("the runner starts");
    let version = format!("stockade-runner {} (wire {VERSION})\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(0), version.as_str())
    );
}
