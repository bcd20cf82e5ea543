//! What a run leaves on the screen and as its exit status, for every way a block can end.

use std::io::Read;

use crate::support::{Ended, Place, assert_page, wait_for, wait_for_end};

fn run(args: &[&str]) -> Ended {
    Place::new().stockade([["run", "--no-sandbox"].as_slice(), args].concat())
}

#[test]
fn local_run_is_in_a_sandbox_unless_that_is_turned_off() {
    let place = Place::with("secret", "of the host\n");
    let read = format!("cat {}", place.path().join("secret").display());
    let sandboxed = place.stockade(["run", "-l", "sh", "-c", &read]);
    assert_eq!((sandboxed.status, sandboxed.stdout.as_str()), (Some(1), ""), "{sandboxed}");
    let twin = place.stockade(["run", "--no-sandbox", "-l", "sh", "-c", &read]);
    assert_eq!((twin.status, twin.stdout.as_str()), (Some(0), "of the host\n"), "{twin}");
    let shown = place.path().to_str().expect("it is text");
    let allowed = place.stockade(["run", "--allow-read", shown, "-l", "sh", "-c", &read]);
    assert_eq!((allowed.status, allowed.stdout.as_str()), (Some(0), "of the host\n"), "{allowed}");
}

#[test]
fn block_that_fails_for_want_of_the_network_is_told_how_to_get_it() {
    let place = Place::new();
    let connect = |address: &str| format!("import socket\nsocket.create_connection(('{address}', 9))");
    for level in ["namespaces", "landlock"] {
        let run = ["run", "--sandbox", level, "-l", "python", "-c"];
        let denied = place.stockade([run.as_slice(), &[&connect("192.0.2.1")]].concat());
        assert_eq!(denied.status, Some(1), "{denied}");
        assert!(denied.stderr.contains("\nhint: the sandbox has no network"), "{denied}");
        assert!(denied.stderr.contains("`--network host`"), "{denied}");
        let other = place.stockade([run.as_slice(), &["print(1 / 0)"]].concat());
        assert!(other.status == Some(1) && !other.stderr.contains("hint"), "{other}");
    }
    // With the network of this host the same failure is the block's own.
    let args = ["run", "--sandbox", "namespaces", "--network", "host", "-l", "python", "-c"];
    let allowed = place.stockade([args.as_slice(), &[&connect("127.0.0.1")]].concat());
    assert!(allowed.status == Some(1) && !allowed.stderr.contains("hint"), "{allowed}");
}

#[test]
fn streams_of_a_block_stay_apart() {
    let ended = run(&["-l", "sh", "-c", "echo out; echo err >&2"]);
    assert_page!(ended, @"
    status: Some(0)
    --- stdout
    out
    --- stderr
    err
    1 block in [time]
    ");
}

#[test]
fn several_blocks_have_headers_and_a_summary() {
    let place = Place::with(
        "a.md",
        "```sh\necho one > made.txt\necho one\n```\n\ntext\n\n```python\nprint('two')\n```\n",
    );
    assert_page!(place.stockade(["run", "--no-sandbox", "a.md"]), @"
    status: Some(0)
    --- stdout
    one
    two
    --- stderr
    [1/2] sh  a.md:2
    [2/2] python  a.md:9
    1  sh      a.md:2  ok  [time]  made.txt
    2  python  a.md:9  ok  [time]
    2 blocks in [time]; files were temporary, -w DIR keeps them
    ");
}

#[test]
fn first_failure_stops_the_run() {
    let place = Place::with("a.md", "```sh\nexit 3\n```\n```sh\necho after\n```\n```sh\necho later\n```\n");
    assert_page!(place.stockade(["run", "--no-sandbox", "a.md"]), @"
    status: Some(3)
    --- stdout
    --- stderr
    [1/3] sh  a.md:2
    1  sh  a.md:2  exit code 3  [time]
    block 1 of 3: exit code 3; 2 left out
    ");
}

#[test]
fn keep_going_runs_the_blocks_after_a_failure() {
    let place = Place::with("a.md", "```sh\nexit 3\n```\n```sh\necho after\n```\n");
    assert_page!(place.stockade(["run", "--no-sandbox", "--keep-going", "a.md"]), @"
    status: Some(0)
    --- stdout
    after
    --- stderr
    [1/2] sh  a.md:2
    [2/2] sh  a.md:5
    1  sh  a.md:2  exit code 3  [time]
    2  sh  a.md:5  ok           [time]
    1 of 2 blocks failed, in [time]
    ");
}

#[test]
fn block_that_runs_out_of_time_keeps_its_output() {
    let ended =
        run(&["--timeout", "300ms", "-l", "python", "-c", "print('begun')\nimport time\ntime.sleep(60)"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("begun\n", Some(124)), "{ended}");
    assert!(ended.stderr.contains("timed out after "), "{ended}");
}

#[test]
fn block_that_a_signal_ends_has_its_number() {
    let ended = run(&["-l", "sh", "-c", "kill -9 $$"]);
    assert_page!(ended, @"
    status: Some(137)
    --- stdout
    --- stderr
    ended by signal 9 after [time]
    ");
}

#[test]
fn unknown_language_says_what_there_is() {
    let ended = run(&["-l", "klingon", "-c", "Qapla'"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(1)), "{ended}");
    assert!(ended.stderr.contains("klingon") && ended.stderr.contains("python"), "{ended}");
}

#[test]
fn missing_interpreter_says_what_was_looked_for() {
    let place = Place::new();
    let mut command = place.command(["run", "--no-sandbox", "-l", "julia", "-c", "1"]);
    let ended = Ended::new(command.env("PATH", "/nonexistent").output().expect("the command starts"));
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(127)), "{ended}");
    assert!(ended.stderr.contains("julia") && ended.stderr.contains("/nonexistent"), "{ended}");
}

#[test]
fn block_that_is_only_saved_is_a_success() {
    let place = Place::with("a.md", "```json\n{}\n```\n```sh\necho ran\n```\n");
    let ended = place.stockade(["run", "--no-sandbox", "a.md"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
    assert!(ended.stderr.contains("saved"), "{ended}");
}

#[test]
fn file_name_that_leaves_the_workspace_is_not_run() {
    let ended = run(&["-l", "python", "-c", "# filename: ../evil.py\nprint('ran')"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(1)), "{ended}");
    assert!(ended.stderr.contains("Filename is not in the workspace"), "{ended}");
}

#[test]
fn work_dir_is_where_blocks_run_and_what_they_make_stays() {
    let place = Place::new();
    let ended =
        place.stockade(["run", "--no-sandbox", "-w", "work", "-l", "sh", "-c", "echo kept > made.txt"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    let made = std::fs::read_to_string(place.path().join("work/made.txt"));
    assert_eq!(made.expect("the file is there"), "kept\n");
}

#[test]
fn work_dir_that_is_a_file_is_a_failure_with_a_hint() {
    let place = Place::with("work", "");
    let ended = place.stockade(["run", "--no-sandbox", "-w", "work", "-l", "sh", "-c", "true"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(70)), "{ended}");
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains("work"), "{ended}");
    assert!(ended.stderr.contains("\nhint: "), "{ended}");
}

#[test]
fn variables_reach_the_block_only_when_asked_for() {
    let place = Place::new();
    let code = "echo \"${SET-none} ${PASSED-none} ${SECRET-none}\"";
    let mut command =
        place.command(["run", "--no-sandbox", "-e", "SET=a=b", "-e", "PASSED", "-l", "sh", "-c", code]);
    let ended =
        Ended::new(command.env("PASSED", "p").env("SECRET", "s").output().expect("the command starts"));
    assert_eq!((ended.stdout.as_str(), ended.status), ("a=b p none\n", Some(0)), "{ended}");
}

#[test]
fn every_byte_of_a_block_goes_through_a_pipe() {
    let code = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 1000 + b'\\x1b]0;title\\x07')";
    let place = Place::new();
    let output = place.command(["run", "--no-sandbox", "-l", "python", "-c", code]).output();
    let expected: Vec<u8> = (0..=255).cycle().take(256_000).chain(*b"\x1b]0;title\x07").collect();
    assert!(output.expect("the command starts").stdout == expected);
}

#[test]
fn block_waits_for_a_late_reader_and_every_byte_arrives() {
    const BYTES: usize = 60_000_000;
    let code = format!(
        "import sys\nopen('started', 'w').close()\nsys.stdout.buffer.write(bytes(range(250)) * ({BYTES} // 250))"
    );
    let place = Place::new();
    let child = place.command(["run", "--no-sandbox", "-w", ".", "-l", "python", "-c", &code]).spawn();
    let mut child = child.expect("the command starts");
    wait_for("the block to print", || place.path().join("started").exists().then_some(()));
    let mut arrived = Vec::new();
    child.stdout.take().expect("stdout is a pipe").read_to_end(&mut arrived).expect("the pipe is readable");
    assert!(arrived.len() == BYTES && arrived == (0..250).cycle().take(BYTES).collect::<Vec<u8>>());
    assert_eq!(wait_for_end(child).status, Some(0));
}

#[test]
fn unfinished_line_is_not_glued_to_the_summary() {
    let ended = run(&["-l", "sh", "-c", "printf unfinished >&2"]);
    assert_page!(ended, @"
    status: Some(0)
    --- stdout
    --- stderr
    unfinished
    1 block in [time]
    ");
}

#[test]
fn stdout_that_is_full_is_a_failure() {
    let place = Place::new();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full is always full");
    let mut command = place.command(["run", "--no-sandbox", "-l", "sh", "-c", "echo x"]);
    let ended = Ended::new(command.stdout(full).output().expect("the command starts"));
    assert_page!(ended, @"
    status: Some(70)
    --- stdout
    --- stderr
    error: failed to write to stdout: No space left on device (os error 28)
    hint: check where the output goes: is the disk full?
    ");
}
