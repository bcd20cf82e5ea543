//! What a block used: time and memory, its own and its children's.

use crate::harness::{Runner, exited, sh};

#[test]
fn time_that_is_slept_is_no_cpu_time() {
    let mut runner = Runner::start();
    let burning = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
    let slept = runner.ran(sh("sleep 1"));
    assert_eq!(slept.status(), exited(0));
    let (wall, cpu) = (slept.outcome().wall_us, slept.outcome().cpu_us);
    assert!(wall >= 1_000_000 && cpu < wall / 4, "{wall} {cpu}");
    // In a child that the block waits for.
    let burned = runner.ran(sh(format!("sh -c '{burning}'; exit 3")));
    assert_eq!(burned.status(), exited(3));
    let (wall, cpu) = (burned.outcome().wall_us, burned.outcome().cpu_us);
    assert!(cpu > 10_000 && cpu < wall * 2, "{wall} {cpu}");
}

#[test]
fn memory_is_that_of_the_largest_process() {
    let mut runner = Runner::start();
    // `tail` has to hold what it may have to print.
    let large = runner.ran(sh("head -c 60000000 /dev/zero | tail -c 50000000 | wc -c"));
    assert_eq!(large.status_and_stdout(), (exited(0), "50000000\n".into()));
    let small = runner.ran(sh("true"));
    let (large, small) = (large.outcome().max_rss_bytes, small.outcome().max_rss_bytes);
    assert!(large >= 50_000_000 && (1..25_000_000).contains(&small), "{large} {small}");
}
