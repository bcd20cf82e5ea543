//! From a block's code to its file: where it is saved, and the names under which it is not.

use std::{fs, os::unix::fs::symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_bytes::ByteBuf;
use stockade_runner::{
    outcome::{Outcome, Status},
    wire::message::{Reply, Request, RunSpec},
};

use crate::harness::{Runner, exited, sh, until_file, whole};

/// The outcome of a shell block that was refused.
fn refused(notice: &str) -> Outcome {
    Outcome {
        language: "sh".into(),
        file: None,
        status: Status::NotRun { code: 1 },
        notice: Some(notice.to_owned()),
        wall_us: 0,
        cpu_us: 0,
        max_rss_bytes: 0,
        files: vec![],
        files_truncated: false,
        survivors: vec![],
    }
}

fn named(name: impl AsRef<[u8]>) -> RunSpec {
    sh([b"# filename: ", name.as_ref(), b"\ntouch ran"].concat())
}

#[track_caller]
fn assert_refused(runner: &mut Runner, name: impl AsRef<[u8]>, notice: &str) {
    let before = runner.names();
    let ran = runner.ran(named(name));
    assert_eq!((ran.result.as_ref(), ran.pieces.len()), (Ok(&refused(notice)), 0));
    assert_eq!(runner.names(), before, "nothing was saved, nothing ran");
}

#[test]
fn a_block_is_saved_in_the_workspace_under_a_name_made_from_its_code() {
    let mut runner = Runner::start();
    let code = "echo \"$0\"";
    let ran = runner.ran(sh(code));
    // printf '%s' 'echo "$0"' | sha256sum
    let path = runner.path("tmp_code_11633e590c88521e6754b320e7ff5f59cdb157a8457403f5f91e82ac528d954e.sh");
    assert_eq!(ran.status_and_stdout(), (exited(0), format!("{}\n", path.display())));
    assert_eq!(ran.outcome().file, Some(ByteBuf::from(path.to_str().expect("text"))));
    assert_eq!(fs::read_to_string(path).expect("saved"), code);
}

#[test]
fn a_block_names_its_file_and_its_folders_are_made() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("# filename: src/deep/app.sh\necho \"$0\"; pwd"));
    let (path, workspace) = (runner.path("src/deep/app.sh"), runner.path(""));
    let workspace = workspace.to_str().expect("text").trim_end_matches('/');
    assert_eq!(ran.status_and_stdout(), (exited(0), format!("{}\n{workspace}\n", path.display())));
    assert_eq!(ran.outcome().file, Some(ByteBuf::from(path.to_str().expect("text"))));
    assert!(path.is_file());
}

#[test]
fn a_name_is_any_bytes_that_a_file_can_have() {
    let mut runner = Runner::start();
    for name in
        [&b"with space.sh"[..], b"-n", b"\xff\xfe.sh", "ä\u{1f980}.sh".as_bytes(), b"$(touch x)", b"'\"\\"]
    {
        let ran = runner.ran(sh([b"# filename: ", name, b"\necho ok"].concat()));
        assert_eq!(ran.status_and_stdout(), (exited(0), "ok\n".into()), "{}", name.escape_ascii());
    }
    assert!(!runner.path("x").exists());
}

#[test]
fn a_name_that_leaves_the_workspace_is_refused() {
    let mut runner = Runner::start();
    let absolute =
        "Filename is not in the workspace: it is an absolute path, and only a relative one is taken";
    let parent =
        "Filename is not in the workspace: it has a `..` in it, and only paths that go down are taken";
    assert_refused(&mut runner, "/tmp/x.sh", absolute);
    assert_refused(&mut runner, "../x.sh", parent);
    assert_refused(&mut runner, "a/../../x.sh", parent);
    assert_refused(&mut runner, "a/../x.sh", parent);
}

#[test]
fn a_name_that_is_none_of_a_file_is_refused() {
    let mut runner = Runner::start();
    let directory = "Filename is that of a directory: it ends in `/` or `.` where a file's name was expected";
    assert_refused(&mut runner, "a/", directory);
    assert_refused(&mut runner, ".", directory);
    assert_refused(&mut runner, b"a\0b.sh", "Filename has a NUL byte in it, which no file name can have");
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let mut runner = Runner::start();
    let long = "n".repeat(300);
    assert_refused(&mut runner, &long, &format!("{long} can't be written: File name too long (os error 36)"));
    assert_eq!(runner.ran(named("n".repeat(255))).status(), exited(0));
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let mut runner = Runner::start();
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("theirs"), "untouched").expect("written");
    symlink(outside.path().join("theirs"), runner.path("last.sh")).expect("linked");
    symlink(outside.path().join("missing"), runner.path("dangling.sh")).expect("linked");
    symlink(outside.path(), runner.path("parent")).expect("linked");
    symlink("loop.sh", runner.path("loop.sh")).expect("linked");
    let is_link = |name: &str| format!("Filename is not in the workspace: {name} is a symbolic link");
    assert_refused(&mut runner, "last.sh", &is_link("last.sh"));
    assert_refused(&mut runner, "dangling.sh", &is_link("dangling.sh"));
    assert_refused(&mut runner, "parent/theirs", &is_link("parent"));
    assert_refused(&mut runner, "loop.sh", &is_link("loop.sh"));
    assert_eq!(fs::read_to_string(outside.path().join("theirs")).expect("there"), "untouched");
    assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 1);
}

#[test]
fn what_is_there_and_is_no_file_is_refused_and_not_waited_for() {
    let mut runner = Runner::start();
    mknodat(CWD, runner.path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
    fs::create_dir(runner.path("folder")).expect("a directory");
    fs::write(runner.path("file"), "").expect("written");
    let _socket = std::os::unix::net::UnixListener::bind(runner.path("socket")).expect("a socket");
    for name in ["pipe", "folder", "socket"] {
        assert_refused(&mut runner, name, &format!("{name} is there and is not a regular file"));
    }
    assert_refused(&mut runner, "file/below", "file can't be written: Not a directory (os error 20)");
    assert_eq!(runner.ran(named("file")).status(), exited(0), "a regular file is replaced");
}

#[test]
fn a_file_that_was_longer_is_not_left_with_its_old_end() {
    let mut runner = Runner::start();
    fs::write(runner.path("same.sh"), "exit 9\n".repeat(1000)).expect("written");
    assert_eq!(
        runner.ran(sh("# filename: same.sh\necho new")).status_and_stdout(),
        (exited(0), "new\n".into())
    );
}

#[test]
fn empty_code_runs() {
    let mut runner = Runner::start();
    assert_eq!(runner.ran(sh("")).status_and_stdout(), (exited(0), String::new()));
}

#[test]
fn code_of_a_megabyte_runs() {
    let mut runner = Runner::start();
    let code = format!("# {}\necho end", "x".repeat(1 << 20));
    assert_eq!(runner.ran(sh(&code)).status_and_stdout(), (exited(0), "end\n".into()));
    assert_eq!(fs::read(runner.path(&runner.names()[0])).expect("saved"), code.into_bytes());
}

#[test]
fn code_is_saved_as_it_is_whatever_its_bytes() {
    let mut runner = Runner::start();
    let code = b"echo before\n# \0\xff\r\n";
    let ran = runner.ran(sh(code));
    assert_eq!((ran.status(), ran.stdout().starts_with("before\n")), (exited(0), true));
    assert_eq!(fs::read(runner.path(&runner.names()[0])).expect("saved"), code);
}

// Files that the host asks for.

fn written(runner: &mut Runner, id: u64, path: &[u8], contents: &str) -> Result<String, String> {
    runner.send(&Request::Write { id, path: ByteBuf::from(path), entry: whole(contents) });
    runner.wait_for("the answer", |reply| match reply {
        Reply::Written { id: of, result } if *of == id => {
            let shown = result.clone().map(|path| String::from_utf8(path.into_vec()).expect("text"));
            Some(shown.map_err(|failure| failure.to_string()))
        }
        _ => None,
    })
}

#[test]
fn a_host_puts_files_in_the_workspace() {
    let mut runner = Runner::start();
    let path = runner.path("data/in.csv").to_str().expect("text").to_owned();
    assert_eq!(written(&mut runner, 7, b"data/in.csv", "a,b\n"), Ok(path));
    assert_eq!(runner.ran(sh("cat data/in.csv")).status_and_stdout(), (exited(0), "a,b\n".into()));
}

#[test]
fn a_host_does_not_write_over_the_file_of_a_run() {
    let mut runner = Runner::start();
    let run = runner.run(sh(format!("# filename: same.sh\ntouch ready; {}; echo mine", until_file("go"))));
    runner.file("ready");
    let why = "failed to write same.sh in the workspace: another run holds the file";
    assert_eq!(written(&mut runner, 0, b"same.sh", "echo theirs"), Err(why.to_owned()));
    runner.touch("go");
    assert_eq!(runner.finished(run).stdout(), "mine\n");
    assert!(written(&mut runner, 1, b"same.sh", "echo theirs").is_ok());
}

#[test]
fn a_host_puts_no_files_anywhere_else() {
    let mut runner = Runner::start();
    symlink("/tmp", runner.path("link")).expect("linked");
    let outside = "Filename is not in the workspace";
    for (id, (path, why)) in [
        ("../x", format!("{outside}: it has a `..` in it, and only paths that go down are taken")),
        ("/x", format!("{outside}: it is an absolute path, and only a relative one is taken")),
        ("", "Filename is empty".to_owned()),
        ("link/x", format!("{outside}: link is a symbolic link")),
    ]
    .into_iter()
    .enumerate()
    {
        let failure = format!("failed to write {path} in the workspace: {why}");
        assert_eq!(written(&mut runner, id as u64, path.as_bytes(), ""), Err(failure));
    }
    assert_eq!(runner.names(), ["link"]);
}
