//! A memory limit: who was ended for it is told apart from who was killed, and blocks go before the processes that
//! watch over them.

use std::{fs, path::PathBuf};

use stockade_runner::outcome::Status;

use crate::harness::{
    Runner, Setup, exited,
    needs::{Need, memory_group},
    processes::children,
    sh, wait_until,
};

/// More than the runner needs, and soon full.
const LIMIT: &str = "67108864";
/// A block that takes what there is.
const EAT: &str = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";

/// A control group with a memory limit, for one runner and its blocks.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let group = memory_group().expect("the need was asked for");
        for (file, value) in [
            ("memory.limit_in_bytes", LIMIT),
            ("memory.memsw.limit_in_bytes", LIMIT),
            ("memory.max", LIMIT),
            ("memory.swap.max", "0"),
        ] {
            // Each version has its own, and swap is not everywhere limited.
            if group.join(file).exists() {
                let _ = fs::write(group.join(file), value);
            }
        }
        Self(group)
    }

    /// A runner in the group, with a session that has a limit or is not told of it.
    fn runner(&self, memory_limit: bool) -> Runner {
        let join = format!("echo $$ > '{}/cgroup.procs'; exec \"$@\"", self.0.display());
        let mut setup = Setup::new().through(["sh", "-c", &join, "sh"]);
        setup.session.memory_limit = memory_limit;
        setup.start()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            wait_until("the group to be empty", || fs::remove_dir(&self.0).ok());
        }
    }
}

#[test]
fn a_block_that_the_kernel_ends_for_the_limit_is_out_of_memory_and_the_session_goes_on() {
    if !Need::MemoryLimit.is_there() {
        return;
    }
    let group = Group::new();
    let mut runner = group.runner(true);
    for _ in 0..2 {
        let ran = runner.ran(sh(format!("echo before; {EAT}; echo after")));
        assert_eq!(ran.status_and_stdout(), (Status::OutOfMemory, "before\n".into()), "{ran:?}");
        assert_eq!(ran.notice(), "Out of memory: the kernel ended the block for the memory limit");
        assert_eq!(ran.status().exit_code(), 137);
        assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
    }
}

#[test]
fn a_block_whose_child_was_ended_for_the_limit_ends_as_it_says_itself() {
    if !Need::MemoryLimit.is_there() {
        return;
    }
    let group = Group::new();
    let mut runner = group.runner(true);
    let ran = runner.ran(sh(format!("sh -c '{EAT}' 2> /dev/null; echo $?; exit 3")));
    assert_eq!(ran.status_and_stdout(), (exited(3), "137\n".into()), "{ran:?}");
}

#[test]
fn a_block_that_was_killed_by_somebody_else_is_not_out_of_memory() {
    if !Need::MemoryLimit.is_there() {
        return;
    }
    let group = Group::new();
    let mut runner = group.runner(true);
    assert_eq!(runner.ran(sh("kill -9 $$")).status(), Status::Signaled { signal: 9 });
    assert_eq!(runner.ran(sh("kill -9 $PPID; sleep 987")).status(), Status::Signaled { signal: 9 });
    let ran = runner.ran(crate::harness::soon_out_of_time(sh(format!("sh -c '{EAT}'; sleep 987"))));
    assert_eq!(ran.status(), Status::TimedOut);
}

#[test]
fn a_block_whose_keeper_was_ended_for_the_limit_is_out_of_memory() {
    if !Need::MemoryLimit.is_there() {
        return;
    }
    let group = Group::new();
    let mut runner = group.runner(true);
    // The kernel would rather have the block: here somebody helps it.
    let ran = runner.ran(sh(format!("echo before; sh -c '{EAT}' 2> /dev/null; kill -9 $PPID; sleep 987")));
    assert_eq!(ran.status_and_stdout(), (Status::OutOfMemory, "before\n".into()));
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
}

#[test]
fn without_a_limit_it_is_a_signal() {
    if !Need::MemoryLimit.is_there() {
        return;
    }
    let group = Group::new();
    let mut runner = group.runner(false);
    assert_eq!(runner.ran(sh(EAT)).status(), Status::Signaled { signal: 9 });
}

#[test]
fn blocks_go_before_the_processes_that_watch_over_them() {
    if !Need::Root.is_there() {
        return;
    }
    let score = |process: &str| {
        let score =
            fs::read_to_string(format!("/proc/{process}/oom_score_adj")).expect("the process is there");
        score.trim().parse::<i32>().expect("a number")
    };
    let own = score("self");
    let mut setup = Setup::new();
    setup.session.memory_limit = true;
    setup.session.user = Some("51234:51235".to_owned());
    let mut runner = setup.start();
    for _ in 0..2 {
        let raised = (own + 500).min(1000);
        assert_eq!(runner.ran(sh("cat /proc/self/oom_score_adj")).stdout(), format!("{raised}\n"));
        for process in children(runner.pid).iter().map(|child| child.pid).chain([runner.pid]) {
            assert_eq!(score(&process.to_string()), own);
        }
    }
    assert_eq!(Runner::start().ran(sh("cat /proc/self/oom_score_adj")).stdout(), format!("{own}\n"));
}
