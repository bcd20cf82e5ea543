//! Virtual environments: existing, made, and shared.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use stockade::{Error, Session};

use crate::{
    probe::{builder, start},
    support::{need, output, python, sh},
};

fn has_venv() -> bool {
    need::has_program("python", "python3", &["-c", "import venv, ensurepip"])
}

/// Python blocks, shell blocks and what they start use the environment.
async fn assert_used(session: &Session, directory: &Path) {
    let directory = directory.display();
    let expected = format!("{directory}\n");
    assert_eq!(output(session, python("import sys; print(sys.prefix)")).await, expected);
    for program in ["python", "python3"] {
        let print = sh(format!("{program} -c 'import sys; print(sys.prefix)'"));
        assert_eq!(output(session, print).await, expected);
    }
    assert_eq!(output(session, python("!python -c 'import sys; print(sys.prefix)'")).await, expected);
    let variables = output(session, sh("echo $VIRTUAL_ENV; echo ${PATH%%:*}")).await;
    assert_eq!(variables, format!("{directory}\n{directory}/bin\n"));
}

#[tokio::test]
async fn an_existing_environment_is_used_as_it_is() {
    if !has_venv() {
        return;
    }
    let parent = tempfile::tempdir().expect("a directory can be made");
    let directory = parent.path().canonicalize().expect("it is there").join("existing env");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--without-pip"]).arg(&directory);
    assert!(make.status().expect("python3 is there").success());
    let session = start(builder().virtual_env(&directory)).await;
    assert_used(&session, &directory).await;
    assert!(!directory.join("bin/pip").exists(), "nothing was added to it");
}

#[tokio::test]
async fn sessions_that_need_the_same_environment_make_it_once() {
    if !has_venv() {
        return;
    }
    let parent = tempfile::tempdir().expect("a directory can be made");
    let directory = parent.path().canonicalize().expect("it is there").join("deep/made");
    let executor = builder().virtual_env(&directory).build().expect("the options are valid");
    let (one, two) = tokio::join!(executor.start(), executor.start());
    let sessions = [one.expect("it starts"), two.expect("it starts")];
    for session in &sessions {
        assert_used(session, &directory).await;
        let pip = output(session, sh("command -v pip; pip --version")).await;
        let expected = format!("{}/bin/pip\npip ", directory.display());
        assert!(pip.starts_with(&expected) && pip.matches(&expected[..10]).count() > 1, "{pip}");
    }
    // The workspaces are no place for it, and what is in it is no block's.
    fs::write(directory.join("mine"), "kept").expect("it is written");
    let third = executor.start().await.expect("it starts");
    assert_used(&third, &directory).await;
    assert!(directory.join("mine").exists());
}

#[tokio::test]
async fn an_environment_that_can_not_be_made_is_an_error_that_says_why() {
    let parent = tempfile::tempdir().expect("a directory can be made");
    let programs = parent.path().join("programs");
    fs::create_dir(&programs).expect("it is made");
    symlink("/bin/sh", programs.join("sh")).expect("it is made");
    let directory = parent.path().join("environment");
    let executor = builder().virtual_env(&directory).env("PATH", &programs).build().expect("valid");
    let error = executor.start().await.expect_err("there is no Python");
    assert!(matches!(&error, Error::VirtualEnv { path, .. } if *path == directory), "{error:?}");
    assert!(error.to_string().contains("found neither uv nor python3"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("install uv")));
    assert!(!directory.exists());

    let file = parent.path().join("file");
    fs::write(&file, "mine").expect("it is written");
    for directory in [file.join("below"), file.clone()] {
        let executor = builder().virtual_env(&directory).build().expect("the options are valid");
        let error = executor.start().await.expect_err("it can't be made there");
        assert!(matches!(error, Error::VirtualEnv { .. }), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is kept"), "mine");
}

#[tokio::test]
async fn a_directory_that_is_no_environment_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    fs::write(directory.path().join("notes.txt"), "mine").expect("it is written");
    let executor = builder().virtual_env(directory.path()).build().expect("the options are valid");
    let error = executor.start().await.expect_err("it is no environment");
    assert!(matches!(error, Error::VirtualEnv { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(directory.path().join("notes.txt")).expect("it is there"), "mine");
}
