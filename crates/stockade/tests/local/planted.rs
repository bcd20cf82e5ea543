//! What code in a sandbox leaves where it can change files, for a later session, and what it puts there while another one
//! starts: it chooses nothing that blocks see, and nothing of it is run outside. Beside each attempt, the user's own
//! choice holds.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stockade::{
    Error, LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel,
};
use tempfile::TempDir;

use crate::{
    probe::{levels, start},
    support::{
        need, outcome, output, patiently,
        respawn::{Respawned, is_respawned},
        sh,
    },
};

/// Sessions that are started while something is swapped: it is met in either state by some.
const ROUNDS: usize = 25;
const SECRET: &str = "a secret of the user's";

/// A work_dir, a folder that is hidden, with a secret, and one that the user wants shown.
struct Project {
    _folder: TempDir,
    top: PathBuf,
    work_dir: PathBuf,
    hidden: PathBuf,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let top = folder.path().canonicalize().expect("it is there");
        let (work_dir, hidden) = (top.join("work"), top.join("hidden"));
        for path in [&work_dir, &hidden, &top.join("shown")] {
            fs::create_dir(path).expect("it is made");
            fs::write(path.join("own"), "own").expect("it is written");
        }
        fs::write(hidden.join("secret"), SECRET).expect("it is written");
        Self { _folder: folder, top, work_dir, hidden }
    }

    fn builder(&self, sandbox: Sandbox) -> LocalCommandLineCodeExecutorBuilder {
        LocalCommandLineCodeExecutor::builder().work_dir(&self.work_dir).sandbox(sandbox)
    }

    /// Puts a link to what is hidden into the work_dir.
    fn plant(&self, name: &str) -> PathBuf {
        let link = self.work_dir.join(name);
        symlink(&self.hidden, &link).expect("it is made");
        link
    }

    fn assert_hidden_kept(&self) {
        assert_eq!(fs::read_dir(&self.hidden).expect("it is there").count(), 2);
    }

    /// Starts sessions while two names of the work_dir are exchanged, and has each look for the secret, by each of its
    /// names, and for the file `own`. Some may be refused.
    async fn race(&self, builder: LocalCommandLineCodeExecutorBuilder, names: [&str; 2]) {
        let executor = builder.build().expect("valid");
        let look =
            format!("cat {0}/secret */secret */*/secret secret* 2>/dev/null; cat own", self.hidden.display());
        let swapping = Swapping::start(&self.work_dir, names);
        patiently("sessions that start", async {
            let mut started = 0;
            while started < ROUNDS {
                let Ok(session) = executor.start().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let found = outcome(&session, sh(look.clone())).await;
                assert_eq!(found.stdout.text(), "own", "{}", found.output);
                session.stop().await.expect("it stops");
                started += 1;
            }
        })
        .await;
        drop(swapping);
    }
}

/// A thread that exchanges two names, as code of another session can.
struct Swapping {
    ended: &'static AtomicBool,
    thread: Option<thread::JoinHandle<()>>,
}

impl Swapping {
    fn start(folder: &Path, names: [&str; 2]) -> Self {
        let ended: &AtomicBool = Box::leak(Box::default());
        let [one, other] = names.map(|name| folder.join(name));
        let swap = move || {
            while !ended.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("both are there");
            }
        };
        Self { ended, thread: Some(thread::spawn(swap)) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

async fn refusal(builder: LocalCommandLineCodeExecutorBuilder) -> String {
    let error = builder.build().expect("valid").start().await.expect_err("it is refused");
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_link_in_place_of_what_is_to_be_shown_shows_nothing() {
    for level in levels() {
        let project = Project::new();
        let planted = project.plant("data");
        let real = project.work_dir.join("real");
        fs::create_dir(&real).expect("it is made");
        symlink(&planted, project.top.join("hop")).expect("it is made");
        let sandbox = || Sandbox::default().level(level);
        // What is a folder now may be a link when it is mounted, and would not be read-only with Landlock.
        for path in [&planted, &planted.join("below"), &real, &project.top.join("hop")] {
            if path.exists() {
                let error = refusal(project.builder(sandbox().read_only(path))).await;
                assert!(error.contains("choose one that lies elsewhere"), "{error}");
                refusal(project.builder(sandbox().read_write(path))).await;
            }
        }
        // The twin: what is the user's alone is shown, by links of his own too, and however it is named.
        symlink(project.top.join("shown"), project.top.join("link")).expect("it is made");
        for shown in ["shown", "link", "hidden/../shown"].map(|name| project.top.join(name)) {
            let session = start(project.builder(sandbox().read_only(&shown))).await;
            let look = sh(format!("cat {}/own", project.top.join("shown").display()));
            assert_eq!(output(&session, look).await, "own");
            let session = start(project.builder(sandbox().read_write(&shown))).await;
            let name = if shown.ends_with("link") { "link" } else { "shown" };
            output(&session, sh(format!("printf own >{}/own", project.top.join(name).display()))).await;
        }
        // And the work_dir may be named twice.
        start(project.builder(sandbox().read_write(&project.work_dir))).await;
        project.assert_hidden_kept();
    }
}

#[tokio::test]
async fn a_work_dir_whose_place_blocks_can_change_is_refused() {
    for level in levels() {
        let project = Project::new();
        project.plant("sub");
        let sandbox = Sandbox::default().level(level).read_write(&project.work_dir);
        for name in ["sub", "sub/new", "missing"] {
            let error = refusal(project.builder(sandbox.clone()).work_dir(project.work_dir.join(name))).await;
            assert!(error.contains("take that as the work_dir"), "{error}");
        }
        project.assert_hidden_kept();
        start(project.builder(sandbox).work_dir(project.top.join("another/new"))).await;
    }
}

#[tokio::test]
async fn what_takes_the_place_of_an_environment_is_not_shown() {
    for level in levels() {
        let project = Project::new();
        let environment = project.work_dir.join(".venv");
        // Either looks like one.
        for folder in [&environment, &project.hidden] {
            fs::create_dir_all(folder.join("bin")).expect("it is made");
            fs::write(folder.join("bin/python"), "").expect("it is written");
        }
        project.plant("link");
        let builder = project.builder(Sandbox::default().level(level)).virtual_env(&environment);
        project.race(builder, [".venv", "link"]).await;
    }
}

#[tokio::test]
async fn what_takes_the_place_of_a_program_is_not_shown() {
    for level in levels() {
        let project = Project::new();
        let (bin, tools) = (project.work_dir.join(".venv/bin"), project.top.join("tools"));
        for folder in [&bin, &tools] {
            fs::create_dir_all(folder).expect("it is made");
        }
        for program in [bin.join("python3"), project.hidden.join("run")] {
            fs::write(&program, "#!/bin/sh\n").expect("it is written");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        symlink(project.hidden.join("run"), bin.join("link")).expect("it is made");
        symlink(bin.join("python3"), tools.join("python3")).expect("it is made");
        let path = format!("{}:{}:/usr/bin:/bin", bin.display(), tools.display());
        let builder = project.builder(Sandbox::default().level(level)).env("PATH", path);
        project.race(builder, [".venv/bin/python3", ".venv/bin/link"]).await;
    }
}

#[tokio::test]
async fn what_takes_the_place_of_a_file_is_not_copied() {
    if !levels().contains(&SandboxLevel::Namespaces) {
        return;
    }
    let sandbox = Sandbox::default().level(SandboxLevel::Namespaces).workspace_size(1 << 20);
    let project = Project::new();
    fs::write(project.work_dir.join("secret"), "").expect("it is written");
    symlink(project.hidden.join("secret"), project.work_dir.join("secret-link")).expect("it is made");
    project.race(project.builder(sandbox.clone()), ["secret", "secret-link"]).await;

    let project = Project::new();
    fs::create_dir(project.work_dir.join("folder")).expect("it is made");
    project.plant("link");
    project.race(project.builder(sandbox), ["folder", "link"]).await;
}

/// What a variable of the host program names is not loaded into bubblewrap, nor into what makes an environment.
#[test]
fn planted_libraries_are_not_loaded_outside_of_the_sandbox() {
    const PLANTED: &str = "STOCKADE_TEST_PLANTED";
    const LEVEL: &str = "STOCKADE_TEST_LEVEL";
    if !is_respawned() {
        for level in levels() {
            let project = Project::new();
            // Of bubblewrap's, and of what Python unpacks pip with: whoever loads one of these fails.
            for library in ["libcap.so.2", "libselinux.so.1", "libz.so.1", "libexpat.so.1"] {
                fs::write(project.work_dir.join(library), "").expect("it is written");
            }
            let mut command = Command::new(std::env::current_exe().expect("it has a path"));
            command.env("LD_LIBRARY_PATH", &project.work_dir).env(PLANTED, &project.work_dir);
            command.env(LEVEL, level.to_string());
            Respawned::by(command, "planted::planted_libraries_are_not_loaded_outside_of_the_sandbox")
                .succeed();
        }
        return;
    }
    let said = |name| std::env::var(name).expect("it is set");
    let (work_dir, level) = (PathBuf::from(said(PLANTED)), said(LEVEL).parse().expect("it is one"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let sandbox = Sandbox::default().level(level);
        let builder = LocalCommandLineCodeExecutor::builder().work_dir(&work_dir).sandbox(sandbox);
        // The twin: blocks have what the variable names.
        let session = start(builder.clone()).await;
        let variable = output(&session, sh("echo $LD_LIBRARY_PATH")).await;
        assert_eq!(variable, format!("{}\n", work_dir.display()));
        let session = start(builder.clone().env("LD_LIBRARY_PATH", "/set")).await;
        assert_eq!(output(&session, sh("echo $LD_LIBRARY_PATH")).await, "/set\n");
        let without = ["-u", "LD_LIBRARY_PATH", "python3", "-c", "import venv, ensurepip"];
        if need::happens_to_have("env", &without) {
            let environment = work_dir.with_file_name("env");
            start(builder.virtual_env(&environment)).await;
            assert!(environment.join("bin/python").exists());
        }
    });
}
