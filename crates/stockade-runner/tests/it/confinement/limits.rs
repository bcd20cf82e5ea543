//! What each process of confined code may use at most, and that it goes first when memory runs out.

use std::fs;

use stockade_runner::{
    outcome::Status,
    wire::message::{ProcessLimits, RunSpec},
};

use super::{confined, confined_as, kill, shown};
use crate::harness::{Ran, Runner, exited, needs::Need, sh, variable};

fn limited(limits: ProcessLimits) -> Runner {
    confined_as(|confinement| confinement.limits = limits).start()
}

#[test]
fn open_files_are_limited_and_the_limit_is_not_raised() {
    let mut runner = limited(ProcessLimits { open_files: Some(32), ..ProcessLimits::default() });
    assert_eq!(
        shown(&mut runner, sh("ulimit -n; ulimit -Hn; ulimit -n 64 2> /dev/null || echo denied")),
        "32\n32\ndenied\n"
    );
    let default = shown(&mut Runner::start(), sh("ulimit -Hn"));
    assert_eq!(shown(&mut confined(), sh("ulimit -Hn")), default);
}

#[test]
fn a_file_does_not_grow_beyond_its_limit() {
    let mut runner = limited(ProcessLimits { file_size: Some(65536), ..ProcessLimits::default() });
    let write = |bytes: u32| sh(format!("head -c {bytes} /dev/zero > file"));
    assert_eq!(runner.ran(write(65536)).status(), exited(0));
    assert_ne!(runner.ran(write(65537)).status(), exited(0));
    assert_eq!(fs::metadata(runner.path("file")).expect("it was made").len(), 65536);
    // Not of what it prints, nor of what the runner saves or hands over for it.
    let long = format!("head -c 100000 /dev/zero | wc -c # {}", "x".repeat(100_000));
    let spec = RunSpec { env: vec![variable("LARGE", "x".repeat(70_000))], ..sh(long) };
    assert_eq!(shown(&mut runner, spec), "100000\n");
}

#[test]
fn processor_time_is_limited_for_a_block_and_not_for_the_session() {
    let mut runner = limited(ProcessLimits { cpu_seconds: Some(1), ..ProcessLimits::default() });
    for _ in 0..2 {
        let ran: Ran = runner.ran(sh("while :; do :; done"));
        assert_eq!(ran.status(), Status::Signaled { signal: 9 });
        assert_eq!(ran.outcome().notice, None, "its keeper lives");
    }
    assert_eq!(shown(&mut runner, sh("echo more")), "more\n");
}

#[test]
fn confined_blocks_go_first_when_memory_runs_out_and_can_not_change_that() {
    if !Need::Landlock.is_there() || !Need::Root.is_there() {
        return;
    }
    let read = |process: &str| -> i32 {
        let score =
            fs::read_to_string(format!("/proc/{process}/oom_score_adj")).expect("the process is there");
        score.trim().parse().expect("a number")
    };
    let own = read("self");
    let raised = (own + 500).min(1000);
    let mut setup = confined_as(|_| ());
    setup.session.memory_limit = true;
    let mut runner = setup.start();
    let code =
        "cat /proc/self/oom_score_adj; (echo -1000 > /proc/self/oom_score_adj) 2> /dev/null || echo denied";
    for _ in 0..2 {
        assert_eq!(shown(&mut runner, sh(code)), format!("{raised}\ndenied\n"));
        assert_eq!(read(&runner.pid.to_string()), own);
        kill(&runner, |_| true);
    }
    assert_eq!(shown(&mut confined(), sh("cat /proc/self/oom_score_adj")), format!("{own}\n"));
}
