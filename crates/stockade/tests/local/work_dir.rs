//! The work_dir: made where it is missing, refused with a reason where it can't be used, and a clear error, which
//! the session survives, where it fails while blocks run.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;
use stockade::{CancellationToken, Error};
use tempfile::TempDir;

use crate::{
    probe::{builder, start},
    support::{need, output, python, sh},
};

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

#[tokio::test]
async fn missing_parents_are_made() {
    let directory = temporary();
    let work_dir = directory.path().join("a/b/c");
    let session = start(builder().work_dir(&work_dir)).await;
    output(&session, sh("echo kept > file")).await;
    session.stop().await.expect("it stops");
    assert_eq!(fs::read_to_string(work_dir.join("file")).expect("it is kept"), "kept\n");
}

#[tokio::test]
async fn a_work_dir_may_have_any_name() {
    let directory = temporary();
    let name = OsStr::from_bytes(b"it's \"odd\" $HOME\n\xff");
    let session = start(builder().work_dir(directory.path().join(name))).await;
    assert_eq!(session.work_dir().file_name(), Some(name));
    let print = python("import os\nprint(os.path.samefile(os.path.dirname(os.path.abspath(__file__)), '.'))");
    assert_eq!(output(&session, print).await, "True\n");
    assert_eq!(output(&session, sh("# filename: a.sh\n[ -e a.sh ] && echo here")).await, "here\n");
}

#[tokio::test]
async fn a_work_dir_may_be_a_link() {
    let directory = temporary();
    fs::create_dir(directory.path().join("real")).expect("it is made");
    symlink("real", directory.path().join("link")).expect("it is made");
    let session = start(builder().work_dir(directory.path().join("link"))).await;
    output(&session, sh("touch file")).await;
    assert!(directory.path().join("real/file").exists());
}

#[tokio::test]
async fn without_a_work_dir_each_session_has_a_temporary_one() {
    let executor = builder().build().expect("the options are valid");
    let (one, two) = (executor.start().await.expect("it starts"), executor.start().await.expect("it starts"));
    assert_ne!(one.work_dir(), two.work_dir());
    let mode = fs::metadata(one.work_dir()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may look into it");
}

async fn refusal(work_dir: &Path) -> Error {
    let executor = builder().work_dir(work_dir).build().expect("the options are valid");
    let error = executor.start().await.expect_err("the work_dir can't be used");
    assert!(matches!(&error, Error::WorkDir { path, .. } if path == work_dir), "{error:?}");
    let expected = format!("failed to use {} as the work_dir: ", work_dir.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("choose")), "{error}: {:?}", error.hint());
    error
}

#[tokio::test]
async fn a_work_dir_that_is_a_file_is_refused() {
    let directory = temporary();
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("it is written");
    refusal(&file).await;
    refusal(&file.join("below")).await;
    assert_eq!(fs::read_to_string(&file).expect("it is kept"), "mine");
}

/// A file system of its own in memory, until this is dropped.
struct Mounted(TempDir);

impl Mounted {
    /// `None`, said aloud, where it can't be had.
    fn new(options: &str) -> Option<Self> {
        if !need::has("root", geteuid().is_root(), "only root mounts file systems") {
            return None;
        }
        let directory = temporary();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        let said = mount.output().map_err(|error| error.to_string());
        let why = match &said {
            Ok(said) => String::from_utf8_lossy(&said.stderr).trim().to_owned(),
            Err(why) => why.clone(),
        };
        let mounted = said.is_ok_and(|said| said.status.success());
        need::has("tmpfs", mounted, &format!("mount -t tmpfs: {why}")).then(|| Self(directory))
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it is there")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_read_only_work_dir_is_refused() {
    if geteuid().is_root() {
        // Permissions do not keep root out, a file system that is read only does.
        let Some(mounted) = Mounted::new("ro,size=64k") else { return };
        let error = refusal(&mounted.path()).await;
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    } else {
        let directory = temporary();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).expect("it is ours");
        let error = refusal(directory.path()).await;
        assert!(error.to_string().contains("Permission denied"), "{error}");
    }
}

#[tokio::test]
async fn a_full_work_dir_is_an_error_that_the_session_survives() {
    let Some(mounted) = Mounted::new("size=64k") else { return };
    let session = start(builder().work_dir(mounted.path())).await;
    let fill = sh("# filename: fill.sh\nhead -c 1000000 /dev/zero > filler 2>/dev/null; echo filled");
    let blocks = [fill, sh("echo lost"), sh("echo more")];
    let error = session.execute_code_blocks(&blocks, &CancellationToken::new()).await.expect_err("full");
    let Error::Runner { failure, finished } = &error else { panic!("{error:?}") };
    assert_eq!(failure.doing, "save the block's file in the workspace");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("free some space")), "{:?}", error.hint());
    assert_eq!(finished.iter().map(|block| block.output.text()).collect::<Vec<_>>(), ["filled\n"]);
    let error = session.put_file("data", [0; 10_000]).await.expect_err("full");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    fs::remove_file(mounted.path().join("filler")).expect("it is there");
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
}

#[tokio::test]
async fn a_work_dir_that_is_deleted_is_an_error_until_it_is_there_again() {
    let directory = temporary();
    let work_dir = directory.path().join("work");
    let session = start(builder().work_dir(&work_dir)).await;
    let blocks = [sh("rm -rf \"$PWD\"; echo deleted"), sh("echo lost")];
    let error =
        session.execute_code_blocks(&blocks, &CancellationToken::new()).await.expect_err("no work_dir");
    assert!(matches!(error, Error::Runner { .. }), "{error:?}");
    let shown = work_dir.display().to_string();
    assert!(error.to_string().starts_with(&format!("failed to use {shown} as the workspace")), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make the work_dir again")), "{:?}", error.hint());
    assert_eq!(error.finished_blocks()[0].stdout.text(), "deleted\n");
    fs::create_dir(&work_dir).expect("it is made");
    assert_eq!(output(&session, sh("touch file; ls file")).await, "file\n");
    assert!(work_dir.join("file").exists());
}
