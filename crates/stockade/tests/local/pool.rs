//! Sessions that are started ahead: their order, their limits, what becomes of them in every fault, and that nothing of
//! them stays. Started by an executor that fails, hangs and panics when it is told to.

use std::{
    collections::VecDeque,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::{Signal, getpid};
use stockade::{
    BoxFuture, CancellationToken, CodeExecutor, Error, LocalCommandLineCodeExecutor, Pool, PoolBuilder,
    PoolMetrics, RestartableExecutor, Result, Sandbox, Session, Status,
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

use crate::{
    probe::{builder, children, descriptors, ended, memory_kib, runner, signal},
    support::{
        Mark, Running, eventually, need, output, patiently,
        respawn::{Respawned, is_respawned},
        sh,
    },
};

/// Never the reason for an end.
const LONG: Duration = Duration::from_secs(600);

/// Tells whether somebody was there before, and leaves something behind.
const FRESH: &str = "[ -e left ] || echo fresh; echo left > left; sleep 600 &";

fn local() -> LocalCommandLineCodeExecutor {
    builder().build().expect("the options are valid")
}

fn built(builder: PoolBuilder) -> Pool {
    builder.acquire_timeout(LONG).build().expect("the options are valid")
}

async fn acquired(pool: &Pool) -> Session {
    patiently("a session", pool.acquire().into_future()).await.expect("there is one")
}

async fn closed(pool: &Pool) {
    patiently("the end of the pool", pool.close(LONG)).await;
}

/// Waits until the pool tells so of itself.
async fn told(pool: &Pool, what: &str, is_so: impl Fn(&PoolMetrics) -> bool) {
    eventually(what, || is_so(&pool.metrics()).then_some(())).await;
}

/// An acquire that waits in the queue.
async fn waiting(pool: &Pool) -> JoinHandle<Result<Session>> {
    let before = pool.metrics().waiting;
    let task = tokio::spawn(pool.acquire().into_future());
    told(pool, "the wait", |metrics| metrics.waiting > before).await;
    task
}

/// What a start does.
#[derive(Debug, Clone, Copy)]
enum Start {
    Fails,
    Panics,
}

/// An executor that is told what its next starts do; after those they go well. Each waits until it is let.
#[derive(Debug, Clone)]
struct Told {
    executor: LocalCommandLineCodeExecutor,
    starts: Arc<Mutex<VecDeque<Start>>>,
    begun: Arc<AtomicUsize>,
    let_on: Arc<Semaphore>,
}

impl Told {
    fn new(starts: impl IntoIterator<Item = Start>) -> Self {
        let starts = Arc::new(Mutex::new(starts.into_iter().collect()));
        Self { executor: local(), starts, begun: Arc::default(), let_on: Arc::new(Semaphore::new(1 << 20)) }
    }

    /// Whose starts wait.
    fn held() -> Self {
        Self { let_on: Arc::new(Semaphore::new(0)), ..Self::new([]) }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl CodeExecutor for Told {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.let_on.acquire().await.expect("it is never closed").forget();
            let told = self.starts.lock().expect("no panic").pop_front();
            match told {
                Some(Start::Fails) => {
                    let why = "as it was told".to_owned();
                    Err(Error::Container { doing: "start".to_owned(), why, hint: None })
                }
                Some(Start::Panics) => panic!("as it was told"),
                None => self.executor.start().await,
            }
        })
    }
}

#[tokio::test]
async fn each_session_is_fresh_and_its_end_makes_room_for_another() {
    let pool = built(Pool::builder(local()).min_idle(1).max_total(2));
    patiently("a full pool", pool.fill()).await.expect("it can be filled");
    assert_eq!((pool.metrics().idle, pool.metrics().in_use), (1, 0));
    let mut seen = Vec::new();
    for number in 0..6 {
        let session = acquired(&pool).await;
        assert_eq!(output(&session, sh(FRESH)).await, "fresh\n", "{number}");
        assert!(!seen.contains(&session.work_dir().to_owned()), "it was somebody's");
        seen.push(session.work_dir().to_owned());
        if number % 2 == 0 {
            session.stop().await.expect("it stops");
        }
    }
    closed(&pool).await;
    assert!(seen.iter().all(|work_dir| !work_dir.exists()), "{seen:?}");
    let metrics = pool.metrics();
    assert_eq!((metrics.counts.acquired, metrics.counts.timed_out), (6, 0));
    assert!(metrics.counts.started >= 6 && metrics.counts.start_time.total > Duration::ZERO);
}

#[tokio::test]
async fn an_exhausted_pool_says_so_in_time_and_goes_on_when_there_is_room() {
    let pool = built(Pool::builder(local()).max_total(2));
    let (first, second) = (acquired(&pool).await, acquired(&pool).await);
    for within in [Duration::ZERO, Duration::from_millis(20)] {
        let error = patiently("the refusal", pool.acquire().within(within).into_future()).await;
        let error = error.expect_err("both are in use");
        assert!(
            matches!(error, Error::PoolExhausted { max_total: 2, in_use: 2, starting: 0, waited } if waited == within),
            "{error:?}"
        );
        assert_eq!(error.kind(), "pool_exhausted");
    }
    assert_eq!((pool.metrics().counts.timed_out, pool.metrics().waiting), (2, 0));
    let next = waiting(&pool).await;
    first.stop().await.expect("it stops");
    let third = patiently("the session", next).await.expect("no panic").expect("there is room");
    assert_eq!(output(&third, sh("echo on")).await, "on\n");
    drop((second, third));
    closed(&pool).await;
}

#[tokio::test]
async fn acquires_are_served_in_their_order_and_one_that_is_cancelled_loses_nothing() {
    let executor = Told::held();
    let pool = built(Pool::builder(executor.clone()).min_idle(0).max_total(1));
    let mut queue = VecDeque::new();
    for _ in 0..5 {
        queue.push_back(waiting(&pool).await);
    }
    let cancelled = queue.remove(1).expect("there are five");
    cancelled.abort();
    assert!(cancelled.await.is_err_and(|error| error.is_cancelled()));
    told(&pool, "his leaving", |metrics| metrics.waiting == 4).await;
    while let Some(first) = queue.pop_front() {
        executor.let_on.add_permits(1);
        let session = patiently("the first in the queue", first).await.expect("no panic").expect("it starts");
        assert!(queue.iter().all(|other| !other.is_finished()), "somebody was served before his turn");
        drop(session);
    }
    closed(&pool).await;
    assert_eq!((pool.metrics().counts.acquired, executor.begun()), (4, 4));
}

#[tokio::test]
async fn a_session_whose_taker_is_gone_in_that_moment_is_somebody_elses() {
    let executor = Told::held();
    let pool = built(Pool::builder(executor.clone()).min_idle(0).max_total(1));
    for _ in 0..20 {
        // Handed to a future that is not polled again.
        let mut late = Box::pin(pool.acquire().into_future());
        assert!(tokio::time::timeout(Duration::ZERO, &mut late).await.is_err(), "it waits");
        executor.let_on.add_permits(1);
        told(&pool, "the hand-over", |metrics| metrics.in_use == 1).await;
        drop(late);
        assert_eq!((pool.metrics().idle, pool.metrics().in_use), (1, 0));
        drop(acquired(&pool).await);
        told(&pool, "its end", |metrics| metrics.in_use == 0).await;
    }
    closed(&pool).await;
    assert_eq!(executor.begun(), 20);
}

#[tokio::test]
async fn a_start_that_fails_or_panics_is_told_with_its_cause_and_the_next_goes_well() {
    let executor = Told::new([Start::Fails, Start::Panics, Start::Fails]);
    let pool = built(Pool::builder(executor).min_idle(0));
    let failed = async || patiently("the refusal", pool.acquire().into_future()).await.expect_err("it fails");
    assert!(failed().await.to_string().contains("as it was told"));
    let panicked = failed().await;
    assert!(matches!(panicked, Error::RunnerStart { .. }), "{panicked:?}");
    failed().await;
    let session = acquired(&pool).await;
    assert_eq!(output(&session, sh("echo on")).await, "on\n");
    drop(session);
    closed(&pool).await;
    assert_eq!(pool.metrics().counts.failed_starts, 3);
}

#[tokio::test]
async fn a_pool_that_could_not_be_filled_says_why_and_fills_itself_when_starts_go_well_again() {
    let executor = Told::new([Start::Fails, Start::Fails, Start::Fails]);
    let pool = built(Pool::builder(executor.clone()).min_idle(1));
    let error = patiently("the refusal", pool.fill()).await.expect_err("it fails");
    assert!(error.to_string().contains("as it was told"), "{error}");
    told(&pool, "the refill", |metrics| metrics.idle == 1).await;
    assert_eq!((executor.begun(), pool.metrics().counts.failed_starts), (4, 3));
    closed(&pool).await;
}

#[tokio::test]
async fn an_idle_session_whose_runner_was_killed_is_replaced_and_given_to_nobody() {
    if !is_respawned() {
        return Respawned::new(
            "pool::an_idle_session_whose_runner_was_killed_is_replaced_and_given_to_nobody",
        )
        .succeed();
    }
    let pool = built(Pool::builder(local()).min_idle(1));
    pool.fill().await.expect("it can be filled");
    for killed in 1..=5 {
        let runner: i32 = children().pop().expect("there is one").parse().expect("a number");
        signal(rustix::process::Pid::from_raw(runner).expect("a process"), Signal::KILL);
        told(&pool, "the replacement", |metrics| {
            metrics.counts.ended_while_idle == killed && metrics.idle == 1
        })
        .await;
    }
    let session = acquired(&pool).await;
    assert_eq!(output(&session, sh("echo on")).await, "on\n");
    drop(session);
    closed(&pool).await;
}

#[tokio::test]
async fn idle_sessions_are_replaced_in_time_and_those_in_use_have_half_of_their_life_at_least() {
    let lifetime = Duration::from_millis(400);
    let pool = built(Pool::builder(local()).min_idle(2).max_lifetime(lifetime));
    pool.fill().await.expect("it can be filled");
    told(&pool, "the replacement", |metrics| metrics.counts.expired_while_idle >= 4).await;
    let (session, mark) = (acquired(&pool).await, Mark::new());
    let call = session.call(vec![sh("echo ready; sleep 600")]).env(mark.name(), mark.value()).timeout(LONG);
    let result = Running::until(call, "ready").await.result().await;
    assert_eq!((result.blocks[0].status, &*result.blocks[0].stdout.text()), (Status::Cancelled, "ready\n"));
    mark.gone_from_host().await;
    let error = session.call(vec![sh("true")]).run().await.expect_err("its time is over");
    let why = "failed to run the blocks: the session's time in its pool was over (max_lifetime, 400.0ms)";
    assert_eq!(error.to_string(), why);
    told(&pool, "its end", |metrics| metrics.in_use == 0 && metrics.counts.expired_in_use == 1).await;
    closed(&pool).await;
}

#[tokio::test]
async fn a_closing_pool_waits_for_those_in_use_and_refuses_everybody_else() {
    let pool = built(Pool::builder(local()).min_idle(1).max_total(1));
    let session = acquired(&pool).await;
    let late = waiting(&pool).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(LONG).await }
    });
    let error = patiently("the refusal", late).await.expect("no panic").expect_err("it is closed");
    assert!(matches!(error, Error::PoolClosed), "{error:?}");
    assert!(matches!(pool.acquire().await, Err(Error::PoolClosed)));
    assert!(matches!(pool.fill().await, Err(Error::PoolClosed)));
    assert_eq!(output(&session, sh("echo in peace")).await, "in peace\n");
    assert!(!closing.is_finished());
    drop(session);
    patiently("the end of the pool", closing).await.expect("no panic");
    assert_eq!(pool.metrics().in_use + pool.metrics().ending, 0);
    closed(&pool).await;
}

#[tokio::test]
async fn what_is_in_use_when_the_grace_is_over_is_ended_and_so_are_starts_under_way() {
    let executor = Told::new([]);
    let pool = built(Pool::builder(executor.clone()).min_idle(1));
    let (session, mark) = (acquired(&pool).await, Mark::new());
    let call = session.call(vec![sh("trap '' TERM; echo ready; sleep 600")]);
    let running = Running::until(call.env(mark.name(), mark.value()).timeout(LONG), "ready").await;
    told(&pool, "the refill", |metrics| metrics.idle == 1).await;
    // The next start hangs.
    executor.let_on.forget_permits(1 << 20);
    drop(acquired(&pool).await);
    told(&pool, "the start", |metrics| metrics.starting == 1).await;
    patiently("the end of the pool", pool.close(Duration::from_millis(50))).await;
    assert_eq!(running.result().await.blocks[0].status, Status::Cancelled);
    mark.gone_from_host().await;
    let metrics = pool.metrics();
    assert_eq!([metrics.idle, metrics.in_use, metrics.starting, metrics.ending], [0; 4]);
    assert_eq!(metrics.counts.closed_in_use, 1);
    let error = session.call(vec![sh("true")]).run().await.expect_err("it has ended");
    assert_eq!(error.to_string(), "failed to run the blocks: the pool of the session was closed");
}

#[tokio::test]
async fn a_dropped_pool_ends_what_is_idle_and_leaves_sessions_to_their_holders() {
    if !is_respawned() {
        let test = "pool::a_dropped_pool_ends_what_is_idle_and_leaves_sessions_to_their_holders";
        return Respawned::new(test).succeed();
    }
    let pool = built(Pool::builder(local()).min_idle(3));
    let session = acquired(&pool).await;
    pool.fill().await.expect("it can be filled");
    assert_eq!(children().len(), 4);
    drop(pool.clone());
    assert_eq!(pool.metrics().idle, 3, "it is a handle");
    drop(pool);
    eventually("the end of the idle", || (children().len() == 1).then_some(())).await;
    assert_eq!(output(&session, sh("echo on")).await, "on\n");
    drop(session);
    eventually("the end of the last", || children().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_pool_can_be_given_wherever_an_executor_can() {
    let pool = built(Pool::builder(local()).min_idle(1));
    let executor = RestartableExecutor::new(pool.clone());
    executor.start().await.expect("there is a session");
    let token = CancellationToken::new();
    let blocks = [sh(FRESH)];
    assert_eq!(executor.execute_code_blocks(&blocks, &token).await.expect("it runs").output, "fresh\n");
    executor.restart().await.expect("there is another");
    assert_eq!(executor.execute_code_blocks(&blocks, &token).await.expect("it runs").output, "fresh\n");
    executor.stop().await.expect("it stops");
    closed(&pool).await;
}

#[test]
fn a_pool_works_in_any_executor_of_futures() {
    let pool = Pool::builder(local()).max_total(1).build().expect("the options are valid");
    pollster::block_on(async {
        let session = pool.acquire().await.expect("there is one");
        let refused = pool.acquire().within(Duration::from_millis(10)).await.expect_err("it is in use");
        assert!(matches!(refused, Error::PoolExhausted { .. }), "{refused:?}");
        let token = CancellationToken::new();
        assert_eq!(
            session.execute_code_blocks(&[sh("echo x")], &token).await.expect("it runs").output,
            "x\n"
        );
        drop(session);
        pool.close(LONG).await;
    });
}

#[test]
fn what_no_pool_can_do_is_refused_by_the_name_of_the_option() {
    let refused = |builder: PoolBuilder| match builder.build() {
        Err(Error::InvalidOption { option, why }) => (option, why),
        other => panic!("{other:?}"),
    };
    let any = || Pool::builder(local());
    assert_eq!(refused(any().max_total(0).min_idle(0)).0, "max_total");
    assert_eq!(
        refused(any().max_total(2).min_idle(3)),
        ("min_idle", "must be at most max_total, 2, not 3".to_owned())
    );
    assert_eq!(refused(any().max_idle_time(Duration::ZERO)).0, "max_idle_time");
    assert_eq!(refused(any().max_lifetime(Duration::ZERO)).0, "max_lifetime");
    let shares = builder().work_dir("shared").build().expect("the options are valid");
    let (option, why) = refused(Pool::builder(Box::new(shares) as Box<dyn CodeExecutor>));
    assert!(option == "work_dir" && why.contains("name it when a session is acquired"), "{why}");
    assert!(any().max_total(1).min_idle(1).build().is_ok());
}

#[tokio::test]
async fn a_work_dir_of_ones_own_is_copied_or_refused_and_the_refused_session_is_the_next_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("given.txt"), "given\n").expect("it can be written");
    let shares = built(Pool::builder(local()).max_total(1));
    let error = shares.acquire().work_dir(folder.path()).await.expect_err("it is not copied");
    assert_eq!(error.kind(), "work_dir_unavailable");
    assert!(error.hint().is_some_and(|hint| hint.contains("copied")), "{error:?}");
    assert_eq!((shares.metrics().idle, shares.metrics().counts.started), (1, 1), "it was not used up");
    drop(acquired(&shares).await);
    closed(&shares).await;

    if !need::has_program("bubblewrap", "bwrap", &["--version"]) {
        return;
    }
    let sandbox = Sandbox::default().workspace_size(16 << 20);
    let copies = LocalCommandLineCodeExecutor::builder().sandbox(sandbox).build().expect("valid");
    let copies = built(Pool::builder(copies));
    let session = copies.acquire().work_dir(folder.path()).await.expect("it is copied");
    assert_eq!(output(&session, sh("cat given.txt; echo made > made.txt")).await, "given\n");
    assert_eq!(fs::read_to_string(folder.path().join("made.txt")).expect("it came back"), "made\n");
    assert_eq!(session.work_dir(), folder.path().canonicalize().expect("it is there"));
    session.stop().await.expect("it stops");
    closed(&copies).await;
    assert!(folder.path().join("given.txt").exists(), "it is not the session's to remove");
}

#[tokio::test]
async fn a_thousand_acquires_leave_nothing_behind() {
    const TEST: &str = "pool::a_thousand_acquires_leave_nothing_behind";
    if !is_respawned() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = std::process::Command::new(std::env::current_exe().expect("it has a path"));
        command.env("TMPDIR", folder.path()).stdin(std::process::Stdio::null());
        Respawned::by(command, TEST).succeed();
        let left: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
        assert!(left.is_empty(), "{left:?}");
        return;
    }
    let measured = async |pool: &Pool| {
        told(pool, "rest", |metrics| metrics.idle == 4 && metrics.in_use + metrics.ending == 0).await;
        eventually("four runners", || (children().len() == 4).then_some(())).await;
        (descriptors(getpid()).expect("they can be counted"), memory_kib(getpid(), "VmRSS"))
    };
    let pool = built(Pool::builder(local()).min_idle(4).max_total(12));
    let acquire = async |count: usize| {
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let pool = pool.clone();
            tasks.spawn(async move {
                for number in 0..count / 8 {
                    let session = acquired(&pool).await;
                    assert_eq!(output(&session, sh("echo x > file; echo x")).await, "x\n");
                    match number % 3 {
                        0 => session.stop().await.expect("it stops"),
                        1 => drop(session),
                        _ => drop(tokio::time::timeout(Duration::ZERO, pool.acquire().into_future()).await),
                    }
                }
            });
        }
        tasks.join_all().await;
    };
    acquire(200).await;
    let before = measured(&pool).await;
    acquire(1000).await;
    let after = measured(&pool).await;
    assert!(after.0 <= before.0 + 8, "descriptors: {before:?}, then {after:?}");
    assert!(after.1 <= before.1 + (16 << 10), "memory: {before:?}, then {after:?}");
    closed(&pool).await;
    eventually("the end of all children", || children().is_empty().then_some(())).await;
}

#[tokio::test]
async fn nothing_of_a_pool_outlives_its_program() {
    const TEST: &str = "pool::nothing_of_a_pool_outlives_its_program";
    if is_respawned() {
        let pool = built(Pool::builder(local()).min_idle(3));
        pool.fill().await.expect("it can be filled");
        let session = acquired(&pool).await;
        let runners = [children(), vec![runner(&session).await.as_raw_pid().to_string()]].concat();
        crate::support::respawn::say(&runners.join(" "));
        return std::future::pending().await;
    }
    let mut program = Respawned::new(TEST);
    let runners = program.hear();
    program.kill();
    for pid in runners.split(' ') {
        ended(rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a process")).await;
    }
}
