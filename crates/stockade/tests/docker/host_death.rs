//! The host program ends without stopping its session: killed by SIGKILL at any moment of it, by a panic, or because
//! it forgot. The container, its processes and what a temporary work_dir held are gone soon after.

use std::{
    fs,
    path::{Path, PathBuf},
};

use stockade::Session;

use crate::{
    engine::{builder, container, docker, gone, start},
    support::{
        Mark, Running, eventually,
        mark::{ESCAPED, escapes},
        need, patiently,
        respawn::{self, Respawned},
        sh,
    },
};

const LINGER: &str = "ignore_term()\nwhile True: time.sleep(600)";

/// Only root sees the environment of a container's processes.
fn is_root() -> bool {
    need::has("root", rustix::process::geteuid().is_root(), "this user does not see whose processes are left")
}

/// A block under way that has processes which try to stay.
async fn under_way(session: &Session, mark: &Mark) -> Running {
    let call = session.call(vec![escapes(LINGER)]).env(mark.name(), mark.value());
    Running::until(call, "ready").await
}

/// A session's temporary directory: its workspace is in one that nobody else may enter.
fn private_directory(work_dir: &Path) -> PathBuf {
    work_dir.parent().expect("it is in a directory of its own").to_owned()
}

/// Waits until nothing is left in a workspace. The directories themselves are the dead host's: no container can remove
/// what is mounted into it.
async fn emptied(work_dir: &Path) {
    let is_empty = || fs::read_dir(work_dir).is_ok_and(|mut entries| entries.next().is_none());
    eventually("the end of what the workspace held", || (!work_dir.exists() || is_empty()).then_some(()))
        .await;
    let _ = fs::remove_dir_all(private_directory(work_dir));
}

#[tokio::test]
async fn nothing_survives_a_host_that_is_killed_in_the_middle_of_a_block() {
    let Some(builder) = builder().filter(|_| is_root()) else { return };
    if respawn::is_respawned() {
        let (session, mark) = (start(builder).await, Mark::new());
        session.put_file("kept.txt", "by nobody").await.expect("it is saved");
        let running = under_way(&session, &mark).await;
        respawn::say(mark.value());
        respawn::say(&container(&session));
        respawn::say(session.work_dir().to_str().expect("a temporary path is text"));
        running.result().await;
        return;
    }
    let name = "host_death::nothing_survives_a_host_that_is_killed_in_the_middle_of_a_block";
    let mut host = Respawned::new(name);
    let (mark, container, work_dir) = (Mark::of(&host.hear()), host.hear(), PathBuf::from(host.hear()));
    mark.count_on_host(ESCAPED + 1).await;
    assert!(work_dir.join("kept.txt").exists());
    host.kill();
    mark.gone_from_host().await;
    gone(&container).await;
    emptied(&work_dir).await;
}

#[tokio::test]
async fn the_container_of_an_idle_session_goes_when_its_host_is_killed() {
    let Some(builder) = builder() else { return };
    if respawn::is_respawned() {
        let session = start(builder).await;
        respawn::say(&container(&session));
        respawn::say(session.work_dir().to_str().expect("a temporary path is text"));
        return std::future::pending().await;
    }
    let mut host =
        Respawned::new("host_death::the_container_of_an_idle_session_goes_when_its_host_is_killed");
    let (container, work_dir) = (host.hear(), PathBuf::from(host.hear()));
    host.kill();
    gone(&container).await;
    emptied(&work_dir).await;
}

/// The containers of a process, in any state.
fn containers_of(pid: &str) -> Vec<String> {
    let filter = format!("label=stockade.owner.pid={pid}");
    docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Some hosts are killed while the container is being made and started, each when the engine first shows it in this
/// state. What was never started is removed by the next start.
async fn assert_swept(test: &str, state: &str) {
    for _ in 0..4 {
        let mut host = Respawned::new(test);
        let (pid, temporary) = (host.hear(), PathBuf::from(host.hear()));
        let filter = format!("label=stockade.owner.pid={pid}");
        let seen = || docker(&["ps", "--all", "--filter", &filter, "--format", "{{.State}}"]).contains(state);
        eventually("the container", || seen().then_some(())).await;
        host.kill();
        let builder = builder().expect("there was one before");
        start(builder).await.stop().await.expect("it stops");
        eventually("the end of the container", || containers_of(&pid).is_empty().then_some(())).await;
        fs::remove_dir_all(temporary).expect("the directory for temporary ones is the host's");
    }
}

/// Plays a host that is killed while it starts a session. Its temporary directories are where they can be found.
async fn start_and_wait() {
    let temporary = tempfile::tempdir().expect("a directory").keep();
    let work_dir = temporary.join("work_dir");
    respawn::say(&std::process::id().to_string());
    respawn::say(temporary.to_str().expect("a temporary path is text"));
    let _session = start(builder().expect("the first process has looked").work_dir(work_dir)).await;
    std::future::pending().await
}

#[tokio::test]
async fn a_host_that_is_killed_as_soon_as_its_container_is_made_leaves_nothing_for_long() {
    if respawn::is_respawned() {
        return start_and_wait().await;
    }
    if builder().is_some() {
        let name =
            "host_death::a_host_that_is_killed_as_soon_as_its_container_is_made_leaves_nothing_for_long";
        assert_swept(name, "").await;
    }
}

#[tokio::test]
async fn a_host_that_is_killed_as_soon_as_its_container_runs_leaves_nothing_for_long() {
    if respawn::is_respawned() {
        return start_and_wait().await;
    }
    if builder().is_some() {
        let name = "host_death::a_host_that_is_killed_as_soon_as_its_container_runs_leaves_nothing_for_long";
        assert_swept(name, "running").await;
    }
}

#[tokio::test]
async fn a_session_that_is_dropped_in_the_middle_of_a_block_leaves_nothing() {
    let Some(builder) = builder().filter(|_| is_root()) else { return };
    let (session, mark) = (start(builder).await, Mark::new());
    let (container, work_dir) = (container(&session), session.work_dir().to_owned());
    let running = under_way(&session, &mark).await;
    mark.count_on_host(ESCAPED + 1).await;
    drop((session, running));
    mark.gone_from_host().await;
    gone(&container).await;
    eventually("the end of the workspace", || (!private_directory(&work_dir).exists()).then_some(())).await;
}

#[tokio::test]
async fn a_panic_of_the_host_leaves_nothing() {
    let Some(builder) = builder() else { return };
    let (told, container_of_it) = tokio::sync::oneshot::channel();
    let panicking = tokio::spawn(async move {
        let session = start(builder).await;
        let _running = Running::until(session.call(vec![sh("echo started; sleep 600")]), "started").await;
        told.send((container(&session), session.work_dir().to_owned())).expect("the test waits for it");
        panic!("a panic that this test is about");
    });
    let (container, work_dir) = patiently("the start", container_of_it).await.expect("it starts");
    assert!(panicking.await.expect_err("it panics").is_panic());
    gone(&container).await;
    eventually("the end of the workspace", || (!private_directory(&work_dir).exists()).then_some(())).await;
}

#[tokio::test]
async fn a_host_that_returns_early_and_forgets_its_session_leaves_nothing() {
    let Some(builder) = builder() else { return };
    if respawn::is_respawned() {
        let session = start(builder).await;
        respawn::say(&container(&session));
        respawn::say(session.work_dir().to_str().expect("a temporary path is text"));
        // It is not even dropped, and the process ends.
        std::mem::forget(session);
        return;
    }
    let mut host =
        Respawned::new("host_death::a_host_that_returns_early_and_forgets_its_session_leaves_nothing");
    let (container, work_dir) = (host.hear(), PathBuf::from(host.hear()));
    host.succeed();
    gone(&container).await;
    emptied(&work_dir).await;
}
