//! Many sessions, many blocks, much output. Each test that counts what its process uses has a process to itself.

use std::{fmt::Write, time::Duration};

use rustix::process::{Pid, getpid};
use stockade::{Event, Session};
use tokio::task::JoinSet;

use crate::{
    probe::{builder, descriptors, memory_kib, runner, start},
    support::{
        Running, need, outcome, output, python,
        respawn::{Respawned, is_respawned},
        run, sh,
    },
};

#[tokio::test]
async fn fifty_executors_live_in_one_process() {
    let mut starts = JoinSet::new();
    for number in 0..50 {
        starts.spawn(async move { (number, start(builder()).await) });
    }
    let sessions: Vec<(u32, Session)> = starts.join_all().await;
    let mut calls = JoinSet::new();
    for (number, session) in &sessions {
        let call = session.call(vec![sh(format!("echo {number} > file; cat file; exit {number}"))]);
        let number = *number;
        calls.spawn(async move { (number, call.run().await.expect("it runs")) });
    }
    for (number, result) in calls.join_all().await {
        assert_eq!((result.exit_code, result.output), (number as i32, format!("{number}\n")));
    }
    let mut stops = JoinSet::new();
    for (_, session) in sessions {
        stops.spawn(session.stop());
    }
    assert!(stops.join_all().await.iter().all(Result::is_ok));
}

/// What a process holds.
#[derive(Debug)]
struct Held {
    /// Nobody but root may count those of a runner, which lets nobody look into it.
    descriptors: Option<usize>,
    memory_kib: u64,
}

impl Held {
    fn by(pid: Pid) -> Self {
        Self { descriptors: descriptors(pid).ok(), memory_kib: memory_kib(pid, "VmRSS") }
    }

    fn assert_not_grown_since(&self, before: &Held) {
        // A runner has some keepers ready for later blocks; a leak would be one for each.
        assert!(
            self.descriptors <= before.descriptors.map(|number| number + 40),
            "{before:?}, then {self:?}"
        );
        assert!(self.memory_kib <= before.memory_kib + (16 << 10), "{before:?}, then {self:?}");
    }
}

#[tokio::test]
async fn a_thousand_blocks_leave_nothing_behind() {
    if !is_respawned() {
        return Respawned::new("scale::a_thousand_blocks_leave_nothing_behind").succeed();
    }
    let session = start(builder()).await;
    let runner = runner(&session).await;
    let run_some = async |first: usize, count: usize| {
        for number in first..first + count {
            let printed = output(&session, sh(format!("echo {number}; echo {number} > file"))).await;
            assert_eq!(printed, format!("{number}\n"));
        }
    };
    run_some(0, 100).await;
    let before = [Held::by(getpid()), Held::by(runner)];
    run_some(100, 900).await;
    Held::by(getpid()).assert_not_grown_since(&before[0]);
    Held::by(runner).assert_not_grown_since(&before[1]);
}

#[tokio::test]
async fn a_hundred_sessions_leave_nothing_behind() {
    if !is_respawned() {
        return Respawned::new("scale::a_hundred_sessions_leave_nothing_behind").succeed();
    }
    let start_some = async |count: usize| {
        for _ in 0..count {
            let session = start(builder()).await;
            output(&session, sh("sleep 600 &")).await;
            session.stop().await.expect("it stops");
        }
    };
    start_some(10).await;
    let before = Held::by(getpid());
    start_some(90).await;
    Held::by(getpid()).assert_not_grown_since(&before);
}

const AMOUNT: u64 = 300 << 20;
/// Kept of it: 1 MiB.
const KEPT: u64 = 1 << 20;

#[tokio::test]
async fn any_amount_of_output_takes_little_memory() {
    if !need::has_program("python", "python3", &["-c", ""]) {
        return;
    }
    if !is_respawned() {
        return Respawned::new("scale::any_amount_of_output_takes_little_memory").succeed();
    }
    let session = start(builder()).await;
    let runner = runner(&session).await;
    let print = python(format!(
        "import os\npiece = b'x' * (1 << 20)\nleft = {AMOUNT}\nwhile left: left -= os.write(1, piece[:left])"
    ));
    let peaks = || [memory_kib(getpid(), "VmHWM"), memory_kib(runner, "VmHWM")];
    let before = peaks();
    let silent = outcome(&session, print.clone()).await;
    assert_eq!((silent.exit_code, silent.dropped_bytes), (0, AMOUNT - KEPT));
    let (mut told, mut lost) = (0, 0);
    let mut listened = Running::new(session.call(vec![print]).timeout(Duration::from_secs(60)));
    while let Some(event) = listened.next_of_many().await {
        match event.expect("Stockade does its part") {
            Event::Output { data, .. } => told += data.as_bytes().len() as u64,
            Event::OutputLost { bytes, .. } => lost += bytes,
            _ => {}
        }
    }
    assert_eq!(told + lost, AMOUNT);
    for (before, after) in before.into_iter().zip(peaks()) {
        assert!(after <= before + (32 << 10), "from {before} to {after} KiB");
    }
}

#[tokio::test]
async fn a_call_of_many_blocks_and_large_code_is_bounded_by_nothing_but_memory() {
    let session = start(builder()).await;
    let mut comment = String::new();
    for line in 0..40_000 {
        writeln!(comment, "# line {line} of a long comment").expect("a string takes it");
    }
    let blocks: Vec<_> = (0..20).map(|number| sh(format!("{comment}echo {number}"))).collect();
    let result = run(&session, &blocks).await;
    assert_eq!(result.output, (0..20).map(|number| format!("{number}\n")).collect::<String>());
}

#[tokio::test]
async fn the_largest_output_limit_is_kept_to_the_last_byte() {
    const LIMIT: u64 = 64 << 20;
    const PRINTED: u64 = 100 << 20;
    let session = start(builder().output_limit(LIMIT)).await;
    let block = outcome(&session, sh(format!("head -c {PRINTED} /dev/zero"))).await;
    assert_eq!((block.exit_code, block.dropped_bytes), (0, PRINTED - LIMIT));
    let zeros = block.stdout.as_bytes().iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeros as u64, LIMIT);
    assert!(builder().output_limit(LIMIT + 1).build().is_err());
}

#[tokio::test]
async fn ten_gigabytes_of_output_are_counted_to_the_byte() {
    const PRINTED: u64 = 10 << 30;
    let session = start(builder()).await;
    let blocks = vec![sh(format!("head -c {PRINTED} /dev/zero; echo end"))];
    let result = session.call(blocks).timeout(Duration::from_secs(600)).run().await.expect("it runs");
    let block = &result.blocks[0];
    assert_eq!((block.exit_code, block.dropped_bytes), (0, PRINTED + 4 - (1 << 20)));
    assert!(block.stdout.as_bytes().ends_with(b"\0end\n"));
}
