//! Faults of the container: removed, killed, stopped or paused by somebody else, without room on its disk, or made
//! from an image that can't take the runner in. Each is an error that says what happened, in time; nothing is left.

use std::{fs, path::Path, process::Command, time::Duration};

use stockade::{
    CancellationToken, DockerCommandLineCodeExecutorBuilder, Error, Fault, RestartableExecutor, Session,
    Status, WorkspaceMode,
};
use tempfile::TempDir;

use crate::{
    engine::{builder, container, docker, gone, image, start},
    leftovers::Name,
    support::{Running, need, outcome, output, patiently, sh},
};

/// A call whose second block runs on.
async fn under_way(session: &Session, timeout: Duration) -> Running {
    let call = session.call(vec![sh("echo first"), sh("echo second; sleep 600")]).timeout(timeout);
    Running::until(call, "second").await
}

/// Long enough never to be the reason for an end.
const LONG: Duration = Duration::from_secs(600);

/// The container is disturbed in the middle of a block, by these arguments of the docker command before its id.
async fn assert_disturbed(disturb: &[&str], expected: &str) {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let id = container(&session);
    let running = under_way(&session, LONG).await;
    docker(&[disturb, &[&id]].concat());
    let error = running.end().await.expect_err("the container is gone");
    let Error::SessionEnded { fault: Fault::RunnerDied { how: Some(how) }, finished } = &error else {
        panic!("{error:?}")
    };
    assert!(how.contains(expected), "{how}");
    assert_eq!(finished.iter().map(|block| block.output.text()).collect::<Vec<_>>(), ["first\n"]);
    let later = session.execute_code_blocks(&[sh(":")], &CancellationToken::new()).await.expect_err("ended");
    assert_eq!((later.to_string(), later.kind()), (error.to_string(), "session_ended"));
    let stopped = patiently("the stop", session.stop()).await.expect_err("it did not end in order");
    assert_eq!(stopped.to_string(), error.to_string());
    gone(&id).await;
}

#[tokio::test]
async fn a_container_that_is_removed_in_the_middle_of_a_block_is_an_error_that_says_so() {
    assert_disturbed(&["rm", "--force"], "its container was ended from outside").await;
}

#[tokio::test]
async fn a_container_that_is_killed_in_the_middle_of_a_block_is_an_error_that_says_so() {
    assert_disturbed(&["kill"], "its container was ended from outside").await;
}

#[tokio::test]
async fn a_container_that_is_stopped_ends_at_once_and_is_an_error_that_says_so() {
    // Were TERM ignored, the engine would wait for longer than this test does.
    assert_disturbed(&["stop", "--time", "600"], "its container was ended from outside").await;
}

#[tokio::test]
async fn an_executor_whose_idle_container_was_removed_can_be_restarted() {
    let Some(builder) = builder() else { return };
    let executor = RestartableExecutor::new(builder.build().expect("the options are valid"));
    let token = CancellationToken::new();
    executor.start().await.expect("it starts");
    let id = container(&executor.session().await.expect("it has started"));
    docker(&["rm", "--force", &id]);
    let error = executor.execute_code_blocks(&[sh("echo lost")], &token).await.expect_err("it is gone");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::RunnerDied { .. }, .. }), "{error:?}");
    executor.restart().await.expect("it starts again");
    let result = executor.execute_code_blocks(&[sh("echo hello")], &token).await.expect("it runs");
    assert_eq!(result.output, "hello\n");
    executor.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_paused_container_is_an_error_by_the_deadline_and_is_removed() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let id = container(&session);
    let running = under_way(&session, Duration::from_secs(4)).await;
    docker(&["pause", &id]);
    let error = running.end().await.expect_err("nobody ends the block");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. }), "{error:?}");
    patiently("the stop", session.stop()).await.expect_err("it did not end in order");
    gone(&id).await;
}

#[tokio::test]
async fn a_session_whose_container_is_paused_can_be_stopped() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let id = container(&session);
    docker(&["pause", &id]);
    let error = patiently("the stop", session.stop()).await.expect_err("it did not end in order");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. }), "{error:?}");
    gone(&id).await;
}

#[tokio::test]
async fn a_container_that_is_paused_for_a_while_goes_on_as_if_nothing_had_been() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let id = container(&session);
    docker(&["pause", &id]);
    docker(&["unpause", &id]);
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
    session.stop().await.expect("it stops");
}

/// A small file system of a test's own.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` when the test is to be skipped.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(directory.path());
        let mounted = mount.output().expect("mount can be run");
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        let mounted = mounted.status.success();
        need::has("tmpfs", mounted, &format!("mount -t tmpfs: {why}")).then(|| Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_the_blocks_affair_and_then_an_error_that_says_what_to_do() {
    let Some((builder, disk)) = builder().and_then(|builder| Some((builder, SmallDisk::mount()?))) else {
        return;
    };
    let session = start(builder.work_dir(disk.path()).workspace(WorkspaceMode::Bind)).await;
    let fill = outcome(&session, sh("echo before; dd if=/dev/zero of=fill bs=1k count=10000")).await;
    assert_eq!((fill.status, fill.stdout.text().as_ref()), (Status::Exited, "before\n"));
    assert!(fill.exit_code != 0 && fill.stderr.text().contains("No space left"), "{}", fill.stderr);
    let next = sh("echo a block whose file is larger than nothing");
    let error = session.execute_code_blocks(std::slice::from_ref(&next), &CancellationToken::new()).await;
    let error = error.expect_err("there is no room for the block's file");
    assert!(matches!(error, Error::Runner { .. }), "{error:?}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("free some space")), "{:?}", error.hint());
    fs::remove_file(disk.path().join("fill")).expect("it is there");
    assert_eq!(outcome(&session, next).await.exit_code, 0);
    session.stop().await.expect("it stops");
}

/// An image like the tests' own in which a command has changed something.
struct ChangedImage(Name);

impl ChangedImage {
    fn new(command: &str) -> Self {
        let (made, name) = (Name::of_container(), Name::of_image());
        docker(&["run", "--name", made.as_str(), "--entrypoint", "sh", &image(), "-c", command]);
        docker(&["commit", made.as_str(), name.as_str()]);
        Self(name)
    }
}

/// The error of a start that leaves no container.
async fn refused(builder: DockerCommandLineCodeExecutorBuilder, image: &ChangedImage) -> String {
    let name = Name::of_container();
    let builder = builder.image(image.0.as_str()).container_name(name.as_str());
    let executor = builder.build().expect("the options are valid");
    let error = patiently("the error", executor.start()).await.expect_err("no runner gets in there");
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    gone(name.as_str()).await;
    error.to_string()
}

#[tokio::test]
async fn an_image_without_head_is_an_error_with_the_shells_words() {
    let Some(builder) = builder() else { return };
    let image = ChangedImage::new("rm \"$(command -v head)\"");
    let error = refused(builder, &image).await;
    assert!(error.contains("head: not found"), "{error}");
}

/// An `sh` that does this instead of what it is told.
fn odd_shell(does: &str) -> ChangedImage {
    ChangedImage::new(&format!(
        "cp \"$(command -v sh)\" /bin/real; printf '%s\\n' '#!/bin/real' '{does}' >/bin/odd; chmod 755 /bin/odd; \
         mv -f /bin/odd /bin/sh"
    ))
}

#[tokio::test]
async fn an_image_whose_shell_fails_is_an_error_with_its_words() {
    let Some(builder) = builder() else { return };
    let error = refused(builder, &odd_shell("echo no shell today >&2; exit 3")).await;
    assert!(error.contains("exit code 3") && error.contains("no shell today"), "{error}");
}

#[tokio::test]
async fn an_image_whose_shell_prints_something_else_is_an_error_with_what_it_printed() {
    let Some(builder) = builder() else { return };
    let error = refused(builder, &odd_shell("echo welcome to this image; sleep 600")).await;
    assert!(error.contains("welcome to this image"), "{error}");
}
