//! `doctor`: as root on this machine, as another user, without bubblewrap, in a container, and where nothing works.
//! What is asserted is what the place can be known to have; whatever else is found must say why and how to fix it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    engine::{Engine, name},
    support::{Ended, PATIENCE, Place, need, wait_for},
};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");
const BWRAP: &str = "/usr/bin/bwrap";
/// No daemon is there: what is tried is this machine's part alone.
const NO_DAEMON: &str = "unix:///nonexistent.sock";

const LEVEL: [&str; 6] = ["start", "files", "network", "other processes", "system calls", "privileges"];
const NAMESPACES: [&str; 4] = ["user namespaces", "pid namespaces", "mount namespaces", "network namespaces"];
const LIMITS: [&str; 3] = ["memory", "pids", "cpus"];

/// What a doctor found, which must be whole whatever it found.
struct Report {
    ended: Ended,
    findings: Vec<Value>,
    /// The process id of the command that was started.
    process: u32,
}

impl Report {
    fn new(ended: Ended, process: u32) -> Self {
        let findings = ended.json()["findings"].as_array().expect("a list").clone();
        for finding in &findings {
            let given = |key: &str| finding[key].as_str().is_some_and(|text| !text.is_empty());
            let holds = finding["state"] == "enforced";
            assert!(given("detail"), "{finding}");
            assert_eq!((given("why"), given("fix")), (!holds, !holds), "{finding}");
            // A command, and not this one, which leads nowhere.
            let fix = finding["fix"].as_str().unwrap_or("`");
            assert!(fix.contains('`') && !fix.contains("stockade doctor"), "{finding}");
        }
        Self { ended, findings, process }
    }

    fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the command starts");
        let process = child.id();
        Self::new(Ended::new(child.wait_with_output().expect("it ends")), process)
    }

    /// On this machine, without a daemon.
    fn here(place: &Place) -> Self {
        Self::of(&mut place.command(["doctor", "--json", "--docker-host", NO_DAEMON]))
    }

    fn find(&self, subject: &str, control: &str) -> &Value {
        let mut findings = self.findings.iter();
        let found = findings.find(|found| found["subject"] == subject && found["control"] == control);
        found.unwrap_or_else(|| panic!("no {control} of {subject}: {:?}", self.findings))
    }

    /// All of these have this state.
    fn assert(&self, subject: &str, controls: &[&str], state: &str) {
        for control in controls {
            let found = self.find(subject, control);
            assert_eq!(found["state"], state, "{found}");
        }
    }

    fn count(&self, subject: &str) -> usize {
        self.findings.iter().filter(|found| found["subject"] == subject).count()
    }

    fn text(&self, subject: &str, control: &str, key: &str) -> &str {
        self.find(subject, control)[key].as_str().unwrap_or_default()
    }
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A machine on which both levels of the sandbox work, as is known without Stockade.
pub(crate) fn whole_machine() -> Option<()> {
    let bwrap = ["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"];
    need("bubblewrap", succeeds(BWRAP, &bwrap), "bwrap makes no namespaces here")?;
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let scopes = fs::exists("/proc/self/ns").unwrap_or(false) && version() >= (6, 12);
    let has_landlock = modules.is_empty() || modules.contains("landlock");
    need("landlock", scopes && has_landlock, "the kernel has no Landlock 6")
}

/// Of the kernel.
fn version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

pub(crate) fn root() -> Option<()> {
    need("root", geteuid().is_root(), "this user is not root")
}

/// The command where every user can execute it.
fn for_everybody() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open.clone()).expect("it is ours");
    let program = directory.path().join("stockade");
    fs::copy(STOCKADE, &program).expect("it can be copied");
    fs::set_permissions(&program, open).expect("it is ours");
    (directory, program)
}

#[test]
fn doctor_finds_both_levels_of_the_sandbox_and_what_they_are_made_of() {
    if whole_machine().is_none() {
        return;
    }
    let report = Report::here(&Place::new());
    assert_eq!(report.ended.status, Some(0), "{}", report.ended);
    report.assert("machine", &NAMESPACES, "enforced");
    report.assert("machine", &["kernel", "landlock", "seccomp", "pidfd", "bubblewrap"], "enforced");
    report.assert("local", &["runner", "sandbox", "memory execution"], "enforced");
    report.assert("namespaces", &LEVEL, "enforced");
    report.assert("landlock", &LEVEL, "enforced");
    assert!(report.text("machine", "landlock", "detail").starts_with("Landlock "));
    assert!(report.text("machine", "bubblewrap", "detail").contains(BWRAP));
    let python = report.find("interpreters", "python");
    assert_eq!(python["state"], "enforced", "{python}");
    assert!(python["detail"].as_str().is_some_and(|detail| detail.contains(", Python 3")), "{python}");
}

#[test]
fn doctor_makes_real_control_groups_and_leaves_nothing() {
    if root().is_none() {
        return;
    }
    let made =
        fs::metadata("/sys/fs/cgroup/pids").or_else(|_| fs::metadata("/sys/fs/cgroup/cgroup.controllers"));
    if need("cgroup", made.is_ok(), "no control groups are mounted").is_none() {
        return;
    }
    let place = Place::new();
    let mut command = place.command(["doctor", "--json", "--docker-host", NO_DAEMON]);
    let report = Report::of(command.env("TMPDIR", place.path()));
    report.assert("limits", &LIMITS, "enforced");
    assert!(report.text("limits", "memory", "detail").contains("cgroup v"));
    let groups = format!("stockade-{}-*", report.process);
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &groups]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let files: Vec<_> = fs::read_dir(place.path()).expect("it is ours").collect();
    assert!(files.is_empty(), "{files:?}");
    // What was killed last may take a moment.
    wait_for("the end of all processes", || processes_of(place.path()).is_empty().then_some(()));
}

/// Those that have a directory for temporary files, or are there.
fn processes_of(directory: &Path) -> Vec<PathBuf> {
    let name = directory.as_os_str().as_encoded_bytes();
    let of = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let has = environment.split(|byte| *byte == 0).any(|variable| variable.ends_with(name));
        has || fs::read_link(process.join("cwd")).is_ok_and(|place| place.starts_with(directory))
    };
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path());
    processes.filter(of).collect()
}

#[test]
fn doctor_of_an_ordinary_user_has_both_levels_and_no_limits() {
    if whole_machine().and_then(|()| root()).is_none() {
        return;
    }
    let (_directory, program) = for_everybody();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    command.args(["doctor", "--json", "--docker-host", NO_DAEMON]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").current_dir("/");
    let report = Report::of(&mut command);
    assert_eq!(report.ended.status, Some(0), "{}", report.ended);
    report.assert("machine", &NAMESPACES, "enforced");
    report.assert("namespaces", &LEVEL, "enforced");
    report.assert("landlock", &LEVEL, "enforced");
    report.assert("limits", &LIMITS, "absent");
    assert!(report.text("limits", "memory", "fix").contains("as root"));
}

#[test]
fn doctor_without_bubblewrap_has_landlock_and_says_how_to_have_more() {
    if whole_machine().and_then(|()| root()).is_none() {
        return;
    }
    let hidden = r#"mount --bind /dev/null /usr/bin/bwrap && exec "$0" doctor --json --docker-host "$1""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hidden, STOCKADE, NO_DAEMON]).current_dir("/");
    let report = Report::of(&mut command);
    assert_eq!(report.ended.status, Some(0), "{}", report.ended);
    report.assert("machine", &["bubblewrap"], "absent");
    report.assert("namespaces", &["start"], "absent");
    // The kernel gives them, and nobody takes them.
    report.assert("machine", &NAMESPACES, "degraded");
    report.assert("local", &["sandbox"], "degraded");
    report.assert("machine", &["landlock", "seccomp"], "enforced");
    report.assert("landlock", &LEVEL, "enforced");
    assert_eq!(report.count("namespaces"), 1);
    for (subject, control) in [("machine", "bubblewrap"), ("local", "sandbox"), ("namespaces", "start")] {
        let fix = report.text(subject, control, "fix");
        assert!(fix.contains("`apt-get install bubblewrap`"), "{subject} {control}: {fix}");
    }
}

/// A doctor in a container of the tests' image, which has these options besides.
fn in_container(options: &[&str]) -> Option<Report> {
    let engine = Engine::find()?;
    whole_machine()?;
    let (_directory, program) = for_everybody();
    let (name, mount) = (name(), format!("{}:/stockade:ro", program.display()));
    let run = |args: &[&str]| {
        let first = ["run", "--rm", "--name", &name, "--volume", &mount, "--entrypoint", "/stockade"];
        Ended::new(engine.docker(&[&first[..], options, &[&engine.image], args].concat()))
    };
    let starts = run(&["--version"]);
    let why = format!("this command does not run in {}: {starts}", engine.image);
    need("nested", starts.status == Some(0), &why)?;
    Some(Report::new(run(&["doctor", "--json"]), 0))
}

#[test]
fn doctor_in_a_container_has_landlock_and_neither_namespaces_nor_control_groups() {
    let Some(report) = in_container(&[]) else { return };
    assert_eq!(report.ended.status, Some(0), "{}", report.ended);
    report.assert("machine", &NAMESPACES, "absent");
    report.assert("namespaces", &["start"], "absent");
    report.assert("limits", &LIMITS, "absent");
    report.assert("docker", &["daemon"], "absent");
    report.assert("podman", &["service"], "absent");
    report.assert("local", &["sandbox"], "degraded");
    report.assert("machine", &["landlock", "seccomp"], "enforced");
    report.assert("landlock", &LEVEL, "enforced");
    for (subject, control) in [("machine", "user namespaces"), ("local", "sandbox"), ("namespaces", "start")]
    {
        assert!(report.text(subject, control, "fix").contains("seccomp=unconfined"), "{control}");
    }
    assert!(report.text("limits", "pids", "fix").contains("--cgroupns private"));
}

/// As on a kernel that has none.
const NO_LANDLOCK: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
    "names": [ "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self" ] } ] }"#;

#[test]
fn doctor_without_any_sandbox_says_that_code_runs_only_without_one() {
    let place = Place::with("profile.json", NO_LANDLOCK);
    let profile = format!("seccomp={}", place.path().join("profile.json").display());
    let Some(report) = in_container(&["--security-opt", &profile]) else { return };
    assert_eq!(report.ended.status, Some(1), "{}", report.ended);
    report.assert("machine", &["landlock"], "absent");
    report.assert("machine", &["seccomp", "kernel"], "degraded");
    report.assert("namespaces", &["start"], "absent");
    report.assert("landlock", &["start"], "absent");
    report.assert("local", &["sandbox"], "absent");
    report.assert("local", &["runner"], "enforced");
    assert!(report.text("machine", "landlock", "fix").contains("lsm="));
}

#[test]
fn doctor_starts_a_container_of_an_image_that_is_there() {
    let Some(engine) = Engine::find() else { return };
    let args = ["doctor", "--json", "--docker-host", &engine.host, "--image", &engine.image];
    let report = Report::of(&mut Place::new().command(args));
    let hardened = ["new privileges", "system calls", "files", "other processes"];
    report.assert("docker", &["daemon", "image", "container"], "enforced");
    report.assert("docker", &hardened, "enforced");
    // Those that pip needs, and the network, stay unless something else is asked for.
    report.assert("docker", &["capabilities", "network"], "degraded");
    let daemon = report.text("docker", "daemon", "detail");
    assert!(daemon.contains(&engine.host) && daemon.contains("the executor's options"), "{daemon}");
    assert!(daemon.contains(", API 1."), "{daemon}");
    let owned = format!("label=stockade.owner.pid={}", report.process);
    let left = engine.docker(&["ps", "--all", "--quiet", "--filter", &owned]);
    assert!(left.status.success() && left.stdout.is_empty(), "{left:?}");
}

#[test]
fn doctor_does_not_pull_an_image_that_is_not_there() {
    let Some(engine) = Engine::find() else { return };
    let missing = "stockade-test/none:1";
    let args = ["doctor", "--json", "--docker-host", &engine.host, "--image", missing];
    let report = Report::of(&mut Place::new().command(args));
    report.assert("docker", &["daemon"], "enforced");
    report.assert("docker", &["image", "container"], "degraded");
    assert_eq!(report.text("docker", "image", "fix"), "`docker pull stockade-test/none:1`");
    assert!(engine.inspect(missing).is_none(), "it was not pulled");
}

#[test]
fn doctor_says_that_nothing_runs_where_nothing_runs() {
    let place = Place::new();
    let mut command = place.command(["doctor", "--json", "--docker-host", NO_DAEMON]);
    let report = Report::of(command.env("PATH", "/nonexistent"));
    assert_eq!(report.ended.status, Some(70), "{}", report.ended);
    report.assert("local", &["runner"], "absent");
    // A block that does not run tells nothing of the kernel.
    report.assert("machine", &["landlock", "seccomp"], "degraded");
    report.assert("machine", &NAMESPACES, "degraded");
    assert!(report.text("local", "runner", "fix").contains("PATH"));
}

#[test]
fn doctor_where_no_file_can_be_made_says_where() {
    if root().is_none() {
        return;
    }
    let full = r#"mount -t tmpfs -o size=4k,nr_inodes=1 none "$2" &&
        exec env TMPDIR="$2" "$0" doctor --json --docker-host "$1""#;
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", full, STOCKADE, NO_DAEMON]).arg(place.path()).current_dir("/");
    let report = Report::of(&mut command);
    assert_eq!(report.ended.status, Some(70), "{}", report.ended);
    report.assert("local", &["runner"], "absent");
    assert!(report.text("local", "runner", "fix").contains("TMPDIR"), "{}", report.ended);
}

#[test]
fn doctor_does_not_wait_for_a_daemon_that_is_silent() {
    let place = Place::new();
    let socket = place.path().join("silent.sock");
    let _listener = UnixListener::bind(&socket).expect("it can be bound");
    let before = Instant::now();
    let address = format!("unix://{}", socket.display());
    let report = Report::of(&mut place.command(["doctor", "--json", "--docker-host", &address]));
    assert!(before.elapsed() < PATIENCE.min(Duration::from_secs(20)), "{:?}", before.elapsed());
    report.assert("docker", &["daemon"], "absent");
    assert!(report.text("docker", "daemon", "why").contains("no answer within"));
}

#[test]
fn doctor_is_a_table_for_people() {
    let ended = Place::new().stockade(["doctor", "--docker-host", NO_DAEMON]);
    for title in ["This machine\n", "Sandbox of namespaces\n", "Docker\n", "Interpreters\n"] {
        assert!(ended.stdout.contains(title), "{ended}");
    }
    assert!(!ended.stdout.contains('\x1b'), "{ended}");
    let mut lines = ended.stdout.lines().skip_while(|line| !line.starts_with("daemon "));
    let mut next = || lines.next().unwrap_or_default();
    assert!(next().contains("absent"), "{ended}");
    assert!(next().trim_start().starts_with("why "), "{ended}");
    assert!(next().ends_with("  unix:///nonexistent.sock: no such file"), "{ended}");
    assert!(next().trim_start().starts_with("fix "), "{ended}");
}

#[test]
fn daemon_that_is_not_there_is_told_of_and_no_failure() {
    let report = Report::here(&Place::new());
    report.assert("docker", &["daemon"], "absent");
    assert_eq!(report.count("docker"), 1);
    assert!(report.text("docker", "daemon", "fix").contains("start the daemon"));
    assert_eq!(report.ended.status, Some(0), "{}", report.ended);
}
