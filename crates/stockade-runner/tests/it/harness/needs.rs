//! What tests need of the machine beyond a shell. A test that lacks it is skipped, said aloud; with
//! `STOCKADE_TEST_REQUIRE` set to `all` or to a list with its word, it fails.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Something that a test needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    Python,
    Cc,
    /// To look into processes that don't want to be looked into.
    Root,
    /// To mount a file system of its own.
    Mount,
    /// To be root, and to give up a part of that.
    Capabilities,
    /// To start processes in a namespace of their own.
    Namespaces,
    /// To make a control group with a memory limit.
    MemoryLimit,
    /// To be confined by the kernel, signals included.
    Landlock,
    /// `script`, which gives a command a terminal.
    Terminal,
}

impl Need {
    /// Whether it is there; where it is not, says that the calling test is skipped.
    pub(crate) fn is_there(self) -> bool {
        let there = match self {
            Need::Python => python().is_some(),
            Need::Cc => works("cc", &["--version"]),
            Need::Root => rustix::process::geteuid().is_root(),
            Need::Mount => can_unshare(MOUNTS, &["mount", "-t", "tmpfs", "none", "/mnt"]),
            Need::Capabilities => works("setpriv", &["--bounding-set=-kill", "--reuid=65534", "true"]),
            Need::Namespaces => can_unshare(PROCESSES, &["true"]),
            Need::MemoryLimit => memory_group().is_some_and(|group| fs::remove_dir(group).is_ok()),
            Need::Landlock => python().is_some_and(|python| works(python, &["-c", ASK_FOR_LANDLOCK])),
            Need::Terminal => works("script", &["--version"]),
        };
        if !there {
            self.skip();
        }
        there
    }

    fn skip(self) {
        let word = format!("{self:?}").to_lowercase();
        let required = env::var("STOCKADE_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "all" || name == word), "{word} is required");
        let thread = std::thread::current();
        // Not the macro: the test harness would keep what it prints to itself.
        let _ = writeln!(std::io::stderr(), "skipped, for want of {word}: {}", thread.name().unwrap_or("?"));
    }
}

/// The command that runs its arguments in namespaces of their own.
pub(crate) fn unshare(namespaces: &[&'static str]) -> Vec<&'static str> {
    let as_root = if rustix::process::geteuid().is_root() { &[][..] } else { &["--map-root-user"] };
    [&["unshare"], as_root, namespaces].concat()
}

/// With these a command can mount, and nobody else sees it.
pub(crate) const MOUNTS: &[&str] = &["--mount"];
/// With these a command is the first process that it sees.
pub(crate) const PROCESSES: &[&str] = &["--pid", "--fork", "--mount-proc"];

fn can_unshare(namespaces: &[&'static str], command: &[&str]) -> bool {
    let words = unshare(namespaces);
    works(words[0], &[&words[1..], command].concat())
}

/// A new control group whose memory can be limited, of the first version or of the second.
pub(crate) fn memory_group() -> Option<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("stockade-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let make = |(mount, limit): (&str, &str)| {
        let group = Path::new(mount).join(&name);
        fs::create_dir(&group).ok()?;
        if group.join(limit).exists() {
            return Some(group);
        }
        let _ = fs::remove_dir(&group);
        None
    };
    let versions = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    versions.into_iter().find_map(make)
}

/// The PATH of the tests: a version manager's script in front of Python would be asked by every session.
pub(crate) fn path() -> OsString {
    let outer = env::var_os("PATH").unwrap_or_default();
    let first = python().and_then(Path::parent).map(Path::to_owned);
    env::join_paths(first.into_iter().chain(env::split_paths(&outer))).expect("PATH was a PATH before")
}

/// Python itself.
pub(crate) fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let code = "import sys; print(sys.executable)";
        let output = Command::new("python3").args(["-c", code]).stderr(Stdio::null()).output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        (output.status.success() && path.is_file()).then_some(path)
    };
    PYTHON.get_or_init(find).as_deref()
}

/// Fails unless the kernel has the version that came with scopes; the call has this number everywhere.
const ASK_FOR_LANDLOCK: &str = "import ctypes; assert ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6";

fn works(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
