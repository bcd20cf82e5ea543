//! Preloaded modules in a container: as another user, under lockdown, and when memory is short.

use stockade::{Status, WorkspaceMode};

use crate::{
    engine::{builder, start},
    support::{output, python, run},
};

const IS_THERE: &str = "import sys; print('decimal' in sys.modules)";

#[tokio::test]
async fn another_user_a_lockdown_and_tight_limits_have_them() {
    for change in [
        |builder: stockade::DockerCommandLineCodeExecutorBuilder| builder.user("1234:1234"),
        |builder: stockade::DockerCommandLineCodeExecutorBuilder| builder.lockdown(true),
        |builder: stockade::DockerCommandLineCodeExecutorBuilder| builder.memory(64 << 20).pids_limit(16),
        |builder: stockade::DockerCommandLineCodeExecutorBuilder| builder.workspace(WorkspaceMode::Copy),
    ] {
        let Some(builder) = builder() else { return };
        let session = start(change(builder).preload(["decimal"])).await;
        assert!(session.info().preload.as_ref().is_some_and(|preload| preload.ready));
        for _ in 0..3 {
            assert_eq!(output(&session, python(IS_THERE)).await, "True\n");
        }
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn an_import_for_which_memory_is_short_is_an_error_that_says_so() {
    let Some(builder) = builder() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("large.py"), "held = bytearray(256 << 20)\n").expect("written");
    let executor = builder.work_dir(folder.path()).memory(64 << 20).preload(["large"]).build();
    let error =
        executor.expect("the options are valid").start().await.expect_err("there is no memory for it");
    assert_eq!(error.kind(), "preload_failed");
    let said = error.to_string();
    assert!(said.contains("when memory is short") || said.contains("MemoryError"), "{said}");
}

/// A spare that is forked or started, and a block, are ended for memory as any other, and the session goes on.
#[tokio::test]
async fn a_forked_block_that_takes_too_much_memory_is_told_apart() {
    let Some(builder) = builder() else { return };
    let session = start(builder.memory(64 << 20).preload(["decimal"])).await;
    let ran = run(&session, &[python("held = bytearray(256 << 20)")]).await;
    assert_eq!(ran.blocks[0].status, Status::OutOfMemory);
    for _ in 0..3 {
        assert_eq!(output(&session, python("print('on')")).await, "on\n");
    }
}
