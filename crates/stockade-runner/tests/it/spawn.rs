//! What a block's process starts with: everything fresh, whatever the runner itself was started with.

use std::{fs, process::Command};

use crate::harness::{RUNNER, Runner, Setup, exited, needs::Need, sh, until_file};

#[track_caller]
fn printed(runner: &mut Runner, code: &str) -> String {
    let ran = runner.ran(sh(code));
    assert_eq!((ran.status(), ran.stderr().as_str()), (exited(0), ""));
    ran.stdout()
}

#[test]
fn a_block_has_a_session_of_its_own() {
    let mut runner = Runner::start();
    let code = "read -r pid name state parent group session rest < /proc/$$/stat
        echo $((group - pid)) $((session - pid))";
    assert_eq!(printed(&mut runner, code), "0 0\n");
}

#[test]
fn a_block_has_an_empty_stdin() {
    let mut runner = Runner::start();
    assert_eq!(printed(&mut runner, "cat; readlink /proc/$$/fd/0"), "/dev/null\n");
    assert_eq!(printed(&mut runner, "read -r answer || echo nobody answers"), "nobody answers\n");
}

#[test]
fn a_block_runs_in_the_workspace() {
    let mut runner = Runner::start();
    let workspace = fs::canonicalize(runner.path("")).expect("it is there");
    assert_eq!(printed(&mut runner, "pwd -P"), format!("{}\n", workspace.display()));
}

/// What a program inherits of signals.
const MASKS: &str = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
const CLEAN: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";

#[test]
fn a_block_has_no_signal_blocked_or_ignored() {
    let mut runner = Runner::start();
    assert_eq!(printed(&mut runner, MASKS), CLEAN);
}

#[test]
fn a_block_has_no_signal_blocked_or_ignored_when_its_runner_was_started_with_some() {
    let odd = ["env", "--block-signal=USR1,TERM", "--ignore-signal=HUP,PIPE,CHLD"];
    let output = Command::new(odd[0]).args(&odd[1..]).args(["sh", "-c", MASKS]).output().expect("env starts");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("SigIgn:\t0000000000000000"), "{output:?}");
    let mut runner = Setup::new().through(odd).start();
    assert_eq!(printed(&mut runner, MASKS), CLEAN);
}

#[test]
fn a_block_has_no_descriptors_but_the_three() {
    let code = "ls /proc/self/fd";
    let through = ["sh", "-c", "exec 5< /etc/passwd 7> /dev/null; exec \"$@\"", "sh"];
    let outside = Command::new(through[0]).args(&through[1..]).args(["sh", "-c", code]).output().expect("sh");
    assert!(String::from_utf8_lossy(&outside.stdout).contains('7'), "{outside:?}");
    let mut runner = Setup::new().through(through).start();
    // The fourth is the directory that `ls` reads.
    assert_eq!(printed(&mut runner, code), "0\n1\n2\n3\n");
    let busy = runner.run(sh(format!("sleep 987 & {}", until_file("go"))));
    runner.started(busy);
    assert_eq!(printed(&mut runner, code), "0\n1\n2\n3\n", "nor those of another block");
    runner.touch("go");
    runner.finished(busy);
}

#[test]
fn a_block_has_the_limits_that_the_runner_was_given() {
    let code = "ulimit -Sn; ulimit -Hn; ulimit -Sc";
    let mut runner =
        Setup::new().through(["sh", "-c", "ulimit -Sn 300; ulimit -Hn 400; exec \"$@\"", "sh"]).start();
    assert!(printed(&mut runner, code).starts_with("300\n400\n"));
    let outside = Command::new("sh").args(["-c", code]).output().expect("sh");
    assert_eq!(printed(&mut Runner::start(), code), String::from_utf8_lossy(&outside.stdout));
}

#[test]
fn a_block_has_no_terminal_though_its_runner_has_one() {
    if !Need::Terminal.is_there() {
        return;
    }
    let open = "if (: < /dev/tty) 2> /dev/null; then echo terminal; else echo none; fi";
    let folder = tempfile::tempdir().expect("a temporary directory");
    let outer = folder.path().join("outer");
    // `script` gives the terminal, and the wire goes past it over other descriptors.
    let within = format!("{open} > '{}'; exec '{RUNNER}' stdio <&8 >&9", outer.display());
    let without = "exec 8<&0 9>&1; exec script -q -c \"$WITHIN\" /dev/null < /dev/null > /dev/null";
    let setup = Setup::new().outer_env("WITHIN", within).through(["sh", "-c", without, "sh"]);
    let mut runner = setup.start();
    assert_eq!(fs::read_to_string(&outer).expect("it was asked first"), "terminal\n");
    assert_eq!(printed(&mut runner, open), "none\n");
}
