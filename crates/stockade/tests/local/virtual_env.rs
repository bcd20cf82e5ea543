//! Virtual environments: existing, made, and shared.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use stockade::{
    Error, LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel, Session,
};
use tempfile::TempDir;

use crate::{
    probe::{builder, levels, start},
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
    assert_eq!(error.hint().as_deref(), Some("name another folder, or remove what is there"));
    assert_eq!(fs::read_to_string(directory.path().join("notes.txt")).expect("it is there"), "mine");
}

/// A work_dir with what an earlier block may have left, and something of the user's beside it.
struct Project {
    _folder: TempDir,
    work_dir: PathBuf,
    victim: PathBuf,
}

const MARK: &str = "..venv.stockade-unfinished";

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let top = folder.path().canonicalize().expect("it is there");
        let (work_dir, victim) = (top.join("work"), top.join("victim"));
        for path in [&work_dir, &victim] {
            fs::create_dir(path).expect("it is made");
        }
        fs::write(victim.join("precious"), "kept").expect("it is written");
        Self { _folder: folder, work_dir, victim }
    }

    fn environment(&self) -> PathBuf {
        self.work_dir.join(".venv")
    }

    fn builder(&self, level: SandboxLevel) -> LocalCommandLineCodeExecutorBuilder {
        let executor = LocalCommandLineCodeExecutor::builder().work_dir(&self.work_dir);
        executor.sandbox(Sandbox::default().level(level)).virtual_env(self.environment())
    }

    fn assert_victim_kept(&self) {
        assert_eq!(fs::read_to_string(self.victim.join("precious")).expect("it is there"), "kept");
        assert_eq!(fs::read_dir(&self.victim).expect("it is there").count(), 1);
    }
}

async fn refusal(builder: LocalCommandLineCodeExecutorBuilder) -> String {
    let error = builder.build().expect("the options are valid").start().await.expect_err("it is refused");
    assert!(matches!(error, Error::VirtualEnv { .. }), "{error:?}");
    format!("{error}\n{}", error.hint().expect("there is something to do"))
}

#[tokio::test]
async fn in_the_work_dir_of_a_sandbox_one_is_made_once_whatever_is_left_of_an_attempt() {
    if !has_venv() {
        return;
    }
    for level in levels() {
        let project = Project::new();
        fs::create_dir_all(project.environment().join("half")).expect("it is made");
        fs::write(project.work_dir.join(MARK), "").expect("it is written");
        let executor = project.builder(level).build().expect("the options are valid");
        let (one, two) = tokio::join!(executor.start(), executor.start());
        for session in [one.expect("it starts"), two.expect("it starts")] {
            assert_used(&session, &project.environment()).await;
            let pip = output(&session, sh("command -v pip")).await;
            assert_eq!(pip, format!("{}/bin/pip\n", project.environment().display()));
            // As the builder tells.
            output(&session, sh("touch .venv/x")).await;
        }
        assert!(!project.work_dir.join(MARK).exists() && !project.environment().join("half").exists());
    }
}

#[tokio::test]
async fn a_planted_link_in_place_of_the_mark_leads_nowhere() {
    for level in levels() {
        let project = Project::new();
        symlink(project.victim.join("precious"), project.work_dir.join(MARK)).expect("it is made");
        refusal(project.builder(level)).await;
        project.assert_victim_kept();
    }
}

#[tokio::test]
async fn a_planted_link_in_place_of_the_environment_leads_nowhere() {
    for level in levels() {
        let project = Project::new();
        fs::write(project.work_dir.join(MARK), "").expect("it is written");
        symlink(&project.victim, project.environment()).expect("it is made");
        let error = refusal(project.builder(level)).await;
        assert!(error.contains("symbolic link"), "{error}");
        refusal(project.builder(level).virtual_env(project.work_dir.join(".venv/"))).await;
        project.assert_victim_kept();
        // A dangling one, and one on the way.
        fs::remove_file(project.environment()).expect("it is there");
        symlink(project.victim.join("new"), project.environment()).expect("it is made");
        refusal(project.builder(level)).await;
        symlink(&project.victim, project.work_dir.join("way")).expect("it is made");
        refusal(project.builder(level).virtual_env(project.work_dir.join("way/env"))).await;
        project.assert_victim_kept();
    }
}

#[tokio::test]
async fn a_link_shows_blocks_no_environment_that_was_not_named() {
    if !has_venv() {
        return;
    }
    for level in levels() {
        let project = Project::new();
        let other = project.victim.join("env");
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--without-pip"]).arg(&other);
        assert!(make.status().expect("python3 is there").success());
        symlink(&other, project.environment()).expect("it is made");
        let error = refusal(project.builder(level)).await;
        assert!(error.contains(&format!("name {} instead", other.display())), "{error}");
        assert!(!error.contains("install"), "{error}");
        assert_used(&start(project.builder(level).virtual_env(&other)).await, &other).await;
    }
}

/// What is run outside of the sandbox is nothing of the blocks', and what is theirs is run inside.
#[tokio::test]
async fn a_planted_python_is_not_run_outside_of_the_sandbox() {
    let real = "/usr/bin/python3";
    if !need::happens_to_have(real, &["-c", "import venv, ensurepip"]) {
        return;
    }
    for level in levels() {
        let project = Project::new();
        let (work, victim) = (project.work_dir.display(), project.victim.display());
        let planted = project.work_dir.join("bin/python3");
        fs::create_dir(project.work_dir.join("bin")).expect("it is made");
        let script = format!("#!/bin/sh\n: >{work}/ran\n(: >{victim}/ran) 2>/dev/null\nexec {real} \"$@\"\n");
        fs::write(&planted, script).expect("it is written");
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let builder = project.builder(level).env("PATH", format!("{work}/bin:/usr/bin:/bin"));
        let outside = project.work_dir.with_file_name("env");
        let session = start(builder.clone().virtual_env(&outside)).await;
        assert!(outside.join("bin/python").exists());
        assert!(!project.work_dir.join("ran").exists(), "it was run");
        session.stop().await.expect("it stops");
        // The twin: in the work_dir it makes the environment, and gets no further.
        start(builder).await.stop().await.expect("it stops");
        assert!(project.environment().join("bin/python").exists());
        assert!(project.work_dir.join("ran").exists(), "it was not run");
        project.assert_victim_kept();
    }
}

#[tokio::test]
async fn outside_of_a_sandbox_none_is_made_through_a_link() {
    if !has_venv() {
        return;
    }
    let parent = tempfile::tempdir().expect("a directory can be made");
    let (real, link) = (parent.path().join("real"), parent.path().join("link"));
    fs::create_dir(&real).expect("it is made");
    symlink(&real, &link).expect("it is made");
    let error = refusal(builder().virtual_env(&link)).await;
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(fs::read_dir(&real).expect("it is there").count(), 0);
    let mark = parent.path().join(".real.stockade-unfinished");
    symlink(parent.path().join("elsewhere"), &mark).expect("it is made");
    refusal(builder().virtual_env(&real)).await;
    assert!(!parent.path().join("elsewhere").exists(), "the mark is a file of its own");
    fs::remove_file(&mark).expect("it is there");
    start(builder().virtual_env(&real)).await;
    assert!(real.join("bin/python").exists() && !mark.exists());
}

#[tokio::test]
async fn an_environment_by_a_link_of_the_users_own_is_used_in_a_sandbox() {
    if !has_venv() {
        return;
    }
    for level in levels() {
        let project = Project::new();
        let (real, link) = (project.victim.join("env"), project.work_dir.with_file_name("link"));
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--without-pip"]).arg(&real);
        assert!(make.status().expect("python3 is there").success());
        symlink(&real, &link).expect("it is made");
        assert_used(&start(project.builder(level).virtual_env(link.join(""))).await, &link).await;
        // One that leads into the work_dir is not seen: the environment has the name that it has there.
        let way = link.with_file_name("way");
        symlink(&project.work_dir, &way).expect("it is made");
        let session = start(project.builder(level).virtual_env(way.join(".venv"))).await;
        assert_used(&session, &project.environment()).await;
    }
}

#[tokio::test]
async fn none_is_made_by_what_blocks_can_change_meanwhile() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a directory can be made");
    let work_dir = folder.path().join("work");
    let sandbox = Sandbox::default().level(SandboxLevel::Landlock).read_write(std::env::temp_dir());
    let executor = LocalCommandLineCodeExecutor::builder().work_dir(&work_dir).sandbox(sandbox);
    let error = refusal(executor.clone().virtual_env(folder.path().join("env"))).await;
    assert!(error.contains("TMPDIR"), "{error}");
    start(executor).await;
}

#[tokio::test]
async fn where_blocks_have_a_copy_of_the_work_dir_none_is_made_in_it() {
    let project = Project::new();
    let sandbox = Sandbox::default().workspace_size(64 << 20);
    let error = refusal(project.builder(SandboxLevel::Auto).sandbox(sandbox)).await;
    assert!(error.contains("make it first with `python3 -m venv"), "{error}");
    assert!(!project.environment().exists());
}
