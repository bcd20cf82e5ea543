//! The runner as the first process of a container: nobody is above it, and every orphan is its own.

use stockade_runner::{outcome::Status, wire::message::RunId};

use crate::harness::{
    Runner, Setup, exited,
    needs::{Need, PROCESSES, unshare},
    sh, soon_out_of_time, wait_until_equal,
};

fn first_process() -> Runner {
    let runner = Setup::new().through(unshare(PROCESSES)).start();
    assert_eq!(runner.pid, 1);
    runner
}

#[test]
fn the_first_process_of_a_container_outlives_a_block_that_kills_all_that_it_can() {
    if !Need::Namespaces.is_there() {
        return;
    }
    let mut runner = first_process();
    for _ in 0..3 {
        let ran = runner.ran(sh("setsid sleep 987 & echo before; kill -9 -1; echo after"));
        assert_eq!(ran.stdout().lines().next(), Some("before"));
        assert!(matches!(ran.status(), Status::Signaled { signal: 9 } | Status::Exited { .. }), "{ran:?}");
        wait_until_equal("what the block killed", vec![], || runner.survivors());
        let runs: Vec<RunId> = (0..3).map(|number| runner.run(sh(format!("echo {number}")))).collect();
        for (number, run) in runs.into_iter().enumerate() {
            assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), format!("{number}\n")));
        }
    }
}

#[test]
fn the_first_process_of_a_container_ends_trees_as_any_other() {
    if !Need::Namespaces.is_there() {
        return;
    }
    let mut runner = first_process();
    assert_eq!(
        runner.ran(sh("(setsid sleep 986 &) ; echo left")).status_and_stdout(),
        (exited(0), "left\n".into())
    );
    let ran = runner
        .ran(soon_out_of_time(sh("(setsid sh -c 'trap \"\" TERM; sleep 987; sleep 987' &); sleep 987")));
    assert_eq!(ran.status(), Status::TimedOut);
    let left = runner.survivors();
    assert!(left.len() == 1 && left[0].ends_with(": sleep 986"), "{left:?}");
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}
