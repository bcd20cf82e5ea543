//! Containers that are started ahead: each for one holder, replaced when they end, and none of them left. What every pool
//! does is in `tests/local`; what becomes of one whose daemon is killed, in `daemon_death`.

use std::{fs, time::Duration};

use rustix::process::getpid;
use stockade::{DockerCommandLineCodeExecutorBuilder, Error, Pool, Session, Status, WorkspaceMode};
use tokio::task::JoinSet;

use crate::{
    engine::{builder, container, docker, image_of, try_docker},
    leftovers::Label,
    support::{Mark, Running, eventually, output, patiently, sh},
};

const LONG: Duration = Duration::from_secs(600);

/// A builder of small containers that a test knows by their label.
fn small(label: &Label) -> Option<DockerCommandLineCodeExecutorBuilder> {
    Some(builder()?.image(image_of("BUSYBOX")).label(Label::NAME, label.value()))
}

/// A pool of them; `None` when the test is to be skipped.
fn pool(label: &Label, min_idle: usize, max_total: usize) -> Option<Pool> {
    let executor = small(label)?.workspace(WorkspaceMode::Copy).build().expect("the options are valid");
    let pool = Pool::builder(executor);
    let pool = pool.min_idle(min_idle).max_total(max_total).acquire_timeout(LONG);
    Some(pool.build().expect("the options are valid"))
}

async fn full(pool: &Pool) {
    patiently("a full pool", pool.fill()).await.expect("containers can be started");
}

async fn acquired(pool: &Pool) -> Session {
    patiently("a session", pool.acquire().into_future()).await.expect("there is one")
}

#[tokio::test]
async fn an_idle_container_is_there_at_once_and_gone_after_its_use() {
    let label = Label::new();
    let Some(pool) = pool(&label, 2, 3) else { return };
    full(&pool).await;
    assert_eq!(label.containers().len(), 2);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let session = pool.acquire().within(Duration::ZERO).await.expect("it is idle");
        assert_eq!(output(&session, sh("[ -e left ] || echo fresh; echo left > left")).await, "fresh\n");
        assert!(!seen.contains(&container(&session)));
        seen.push(container(&session));
        session.stop().await.expect("it stops");
        assert!(!try_docker(&["inspect", &seen[seen.len() - 1]]).0, "it is gone when `stop` returns");
    }
    patiently("the end of the pool", pool.close(LONG)).await;
    assert_eq!(label.containers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_gets_its_work_dir_when_it_is_acquired_or_is_told_why_not() {
    let label = Label::new();
    let Some(pool) = pool(&label, 1, 3) else { return };
    full(&pool).await;
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("deep")).expect("it can be made");
    fs::write(folder.path().join("deep/given.txt"), "given\n").expect("it can be written");
    let session = pool.acquire().within(Duration::ZERO).work_dir(folder.path()).await.expect("it is copied");
    let made = output(&session, sh("cat deep/given.txt; echo made > deep/made.txt")).await;
    assert_eq!(made, "given\n");
    assert_eq!(fs::read_to_string(folder.path().join("deep/made.txt")).expect("it came back"), "made\n");
    let file = output(&session, sh("# filename: named.sh\necho named")).await;
    assert!(file == "named\n" && folder.path().join("named.sh").exists());
    session.stop().await.expect("it stops");
    patiently("the end of the pool", pool.close(LONG)).await;

    let shares = small(&label).expect("there is a daemon").workspace(WorkspaceMode::Bind);
    let shares = Pool::builder(shares.build().expect("valid")).build().expect("valid");
    let error = shares.acquire().work_dir(folder.path()).await.expect_err("it would have to be mounted");
    assert!(matches!(&error, Error::WorkDir { .. }), "{error:?}");
    assert!(error.to_string().contains("have been started with one"), "{error}");
    assert_eq!(shares.metrics().idle, 1, "the session is for the next one");
    patiently("the end of the pool", shares.close(LONG)).await;
}

#[tokio::test]
async fn an_idle_container_that_is_removed_is_replaced() {
    let label = Label::new();
    let Some(pool) = pool(&label, 1, 3) else { return };
    full(&pool).await;
    let first = label.containers().remove(0);
    docker(&["rm", "--force", &first]);
    eventually("the replacement", || {
        let metrics = pool.metrics();
        (metrics.counts.ended_while_idle == 1 && metrics.idle == 1).then_some(())
    })
    .await;
    let session = acquired(&pool).await;
    assert_ne!(container(&session), first);
    assert_eq!(output(&session, sh("echo on")).await, "on\n");
    drop(session);
    patiently("the end of the pool", pool.close(LONG)).await;
}

#[tokio::test]
async fn containers_in_use_at_the_end_of_the_grace_are_ended_and_those_being_started_too() {
    let (label, mark) = (Label::new(), Mark::new());
    let Some(pool) = pool(&label, 1, 4) else { return };
    let mut running = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = acquired(&pool).await;
        let call = session.call(vec![sh("trap '' TERM; echo ready; sleep 600")]).timeout(LONG);
        running.push(Running::until(call.env(mark.name(), mark.value()), "ready").await);
        sessions.push(session);
    }
    patiently("the end of the pool", pool.close(Duration::ZERO)).await;
    for call in running {
        assert_eq!(call.result().await.blocks[0].status, Status::Cancelled);
    }
    mark.gone_from_host().await;
    eventually("the end of all containers", || label.containers().is_empty().then_some(())).await;
}

#[tokio::test]
async fn no_container_volume_directory_or_descriptor_is_left_of_many_acquires() {
    let label = Label::new();
    let Some(pool) = pool(&label, 2, 4) else { return };
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", getpid().as_raw_pid())).expect("/proc").count();
    let acquire = async |count: usize| {
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let pool = pool.clone();
            tasks.spawn(async move {
                let session = acquired(&pool).await;
                let made = (session.work_dir().to_owned(), container(&session));
                assert_eq!(output(&session, sh("echo x > file; echo x")).await, "x\n");
                if number % 2 == 0 {
                    session.stop().await.expect("it stops");
                }
                made
            });
        }
        tasks.join_all().await
    };
    let at_rest = async || {
        eventually("rest", || {
            let metrics = pool.metrics();
            (metrics.idle >= 2 && metrics.in_use + metrics.ending + metrics.starting == 0).then_some(())
        })
        .await;
    };
    acquire(6).await;
    at_rest().await;
    let (before, idle) = (descriptors(), pool.metrics().idle);
    let made = acquire(24).await;
    at_rest().await;
    // Of an idle session there is a connection or two; the tests beside this one have some of their own.
    let grown = descriptors().saturating_sub(before);
    assert!(grown <= 60 + 8 * pool.metrics().idle.saturating_sub(idle), "{before} and {grown} more");
    patiently("the end of the pool", pool.close(LONG)).await;
    assert_eq!(label.containers(), Vec::<String>::new());
    for (work_dir, container) in made {
        assert!(!work_dir.exists() && !try_docker(&["inspect", &container]).0);
    }
}

#[test]
fn options_by_which_containers_would_share_something_are_refused() {
    let refused = |builder: DockerCommandLineCodeExecutorBuilder| match Pool::builder(
        builder.build().expect("the options are valid"),
    )
    .build()
    {
        Err(Error::InvalidOption { option, .. }) => option,
        other => panic!("{other:?}"),
    };
    let any = stockade::DockerCommandLineCodeExecutor::builder;
    assert_eq!(refused(any().work_dir("shared")), "work_dir");
    assert_eq!(refused(any().container_name("one")), "container_name");
    assert_eq!(refused(any().stop_container(false)), "stop_container");
    assert!(Pool::builder(any().build().expect("valid")).build().is_ok());
}
