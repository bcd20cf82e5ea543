//! Where attempts are made, and by whom. Owns how a session starts in each place, with what is shown and granted.

use std::{fs, path::Path, sync::LazyLock};

use stockade::{
    DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor, Sandbox, SandboxLevel, Session, Volume,
};

use crate::support::need;

/// A place to get out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Namespaces,
    Landlock,
    Docker,
}

impl Place {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "namespaces" => Self::Namespaces,
            "landlock" => Self::Landlock,
            "docker" => Self::Docker,
            other => panic!("there is no place {other}"),
        }
    }

    /// Whether it is to be had here; said aloud if not.
    pub(crate) fn is_there(self) -> bool {
        // Asked once: there are hundreds of tests, and a version manager's shim takes its time.
        static PYTHON: LazyLock<bool> = LazyLock::new(|| need::works("python3", &["-c", ""]));
        static BUBBLEWRAP: LazyLock<bool> = LazyLock::new(|| need::works("bwrap", &["--version"]));
        let python = || need::has("python", *PYTHON, "python3 does not run here");
        match self {
            Self::Namespaces => need::has("bubblewrap", *BUBBLEWRAP, "bwrap does not run here") && python(),
            Self::Landlock => python(),
            Self::Docker => {
                let why =
                    "STOCKADE_TEST_DOCKER and STOCKADE_TEST_IMAGE are not set: `cargo xtask test` sets them";
                need::has("docker", daemon().is_some() && image().is_some(), why)
            }
        }
    }

    pub(crate) fn level(self) -> Option<SandboxLevel> {
        match self {
            Self::Namespaces => Some(SandboxLevel::Namespaces),
            Self::Landlock => Some(SandboxLevel::Landlock),
            Self::Docker => None,
        }
    }

    /// A session that is shown one folder and may change another.
    pub(crate) async fn start(self, shown: &Path, granted: &Path) -> Session {
        let Some(level) = self.level() else {
            let text = |path: &Path| path.to_str().expect("a temporary path is text").to_owned();
            let executor = DockerCommandLineCodeExecutor::builder()
                .daemon(daemon().unwrap_or_default())
                .image(image().unwrap_or_default())
                .volume(Volume::new(text(shown), text(shown)).read_only())
                .volume(Volume::new(text(granted), text(granted)));
            return executor.build().expect("valid").start().await.expect("the container starts");
        };
        start(Sandbox::default().level(level).read_only(shown).read_write(granted)).await
    }
}

/// A session in a sandbox.
pub(crate) async fn start(sandbox: Sandbox) -> Session {
    let executor = LocalCommandLineCodeExecutor::builder().sandbox(sandbox).build().expect("valid");
    executor.start().await.expect("the session starts in its sandbox")
}

/// A session without one.
pub(crate) async fn start_outside() -> Session {
    let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().build().expect("valid");
    executor.start().await.expect("the session starts")
}

/// Where the tests' Docker daemon is.
pub(crate) fn daemon() -> Option<String> {
    need::variable("STOCKADE_TEST_DOCKER")
}

fn image() -> Option<String> {
    need::variable("STOCKADE_TEST_IMAGE")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process has the capabilities that root has outside of containers.
pub(crate) fn is_mighty() -> bool {
    // SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_TIME, NET_RAW, SYSLOG.
    const WANTED: u64 = 1 << 16 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 22 | 1 << 25 | 1 << 13 | 1 << 34;
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("it tells of them");
    u64::from_str_radix(effective.trim(), 16).expect("it is hexadecimal") & WANTED == WANTED
}
