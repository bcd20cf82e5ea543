//! Many blocks: nothing is left of any, in the runner or beside it.

use stockade_runner::wire::message::{RunId, RunSpec};

use crate::harness::{Runner, exited, needs::Need, processes::children, sh, wait_until, wait_until_equal};

/// The runner's open descriptors but those of its children, one each; it shows them to root only.
fn descriptors(runner: &Runner) -> usize {
    let folder = format!("/proc/{}/fd", runner.pid);
    let open = std::fs::read_dir(folder).expect("root may look").count();
    open - children(runner.pid).len()
}

/// How many there are before any block has run.
fn descriptors_at_start(runner: &Runner) -> usize {
    wait_until("the first keeper", || (children(runner.pid).len() == 2).then_some(()));
    descriptors(runner)
}

/// Runs so many blocks, at most `at_once` at a time.
fn run_many(runner: &mut Runner, count: usize, at_once: usize, code: &str) {
    for _ in 0..count / at_once {
        let runs: Vec<RunId> = (0..at_once).map(|_| runner.run(sh(code))).collect();
        for run in runs {
            assert_eq!(runner.finished(run).status(), exited(0));
        }
        runner.forget();
    }
}

/// Waits until all children of the runner but the zygote and the spare keepers are gone.
fn wait_for_few_children(runner: &Runner) {
    wait_until("the children to be reaped", || (children(runner.pid).len() <= 33).then_some(()));
    assert!(children(runner.pid).iter().all(|child| child.runs()), "no child waits to be reaped");
}

#[test]
fn two_thousand_blocks_leave_no_descriptor_and_no_process() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let before = descriptors_at_start(&runner);
    run_many(&mut runner, 80, 8, "true");
    let peak = runner.peak_memory();
    run_many(&mut runner, 2000, 8, "true");
    let grown = runner.peak_memory() - peak;
    assert!(grown < 1 << 20, "{grown}");
    wait_until_equal("descriptors", before, || descriptors(&runner));
    wait_for_few_children(&runner);
}

#[test]
fn more_blocks_at_once_than_there_are_descriptors_all_run() {
    let through = ["sh", "-c", "ulimit -n 128; exec \"$@\"", "sh"];
    let mut runner = crate::harness::Setup::new().through(through).start();
    run_many(&mut runner, 100, 100, "echo ok");
    wait_for_few_children(&runner);
}

#[test]
fn blocks_that_leave_something_behind_do_not_use_up_the_runner() {
    let mut runner = Runner::start();
    let runs: Vec<RunId> =
        (0..50).map(|number| runner.run(sh(format!("sleep 987 & echo {number}")))).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), format!("{number}\n")));
    }
    assert_eq!(runner.survivors().len(), 50);
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn refused_blocks_leave_no_descriptor_either() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let refuse = |runner: &mut Runner| {
        let missing = crate::harness::variable("PATH", "/nonexistent");
        runner.ran(RunSpec { env: vec![missing], ..sh("true") });
        runner.ran(sh("# filename: ../x"));
        runner.ran(sh(format!("# filename: {}", "n".repeat(300))));
        runner.ran(RunSpec { timeout_ms: 0, ..sh("sleep 987") });
        runner.ran(sh("kill -9 $PPID"));
    };
    let before = descriptors_at_start(&runner);
    (0..5).for_each(|_| refuse(&mut runner));
    wait_until_equal("descriptors", before, || descriptors(&runner));
}
