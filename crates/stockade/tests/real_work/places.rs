//! Where the work is done: this host's sandbox at a level, or a container with the defaults; and by whom. Owns starting a
//! test once more as an ordinary user.

use std::fs;

use stockade::{
    CodeBlock, DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor,
    LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel, Session,
};

use crate::support::{
    eventually, need,
    ordinary::Ordinary,
    patiently,
    respawn::{Respawned, is_respawned},
    run,
};

/// A user with a name and no rights, on every Debian. Not nobody: whoever is unknown in a namespace looks like him.
const USER: &str = "games";
const USER_ID: u32 = 5;
const GROUP_ID: u32 = 60;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The sandbox, at this level.
    Sandbox(SandboxLevel),
    /// A container with the defaults.
    Docker,
}

pub(crate) const NAMESPACES: Place = Place::Sandbox(SandboxLevel::Namespaces);
pub(crate) const LANDLOCK: Place = Place::Sandbox(SandboxLevel::Landlock);
pub(crate) const DOCKER: Place = Place::Docker;

/// Tests a case as root; in a container, root is who the code is.
pub(crate) async fn as_root(place: Place, _test: &str, case: impl AsyncFnOnce(Place)) {
    let is_root = rustix::process::geteuid().is_root();
    if place == Place::Docker || need::has("root", is_root, "this user is not root") {
        place.test(case).await;
    }
}

/// Tests a case as a user without any rights: the one who runs the tests, or another, if that is root.
pub(crate) async fn as_user(place: Place, test: &str, case: impl AsyncFnOnce(Place)) {
    if is_respawned() || !rustix::process::geteuid().is_root() {
        return place.test(case).await;
    }
    let (_, test) = test.split_once("::").expect("the name of the crate comes first");
    let own = Ordinary::new(USER_ID, GROUP_ID);
    let mut user = own.command();
    user.env("USER", USER).env("LOGNAME", USER);
    let respawned = Respawned::by(user, test);
    let ended = tokio::task::spawn_blocking(|| respawned.succeed()).await;
    ended.expect("the test succeeds as an ordinary user");
    // Its runner may be removing the same files just now.
    let folder = own.path("");
    let removed = || fs::remove_dir_all(&folder).is_ok() || !folder.exists();
    eventually("the end of its files", || removed().then_some(())).await;
}

impl Place {
    /// Runs a case, unless the place is not to be had here.
    async fn test(self, case: impl AsyncFnOnce(Place)) {
        if self.is_there() {
            patiently("the end of the case", case(self)).await;
        }
    }

    fn is_there(self) -> bool {
        match self {
            Place::Docker => ["STOCKADE_TEST_DOCKER", "STOCKADE_TEST_IMAGE"].iter().all(|variable| {
                let why = format!("{variable} is not set: `cargo xtask test` sets it");
                need::has("docker", need::variable(variable).is_some(), &why)
            }),
            Place::Sandbox(SandboxLevel::Namespaces) => {
                need::has_program("bubblewrap", "bwrap", &["--version"])
            }
            Place::Sandbox(_) => true,
        }
    }

    /// Whether a program that is called as its word is there. What is in the image is known.
    pub(crate) fn has(self, word: &str, program: &str, arguments: &[&str]) -> bool {
        self == Place::Docker || need::has_program(word, program, arguments)
    }

    /// Whether there is a Python that has `modules`.
    pub(crate) fn has_python(self, modules: &str) -> bool {
        self.has("python", "python3", &["-c", &format!("import {modules}")])
    }

    /// A builder with the level's defaults, for cases that are not promised for containers.
    pub(crate) fn builder(self) -> LocalCommandLineCodeExecutorBuilder {
        LocalCommandLineCodeExecutor::builder().sandbox(self.sandbox())
    }

    /// The level's defaults.
    pub(crate) fn sandbox(self) -> Sandbox {
        match self {
            Place::Sandbox(level) => Sandbox::default().level(level),
            Place::Docker => panic!("a container is no sandbox of this host's"),
        }
    }

    /// A session with the defaults.
    pub(crate) async fn start(self) -> Session {
        if self != Place::Docker {
            return start(self.builder()).await;
        }
        let [daemon, image] = ["STOCKADE_TEST_DOCKER", "STOCKADE_TEST_IMAGE"]
            .map(|variable| need::variable(variable).expect("it is set where there is a Docker"));
        let builder = DockerCommandLineCodeExecutor::builder().daemon(daemon).image(image);
        builder.build().expect("the options are valid").start().await.expect("the session starts")
    }

    /// Runs a block in a session of its own, and compares what it prints to stdout.
    pub(crate) async fn prints(self, block: CodeBlock, expected: &str) {
        prints(&self.start().await, block, expected).await;
    }
}

pub(crate) async fn start(builder: LocalCommandLineCodeExecutorBuilder) -> Session {
    builder.build().expect("the options are valid").start().await.expect("the session starts")
}

/// Runs a block, and compares what it prints to stdout.
pub(crate) async fn prints(session: &Session, block: CodeBlock, expected: &str) {
    let result = run(session, &[block]).await;
    let block = &result.blocks[0];
    assert_eq!((block.exit_code, &*block.stdout.text()), (0, expected), "{}", result.output);
}

/// Runs a block that must fail, and say this.
pub(crate) async fn fails(session: &Session, block: CodeBlock, saying: &str) {
    let result = run(session, &[block]).await;
    assert!(
        result.exit_code != 0 && result.output.contains(saying),
        "{}: {}",
        result.exit_code,
        result.output
    );
}

/// Whether the session's policy tells of something that the level can't do.
pub(crate) fn is_noted(session: &Session, what: &str) -> bool {
    let policy = session.info().policy.sandbox.as_ref().expect("it is in a sandbox");
    policy.notes.iter().any(|note| note.contains(what))
}

pub(crate) fn bash(code: &str) -> CodeBlock {
    CodeBlock::new("bash", code)
}
