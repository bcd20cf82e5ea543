//! Control groups of this machine's kernel, with processes in them. They need root, or a group that was given to us.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use super::*;

/// For a test that is its own helper: to be the owner of a group.
const OWNER: &str = "STOCKADE_TEST_GROUP_OWNER";
/// What the test waits for is there at once, or the machine is very slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A group with these limits; `None`, aloud, where this machine has none.
fn group(limits: &GroupLimits) -> Option<ControlGroup> {
    match ControlGroup::create(limits) {
        Ok(group) => Some(group),
        Err(error) => {
            skip("cgroups", could_be_had(&error), &format!("failed to {error}"));
            None
        }
    }
}

/// Says that a test is skipped, or fails where that is not to be.
fn skip(word: &str, is_mishap: bool, why: &str) {
    let required = env::var("STOCKADE_TEST_REQUIRE").unwrap_or_default();
    let mut required = required.split(',').map(str::trim);
    let required = required.any(|required| required == word || required == "all" && is_mishap);
    assert!(!required, "STOCKADE_TEST_REQUIRE asks for {word}: {why}");
    let thread = thread::current();
    let name = thread.name().unwrap_or("a test");
    // Not by `eprintln!`: what that prints is shown for failed tests only.
    let _ = writeln!(io::stderr(), "skipped: {name} needs {word}: {why}");
}

/// Whether the machine has what it takes: an error that nothing can be done about as root speaks against it.
fn could_be_had(error: &ControlGroupError) -> bool {
    rustix::process::geteuid().is_root() && error.hint().is_none()
}

/// Starts a script in a group.
fn start(group: &ControlGroup, script: &str) -> Child {
    let enter = r#"for entrance do echo 0 > "$entrance" || exit 99; done; exec /bin/sh -c "$SCRIPT""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", enter, "sh"]).args(group.entrances()).env("SCRIPT", script);
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn run(group: &ControlGroup, script: &str) -> ExitStatus {
    start(group, script).wait().unwrap()
}

/// The number beside a word in the first of these files that the directory has.
fn count_in(directory: &Path, files: &[&str], word: &str) -> u64 {
    let text = files.iter().find_map(|file| fs::read_to_string(directory.join(file)).ok()).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {word} in {text}"))
}

/// The number in the only directory with limits that the group has.
fn count(group: &ControlGroup, files: &[&str], word: &str) -> u64 {
    count_in(&group.parts[0].path(), files, word)
}

/// How many processes could not be made, which some kernels count where they should have been and some where the
/// limit is.
fn refused_processes(group: &ControlGroup) -> u64 {
    let limited = group.parts[0].path();
    let entrances = group.entrances();
    count_in(&limited, &["pids.events"], "max").max(count_in(
        entrances[0].parent().unwrap(),
        &["pids.events"],
        "max",
    ))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn more_processes_than_allowed_can_not_be_made() {
    let Some(group) = group(&GroupLimits { pids: Some(8), ..GroupLimits::default() }) else { return };
    let many = |count| format!("i=0; while [ $i -lt {count} ]; do sleep 1000 & i=$((i+1)); done");
    assert_eq!(run(&group, &many(4)).code(), Some(0));
    assert_eq!(refused_processes(&group), 0);
    assert!(!run(&group, &many(20)).success());
    assert!(refused_processes(&group) > 0);
}

#[test]
fn more_memory_than_allowed_ends_the_process() {
    let Some(group) = group(&GroupLimits { memory: Some(32 << 20), ..GroupLimits::default() }) else {
        return;
    };
    let kills = |group: &ControlGroup| count(group, &["memory.oom_control", "memory.events"], "oom_kill");
    let fill = |doublings| format!("x=x; i=0; while [ $i -lt {doublings} ]; do x=$x$x; i=$((i+1)); done");
    assert_eq!(run(&group, &fill(20)).code(), Some(0));
    assert_eq!(kills(&group), 0);
    assert_eq!(run(&group, &fill(30)).signal(), Some(9));
    assert_eq!(kills(&group), 1);
    // Where the runner is to find the count.
    let (view, target) = &group.views()[0];
    assert!(target.starts_with("/sys/fs/cgroup"));
    assert!(["memory.oom_control", "memory.events"].iter().any(|file| view.join(file).exists()));
}

#[test]
fn more_time_on_the_processors_than_allowed_is_not_had() {
    let limits = |cpus| GroupLimits { cpus: Some(cpus), ..GroupLimits::default() };
    let (Some(narrow), Some(wide)) = (group(&limits(0.05)), group(&limits(64.0))) else { return };
    let throttled = |group: &ControlGroup| count(group, &["cpu.stat"], "nr_throttled");
    let mut child = start(&narrow, "while :; do :; done");
    wait_until("it is throttled", || throttled(&narrow) > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(run(&wide, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").success());
    assert_eq!(throttled(&wide), 0);
}

#[test]
fn less_time_on_the_processors_that_a_group_above_allows_holds_in_the_first_version() {
    let limits = |cpus| GroupLimits { cpus: Some(cpus), ..GroupLimits::default() };
    let Some(outer) = group(&limits(0.5)) else { return };
    if outer.version() != Version::V1 {
        return skip("cgroups-v1", false, "processors are the second version's here, which has no such rule");
    }
    // For a process that is in that group.
    let part = &outer.parts[0];
    let own = part.path().strip_prefix(&part.place.top).unwrap().display().to_string();
    let mut inside = Fake::new(&format!("1:cpu:/{own}\n"));
    inside.kernel = Kernel { proc: inside.kernel.proc, ..Kernel::this() };
    let top = part.place.top.display();
    let mounts = format!("1 2 0:3 / {top} rw - cgroup cgroup rw,cpu\n");
    fs::write(inside.kernel.proc.join("self/mountinfo"), mounts).unwrap();
    let (more, less) = (inside.create(&limits(2.0)).unwrap(), inside.create(&limits(0.25)).unwrap());
    assert_eq!(written(&more.parts[0], &OF_CPU[1..]), ["-1\n"]);
    assert_eq!(written(&less.parts[0], &OF_CPU[1..]), ["25000\n"]);
    // Groups in it end with it.
    let paths = [more, less].map(|group| {
        group.parts.iter().for_each(|part| part.directory.abandon());
        let path = group.parts[0].path();
        std::mem::forget(group);
        path
    });
    drop(outer);
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
}

#[test]
fn all_that_is_left_in_it_ends_with_it() {
    let Some(group) = group(&GroupLimits { pids: Some(50), ..GroupLimits::default() }) else { return };
    let paths: Vec<_> = group.parts.iter().map(Part::path).collect();
    // A tree, all of which holds the pipe.
    let mut inside = start(&group, "trap '' TERM; setsid sleep 1000 & setsid sleep 1000 & wait");
    let mut outside = Command::new("sleep").arg("1000").spawn().unwrap();
    let entered = |path: &Path| fs::read_to_string(path).is_ok_and(|pids| pids.lines().count() >= 3);
    wait_until("all are in it", || group.entrances().iter().all(|path| entered(path)));
    let begun = Instant::now();
    drop(group);
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
    assert_eq!(outside.try_wait().unwrap(), None);
    outside.kill().unwrap();
    outside.wait().unwrap();
}

#[test]
fn group_of_an_owner_that_was_killed_is_removed_by_the_next() {
    let limits = GroupLimits { pids: Some(50), ..GroupLimits::default() };
    let Some(living) = group(&limits) else { return };
    if env::var_os(OWNER).is_some() {
        let mut inside = start(&living, "exec sleep 1000");
        println!("\ngroup {}", living.parts[0].path().display());
        // Ends by being killed, unless the test does.
        let _ = io::stdin().read_line(&mut String::new());
        drop(living);
        inside.wait().unwrap();
        return;
    }
    let this = thread::current().name().unwrap().to_owned();
    let mut owner = Command::new(env::current_exe().unwrap());
    owner
        .args(["--exact", &this, "--nocapture"])
        .env(OWNER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut owner = owner.spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let dead = PathBuf::from(lines.find_map(|line| line.strip_prefix("group ").map(str::to_owned)).unwrap());
    assert!(dead.exists());
    drop(group(&limits).unwrap());
    assert!(dead.exists(), "its owner lives");
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The group's process may have been between fork and exec with the owner's lock.
    wait_until("it is removed", || {
        drop(group(&limits).unwrap());
        !dead.exists()
    });
    assert!(living.parts.iter().all(|part| part.path().exists()));
}

#[test]
fn group_of_the_second_version_takes_processes_in_and_ends_them() {
    let kernel = Kernel::this();
    let unified = kernel::Hierarchies::read(&kernel).unwrap().unified();
    // Without controllers: where the first version has them all, this is what there is.
    let place = match unified {
        Some(Ok(place)) => place,
        Some(Err(error)) => return skip("cgroups-v2", false, &error.to_string()),
        None => return skip("cgroups-v2", false, "there is only the first version"),
    };
    let directory = match v2::make(&kernel, &place, &[]) {
        Ok(directory) => directory,
        Err(error) => return skip("cgroups-v2", could_be_had(&error), &error.to_string()),
    };
    let path = directory.path().to_owned();
    let part = Part { directory, place, controls: Vec::new() };
    let group = ControlGroup { parts: vec![part], owner: process::id() };
    let mut inside = start(&group, "exec sleep 1000");
    let entered = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|pids| !pids.is_empty());
    wait_until("it is in it", || group.entrances().iter().all(entered));
    drop(group);
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
    assert!(!path.exists());
}
