//! The limit of a workspace's size: a file system in memory that holds a copy of the work_dir.

use std::fs;

use stockade::{
    Change, Error, LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel,
};
use tempfile::TempDir;

use crate::support::{need, outcome, output, sh};

const MIB: u64 = 1 << 20;

fn has_namespaces() -> bool {
    need::has_program("bubblewrap", "bwrap", &["--version"])
}

/// Of a work_dir of a mebibyte at a level.
fn builder(work_dir: &TempDir, level: SandboxLevel) -> LocalCommandLineCodeExecutorBuilder {
    let sandbox = Sandbox::default().level(level).workspace_size(MIB);
    LocalCommandLineCodeExecutor::builder().work_dir(work_dir.path()).sandbox(sandbox)
}

#[tokio::test]
async fn what_exceeds_the_size_is_not_written_and_what_fits_comes_back() {
    if !has_namespaces() {
        return;
    }
    let work_dir = TempDir::new().expect("a directory");
    fs::write(work_dir.path().join("given"), "from the host").expect("written");
    let executor = builder(&work_dir, SandboxLevel::Namespaces).build().expect("it makes sense");
    let session = executor.start().await.expect("it starts");
    assert_eq!(output(&session, sh("cat given; echo made >made; rm given")).await, "from the host");
    let full = outcome(&session, sh("head -c 2097152 /dev/zero >filler")).await;
    assert!(full.exit_code != 0 && full.output.text().contains("No space left on device"), "{full:?}");
    // The twin: there is room again.
    assert_eq!(
        output(&session, sh("rm filler; head -c 524288 /dev/zero >filler; echo fits")).await,
        "fits\n"
    );
    session.stop().await.expect("it stops");
    assert_eq!(fs::read_to_string(work_dir.path().join("made")).expect("it came back"), "made\n");
    assert_eq!(fs::metadata(work_dir.path().join("filler")).expect("it came back").len(), 524_288);
    assert!(work_dir.path().join("given").exists(), "what code deletes stays");
}

#[tokio::test]
async fn deletions_are_reported() {
    if !has_namespaces() {
        return;
    }
    let work_dir = TempDir::new().expect("a directory");
    fs::write(work_dir.path().join("given"), "").expect("written");
    let executor = builder(&work_dir, SandboxLevel::Namespaces).build().expect("it makes sense");
    let session = executor.start().await.expect("it starts");
    let files = outcome(&session, sh("rm given")).await.files;
    assert_eq!(files.iter().map(|file| file.change).collect::<Vec<_>>(), [Change::Deleted], "{files:?}");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_work_dir_that_does_not_fit_is_refused() {
    if !has_namespaces() {
        return;
    }
    let work_dir = TempDir::new().expect("a directory");
    fs::write(work_dir.path().join("large"), vec![0; 2 * MIB as usize]).expect("written");
    let executor = builder(&work_dir, SandboxLevel::Namespaces).build().expect("it makes sense");
    let refused = executor.start().await.expect_err("it does not fit").to_string();
    assert!(refused.contains("large") && refused.contains("No space left on device"), "{refused}");
}

#[tokio::test]
async fn a_level_without_namespaces_refuses_the_limit_unless_its_best_is_enough() {
    let work_dir = TempDir::new().expect("a directory");
    let executor = builder(&work_dir, SandboxLevel::Landlock).build().expect("it makes sense");
    let Err(Error::Sandbox { why, .. }) = executor.start().await else { panic!("it is refused") };
    assert!(why.contains("workspace size"), "{why}");
    let sandbox = Sandbox::default().level(SandboxLevel::Landlock).workspace_size(MIB).best_effort();
    let executor =
        builder(&work_dir, SandboxLevel::Landlock).sandbox(sandbox).build().expect("it makes sense");
    let session = executor.start().await.expect("it starts");
    let policy = session.info().policy.sandbox.clone().expect("it has one");
    assert_eq!(policy.limits.workspace_size, None);
    assert!(policy.degraded.iter().any(|missing| missing.control == "workspace size"), "{policy:?}");
    session.stop().await.expect("it stops");
}

#[test]
fn a_size_that_holds_nothing_is_refused() {
    let size = |bytes| {
        let sandbox = Sandbox::default().workspace_size(bytes);
        LocalCommandLineCodeExecutor::builder().sandbox(sandbox).build()
    };
    assert!(matches!(size(0), Err(Error::InvalidOption { option: "workspace_size", .. })));
    assert!(size(64 << 10).is_ok());
}
