//! The host program is killed by SIGKILL in the middle of a block, and cleans up nothing. The plain case is in the
//! conformance suite.

use std::path::Path;

use rustix::process::{Pid, Signal};
use stockade::Session;

use crate::{
    probe::{self, builder, start},
    support::{
        Mark, Running, eventually,
        mark::{ESCAPED, escapes},
        need,
        respawn::{self, Respawned},
    },
};

const LINGER: &str = "ignore_term()\nwhile True: time.sleep(600)";

fn has_python() -> bool {
    need::has_program("python", "python3", &["-c", ""])
}

/// Plays the host program up to the middle of a block.
async fn run_until_ready(session: &Session) -> Running {
    let mark = Mark::new();
    let call = session.call(vec![escapes(LINGER)]).env(mark.name(), mark.value());
    let running = Running::until(call, "ready").await;
    respawn::say(mark.value());
    running
}

/// Waits until nothing is left of a session.
async fn gone(mark: &Mark, work_dir: &str) {
    mark.gone_from_host().await;
    eventually("the end of the workspace", || (!Path::new(work_dir).exists()).then_some(())).await;
}

#[tokio::test]
async fn a_temporary_workspace_does_not_outlive_its_host() {
    if !has_python() {
        return;
    }
    if respawn::is_respawned() {
        let session = start(builder()).await;
        let running = run_until_ready(&session).await;
        respawn::say(session.work_dir().to_str().expect("a temporary path is text"));
        running.result().await;
        return;
    }
    let mut host = Respawned::new("host_death::a_temporary_workspace_does_not_outlive_its_host");
    let (mark, work_dir) = (Mark::of(&host.hear()), host.hear());
    mark.count_on_host(ESCAPED + 1).await;
    assert!(Path::new(&work_dir).is_dir());
    host.kill();
    gone(&mark, &work_dir).await;
}

/// A copy of this process that holds all of its descriptors and does nothing.
#[allow(
    unsafe_code,
    reason = "only a fork makes a worker that inherits what was never meant to be inherited"
)]
fn fork_worker() -> i32 {
    // SAFETY: the child of a process with threads may call what is safe in a signal handler, and `pause` is.
    unsafe {
        match libc::fork() {
            0 => loop {
                libc::pause();
            },
            worker => worker,
        }
    }
}

#[tokio::test]
async fn nothing_survives_a_host_whose_forked_worker_holds_its_descriptors() {
    if !has_python() {
        return;
    }
    if respawn::is_respawned() {
        let session = start(builder()).await;
        let running = run_until_ready(&session).await;
        respawn::say(session.work_dir().to_str().expect("a temporary path is text"));
        respawn::say(&fork_worker().to_string());
        running.result().await;
        return;
    }
    let name = "host_death::nothing_survives_a_host_whose_forked_worker_holds_its_descriptors";
    let mut host = Respawned::new(name);
    let (mark, work_dir) = (Mark::of(&host.hear()), host.hear());
    let worker = host.hear().parse().ok().and_then(Pid::from_raw).expect("a process id");
    mark.count_on_host(ESCAPED + 1).await;
    host.kill();
    gone(&mark, &work_dir).await;
    // It held the stream to the runner open all the time.
    assert!(probe::status(worker, "State").is_some_and(|state| state.starts_with('S')));
    probe::signal(worker, Signal::KILL);
}
