//! Files that runs share: who names a file has it alone, what was generated is shared and cleaned up by the
//! last, in one runner and across several on the same workspace.

use std::fs;

use stockade_runner::{
    outcome::Status,
    wire::message::{Reply, RunId, RunSpec},
};

use crate::harness::{Runner, Setup, exited, sh, until_file};

fn has_started(runner: &Runner, wanted: RunId) -> bool {
    runner.heard().iter().any(|reply| matches!(reply, Reply::Started { run, .. } if *run == wanted))
}

/// Waits, then prints itself.
fn holding(number: u32) -> RunSpec {
    sh(format!("# filename: same.sh\n{}; cat same.sh; echo {number}", until_file(&format!("go{number}"))))
}

#[track_caller]
fn assert_printed_itself(runner: &mut Runner, run: RunId, number: u32) {
    let ran = runner.finished(run);
    let code = String::from_utf8(holding(number).code.into_vec()).expect("text");
    assert_eq!(ran.status_and_stdout(), (exited(0), format!("{code}{number}\n")));
}

#[test]
fn runs_that_name_the_same_file_run_one_after_the_other_in_order() {
    let mut runner = Runner::start();
    let runs: Vec<RunId> = (0..4).map(|number| runner.run(holding(number))).collect();
    for number in 0..4 {
        let run = runs[number as usize];
        runner.started(run);
        runner.round_trip();
        let started = runs.iter().filter(|run| has_started(&runner, **run)).count();
        assert_eq!(started, number as usize + 1, "{number} runs alone");
        runner.touch(&format!("go{number}"));
        assert_printed_itself(&mut runner, run, number);
    }
}

#[test]
fn runs_that_name_different_files_run_at_once() {
    let mut runner = Runner::start();
    let code =
        |mine: &str, other: &str| sh(format!("# filename: {mine}.sh\ntouch {mine}; {}", until_file(other)));
    let (one, two) = (runner.run(code("one", "two")), runner.run(code("two", "one")));
    assert_eq!(runner.finished(one).status(), exited(0));
    assert_eq!(runner.finished(two).status(), exited(0));
}

#[test]
fn the_time_for_which_a_run_waits_for_its_file_is_not_of_its_deadline() {
    let mut runner = Runner::start();
    let first = runner.run(sh("# filename: same.sh\nsleep 2"));
    let second = runner.run(RunSpec { timeout_ms: 1500, ..sh("# filename: same.sh\necho second") });
    let third = runner.run(RunSpec { timeout_ms: 1500, ..sh("# filename: same.sh\nsleep 987") });
    assert_eq!(runner.finished(first).status(), exited(0));
    assert_eq!(runner.finished(second).status_and_stdout(), (exited(0), "second\n".into()));
    assert_eq!(runner.finished(third).status(), Status::TimedOut);
}

#[test]
fn a_run_waits_for_the_file_that_a_run_of_another_runner_named() {
    let mut one = Runner::start();
    let mut two = Setup::at(&one.path("")).start();
    let first = one.run(holding(1));
    one.started(first);
    let second = two.run(holding(2));
    let other = two.run(sh("# filename: other.sh\necho other"));
    assert_eq!(two.finished(other).status_and_stdout(), (exited(0), "other\n".into()));
    assert!(!has_started(&two, second));
    one.touch("go2");
    two.round_trip();
    assert!(!has_started(&two, second));
    one.touch("go1");
    assert_printed_itself(&mut one, first, 1);
    assert_printed_itself(&mut two, second, 2);
}

#[test]
fn what_a_block_left_behind_does_not_hold_the_blocks_file() {
    let mut runner = Runner::start();
    for _ in 0..2 {
        let ran = runner.ran(sh("# filename: same.sh\nsleep 987 & echo done"));
        assert_eq!(ran.status_and_stdout(), (exited(0), "done\n".into()));
    }
}

// Generated files.

#[test]
fn the_same_code_runs_many_times_at_once_and_its_file_goes_with_the_last() {
    let mut runner = Setup::new().cleanup_temp_files().start();
    let code = format!("echo . >> begun; {}; cat \"$0\" > /dev/null && echo mine", until_file("go"));
    let runs: Vec<RunId> = (0..16).map(|_| runner.run(sh(&code))).collect();
    crate::harness::wait_until_equal("all to run", 32, || runner.file("begun").len());
    runner.touch("go");
    for run in runs {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "mine\n".into()));
    }
    assert_eq!(runner.names(), ["begun", "go"]);
}

#[test]
fn the_same_code_in_two_runners_shares_a_file_that_goes_with_the_last() {
    let mut one = Setup::new().cleanup_temp_files().start();
    let mut two = Setup::at(&one.path("")).cleanup_temp_files().start();
    let code = format!("echo . >> begun; {}; cat \"$0\" > /dev/null && echo mine", until_file("$WHO"));
    let spec = |who| RunSpec { env: vec![crate::harness::variable("WHO", who)], ..sh(&code) };
    let (first, second) = (one.run(spec("one")), two.run(spec("two")));
    crate::harness::wait_until_equal("both to run", 4, || one.file("begun").len());
    one.touch("one");
    assert_eq!(one.finished(first).status_and_stdout(), (exited(0), "mine\n".into()));
    assert_eq!(one.names().len(), 3, "the file is needed still: {:?}", one.names());
    one.touch("two");
    assert_eq!(two.finished(second).status_and_stdout(), (exited(0), "mine\n".into()));
    assert_eq!(one.names(), ["begun", "one", "two"]);
}

#[test]
fn two_runners_that_clean_up_do_not_take_each_others_files_away() {
    let mut one = Setup::new().cleanup_temp_files().start();
    let mut two = Setup::at(&one.path("")).cleanup_temp_files().start();
    for round in 0..20 {
        let code = format!("echo {}", round / 5);
        let runs: Vec<(RunId, RunId)> = (0..4).map(|_| (one.run(sh(&code)), two.run(sh(&code)))).collect();
        for (first, second) in runs {
            let expected = (exited(0), format!("{}\n", round / 5));
            assert_eq!(one.finished(first).status_and_stdout(), expected);
            assert_eq!(two.finished(second).status_and_stdout(), expected);
        }
    }
    assert_eq!(one.names(), [""; 0]);
}

#[test]
fn files_are_cleaned_up_however_the_run_ends() {
    let mut runner = Setup::new().cleanup_temp_files().start();
    let ends = ["exit 3", "kill -9 $$", "kill -9 $PPID; sleep 987"];
    for code in ends {
        runner.ran(sh(code));
    }
    assert_eq!(runner.ran(RunSpec { timeout_ms: 100, ..sh("sleep 987") }).status(), Status::TimedOut);
    assert_eq!(runner.names(), [""; 0]);
    let left = runner.run(sh("echo > ready; sleep 987"));
    runner.file("ready");
    runner.stop();
    assert_eq!(runner.finished(left).status(), Status::Cancelled);
    assert_eq!(runner.names(), ["ready"]);
}

#[test]
fn generated_files_stay_unless_they_are_to_be_cleaned_up() {
    let mut runner = Runner::start();
    runner.ran(sh("true"));
    runner.ran(sh("false"));
    assert_eq!(runner.names().len(), 2);
}

#[test]
fn what_the_block_or_the_user_named_is_never_cleaned_up() {
    let mut runner = Setup::new().cleanup_temp_files().start();
    fs::write(runner.path("users.txt"), "mine").expect("written");
    runner.ran(sh("# filename: named.sh\necho > made.txt"));
    assert_eq!(runner.names(), ["made.txt", "named.sh", "users.txt"]);
}

#[test]
fn a_file_that_was_there_before_is_not_cleaned_up_though_it_has_the_codes_name() {
    let mut keeping = Runner::start();
    keeping.ran(sh("echo same"));
    let [name] = keeping.names().try_into().expect("one file");
    let mut cleaning = Setup::at(&keeping.path("")).cleanup_temp_files().start();
    assert_eq!(cleaning.ran(sh("echo same")).status_and_stdout(), (exited(0), "same\n".into()));
    assert_eq!(keeping.names(), [name]);
}
