//! Many runs in one container, and a container that shares its work_dir with this host: none disturbs another. Two
//! containers on one work_dir are in the conformance suite.

use std::fs;

use futures_util::future::join_all;
use stockade::{LocalCommandLineCodeExecutor, WorkspaceMode};

use crate::{
    engine::{builder, start},
    support::{Running, output, patiently, run, sh, wait_for_file},
};

#[tokio::test]
async fn fifty_blocks_at_once_each_have_their_own_result() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let blocks: Vec<_> = (0..50).map(|number| [sh(format!("echo {number}; exit {number}"))]).collect();
    let results = patiently("all results", join_all(blocks.iter().map(|blocks| run(&session, blocks)))).await;
    for (number, result) in results.iter().enumerate() {
        assert_eq!((result.exit_code, &result.output), (number as i32, &format!("{number}\n")));
    }
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_container_and_this_host_take_turns_with_a_named_file() {
    let Some(builder) = builder() else { return };
    let work_dir = tempfile::tempdir().expect("a directory");
    let container = start(builder.work_dir(work_dir.path()).workspace(WorkspaceMode::Bind)).await;
    let local = LocalCommandLineCodeExecutor::builder().no_sandbox().work_dir(work_dir.path());
    let local = local.build().expect("the options are valid").start().await.expect("it starts");
    for (first, second) in [(&container, &local), (&local, &container)] {
        let held = sh(format!("# filename: same.sh\necho first\n{}rm go", wait_for_file("go")));
        let held = Running::until(first.call(vec![held]), "first").await;
        // Of another text, which must not get into the file that the first runs.
        let waits = second.call(vec![sh("# filename: same.sh\necho second")]);
        let waits = tokio::spawn(Running::new(waits).result());
        assert_eq!(output(second, sh("# filename: other.sh\necho other")).await, "other\n");
        assert!(!waits.is_finished());
        let text = fs::read_to_string(work_dir.path().join("same.sh")).expect("it is there");
        assert!(text.contains("echo first"), "{text}");
        first.put_file("go", "").await.expect("it is saved");
        assert_eq!(held.result().await.output, "first\n");
        let waited = patiently("the turn of who waits", waits).await.expect("no panic");
        assert_eq!(waited.output, "second\n");
    }
    container.stop().await.expect("it stops");
    local.stop().await.expect("it stops");
}
