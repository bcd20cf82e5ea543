//! Control groups made in trees of plain files that stand for kernels of all kinds.

mod real;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use tempfile::TempDir;

use super::{kernel::Kernel, *};

const ALL: GroupLimits = GroupLimits { memory: Some(64 << 20), pids: Some(50), cpus: Some(1.5) };
const OF_MEMORY: &[&str] = &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"];
const OF_CPU: &[&str] = &["cpu.cfs_period_us", "cpu.cfs_quota_us"];

/// A kernel whose files are below a directory.
struct Fake {
    root: TempDir,
    kernel: Kernel,
    mounts: String,
}

impl Fake {
    /// One where this process is in these groups.
    fn new(groups: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let kernel =
            Kernel { proc: root.path().join("proc"), make_directory: make, remove_directory: remove };
        fs::create_dir_all(kernel.proc.join("self")).unwrap();
        fs::write(kernel.proc.join("self/cgroup"), groups).unwrap();
        Self { root, kernel, mounts: String::new() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn mount(mut self, kind: &str, root: &str, point: &str, options: &str) -> Self {
        let point = self.path(point);
        let line = format!("1 2 0:3 {root} {} rw shared:4 - {kind} none rw,{options}\n", point.display());
        self.mounts += &line;
        fs::write(self.kernel.proc.join("self/mountinfo"), &self.mounts).unwrap();
        self
    }

    /// A group of the first version, with these files.
    fn first(self, group: &str, files: &[&str]) -> Self {
        fs::create_dir_all(self.path(group)).unwrap();
        for file in files.iter().chain(&["cgroup.procs"]) {
            fs::write(self.path(group).join(file), "").unwrap();
        }
        self
    }

    /// A group of the second version: what is given to it and passed on by it, and its processes.
    fn second(self, group: &str, given: &str, passed_on: &str, processes: &str) -> Self {
        let path = self.path(group);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in [
            ("cgroup.controllers", given),
            ("cgroup.subtree_control", passed_on),
            ("cgroup.procs", processes),
            ("cgroup.type", "domain\n"),
        ] {
            fs::write(path.join(file), text).unwrap();
        }
        self
    }

    fn create(&self, limits: &GroupLimits) -> Result<ControlGroup, String> {
        ControlGroup::create_by(&self.kernel, limits).map_err(|error| self.shorten(&error.to_string()))
    }

    fn shorten(&self, text: &str) -> String {
        text.replace(&self.root.path().display().to_string(), "").replace(&process::id().to_string(), "PID")
    }

    /// The groups of ours in a group.
    fn ours(&self, group: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(group)).unwrap().map(|entry| entry.unwrap());
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("stockade-")).collect()
    }
}

/// Makes a directory as the kernel does: with the files of a group.
fn make(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap();
    fs::create_dir(path)?;
    let Ok(passed_on) = fs::read_to_string(parent.join("cgroup.subtree_control")) else {
        for entry in fs::read_dir(parent)?.map(|entry| entry.unwrap()) {
            if entry.file_type()?.is_file() {
                fs::write(path.join(entry.file_name()), "")?;
            }
        }
        return Ok(());
    };
    let passed_on = passed_on.replace('+', "");
    for controller in passed_on.split_whitespace() {
        let files: &[&str] = match controller {
            "memory" => &["memory.max", "memory.swap.max"],
            "pids" => &["pids.max"],
            _ => &["cpu.max"],
        };
        files.iter().try_for_each(|file| fs::write(path.join(file), "max"))?;
    }
    fs::write(path.join("cgroup.controllers"), passed_on)?;
    fs::write(path.join("cgroup.type"), "domain\n")?;
    ["cgroup.subtree_control", "cgroup.procs", "cgroup.kill"]
        .iter()
        .try_for_each(|file| fs::write(path.join(file), ""))
}

/// Removes one as the kernel does: not while there are processes in it.
fn remove(path: &Path) -> io::Result<()> {
    let text = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
    let is_empty = text("cgroup.procs").is_empty() || text("cgroup.kill") == "1";
    if is_empty { fs::remove_dir_all(path) } else { Err(io::ErrorKind::ResourceBusy.into()) }
}

/// The files of a group's part, each with its text.
fn written(part: &Part, files: &[&str]) -> Vec<String> {
    files.iter().map(|file| fs::read_to_string(part.path().join(file)).unwrap()).collect()
}

fn first_version() -> Fake {
    Fake::new("5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n3:pids:/docker/1/x\n1:name=systemd:/\n")
        .mount("cgroup", "/docker/1", "memory", "memory")
        .mount("cgroup", "/docker/1", "cpu", "cpu,cpuacct")
        .mount("cgroup", "/docker/1", "pids", "pids")
        .first("memory", OF_MEMORY)
        .first("cpu", OF_CPU)
        .first("pids/x", &["pids.max"])
}

/// One in a group of systemd's, beside which there are others.
fn second_version(slice_given: &str, slice_passed_on: &str, own_processes: &str) -> Fake {
    Fake::new("0::/app.slice/own.scope\n")
        .mount("cgroup2", "/", "unified", "nsdelegate")
        .second("unified", "cpu memory pids", "cpu memory pids", "")
        .second("unified/app.slice", slice_given, slice_passed_on, "")
        .second("unified/app.slice/own.scope", slice_passed_on, "", own_processes)
}

#[test]
fn first_version_has_a_group_in_each_hierarchy_below_the_own_one() {
    let fake = first_version();
    let group = fake.create(&ALL).unwrap();
    assert_eq!(group.version(), Version::V1);
    let [memory, pids, cpu] = &group.parts[..] else { panic!("{:?}", group.parts) };
    assert!(memory.path().starts_with(fake.path("memory")) && memory.path() != fake.path("memory"));
    assert!(pids.path().starts_with(fake.path("pids/x/")), "{pids:?}");
    assert_eq!(written(memory, OF_MEMORY), ["67108864", "67108864", "0"]);
    assert_eq!(written(pids, &["pids.max"]), ["50"]);
    assert_eq!(written(cpu, OF_CPU), ["100000", "150000"]);
    assert!(group.counts_swap());
    let entrances: Vec<_> = group.parts.iter().map(|part| part.path().join("cgroup.procs")).collect();
    assert_eq!(group.entrances(), entrances);
    let views: Vec<_> = group.views().into_iter().map(|(_, target)| target).collect();
    assert_eq!(views, ["memory", "pids", "cpu"].map(|name| Path::new("/sys/fs/cgroup").join(name)));
}

#[test]
fn only_the_controllers_of_what_is_limited_must_be_there() {
    let fake = Fake::new("3:pids:/\n").mount("cgroup", "/", "pids", "pids").first("pids", &["pids.max"]);
    let pids = GroupLimits { pids: Some(20), ..GroupLimits::default() };
    assert_eq!(fake.create(&pids).unwrap().parts.len(), 1);
    assert_eq!(
        fake.create(&ALL).unwrap_err(),
        "limit memory: the kernel has no controller `memory` switched on, or gives it to no group here"
    );
    assert_eq!(
        fake.create(&GroupLimits::default()).unwrap_err(),
        "make a control group: no limit was asked for"
    );
}

#[test]
fn what_was_made_is_removed_when_the_rest_fails() {
    let fake = first_version();
    fs::remove_file(fake.path("pids/x/pids.max")).unwrap();
    let error = fake.create(&ALL).unwrap_err();
    assert!(error.starts_with("write to /pids/x/stockade-PID-"), "{error}");
    assert_eq!((fake.ours("memory"), fake.ours("pids/x"), fake.ours("cpu")), (vec![], vec![], vec![]));
}

#[test]
fn swap_that_is_not_counted_is_said_to_be_beside_the_limit() {
    let fake = first_version();
    fs::remove_file(fake.path("memory/memory.memsw.limit_in_bytes")).unwrap();
    let group = fake.create(&ALL).unwrap();
    assert_eq!((group.version(), group.counts_swap()), (Version::V1, false));
}

#[test]
fn second_version_has_a_group_beside_the_own_one() {
    let fake = second_version("cpu memory pids", "cpu memory pids", "7\n8\n");
    let group = fake.create(&ALL).unwrap();
    assert_eq!((group.version(), group.counts_swap()), (Version::V2, true));
    let [part] = &group.parts[..] else { panic!("{:?}", group.parts) };
    assert_eq!(part.path().parent(), Some(&*fake.path("unified/app.slice")));
    assert_eq!(
        written(part, &["memory.max", "memory.swap.max", "pids.max", "cpu.max"]),
        ["67108864", "0", "50", "150000 100000"]
    );
    // It passes its controllers on, so that nobody takes them from it.
    assert_eq!(written(part, &["cgroup.subtree_control"]), ["+memory +pids +cpu"]);
    assert_eq!(group.entrances(), [part.path().join("processes/cgroup.procs")]);
    assert_eq!(group.views(), [(part.path(), PathBuf::from("/sys/fs/cgroup"))]);
    drop(group);
    assert_eq!(fake.ours("unified/app.slice"), [""; 0]);
}

#[test]
fn controllers_that_the_place_does_not_pass_on_are_switched_on() {
    let fake = second_version("cpu memory pids", "memory", "7\n8\n");
    fake.create(&GroupLimits { memory: None, ..ALL }).unwrap();
    let passed_on = fs::read_to_string(fake.path("unified/app.slice/cgroup.subtree_control")).unwrap();
    assert_eq!(passed_on, "+pids +cpu");
}

#[test]
fn whoever_is_alone_in_a_group_that_was_given_to_him_steps_aside() {
    let alone = format!("{}\n", process::id());
    let fake = Fake::new("0::/\n").mount("cgroup2", "/", "unified", "").second(
        "unified",
        "cpu memory pids",
        "",
        &alone,
    );
    let group = fake.create(&ALL).unwrap();
    assert_eq!(group.parts[0].path().parent(), Some(&*fake.path("unified")));
    let aside = fake.path(&format!("unified/stockade-host-{}/cgroup.procs", process::id()));
    assert_eq!(fs::read_to_string(aside).unwrap(), alone.trim());
    assert_eq!(
        fs::read_to_string(fake.path("unified/cgroup.subtree_control")).unwrap(),
        "+memory +pids +cpu"
    );
}

#[test]
fn whoever_is_not_alone_moves_nobody_and_hears_what_to_do() {
    let others = format!("1\n{}\n", process::id());
    let fake = Fake::new("0::/\n").mount("cgroup2", "/", "unified", "").second(
        "unified",
        "cpu memory pids",
        "",
        &others,
    );
    assert_eq!(
        fake.create(&ALL).unwrap_err(),
        "make a control group in /unified: processes are in it, and the kernel limits no groups below such a one"
    );
    assert_eq!(fake.ours("unified"), [""; 0]);
    let error = ControlGroup::create_by(&fake.kernel, &ALL).unwrap_err();
    assert!(error.hint().unwrap().contains("systemd-run --user --scope -p Delegate=yes"));
}

#[test]
fn topmost_group_of_the_system_may_have_processes() {
    let fake = Fake::new("0::/\n").mount("cgroup2", "/", "unified", "").second(
        "unified",
        "cpu memory pids",
        "",
        "1\n2\n",
    );
    fs::remove_file(fake.path("unified/cgroup.type")).unwrap();
    assert_eq!(fake.create(&ALL).unwrap().parts[0].path().parent(), Some(&*fake.path("unified")));
}

#[test]
fn both_places_are_named_when_none_will_do() {
    let fake = second_version("memory pids", "memory pids", "7\n8\n");
    assert_eq!(
        fake.create(&ALL).unwrap_err(),
        "make a control group in /unified/app.slice: the controller `cpu` is not delegated to it; failed to make a \
         control group in /unified/app.slice/own.scope: the controller `cpu` is not delegated to it"
    );
    let without = GroupLimits { cpus: None, ..ALL };
    assert_eq!(fake.create(&without).unwrap().version(), Version::V2);
}

#[test]
fn controllers_may_be_divided_between_the_versions() {
    let fake = Fake::new("5:memory:/a\n0::/\n")
        .mount("cgroup", "/", "memory", "memory")
        .mount("cgroup2", "/", "unified", "")
        .first("memory/a", &OF_MEMORY[..1])
        .second("unified", "cpu pids", "", "");
    let group = fake.create(&ALL).unwrap();
    assert_eq!((group.version(), group.entrances().len()), (Version::Both, 2));
    assert_eq!(group.version().to_string(), "cgroup v1 and v2");
    // The runner looks for the memory's only.
    let memory = (group.parts[0].path(), PathBuf::from("/sys/fs/cgroup/memory"));
    assert_eq!(group.views(), [memory]);
    let available = available_by(&fake.kernel);
    let expected = Availability {
        memory: Ok(Version::V1),
        pids: Ok(Version::V2),
        cpus: Ok(Version::V2),
        counts_swap: false,
    };
    assert_eq!(available, expected);
}

#[test]
fn group_that_no_mount_shows_is_an_error_with_a_hint() {
    let fake = Fake::new("3:pids:/../x\n0::/gone\n")
        .mount("cgroup", "/", "pids", "pids")
        .mount("cgroup2", "/elsewhere", "unified", "")
        .first("pids", &["pids.max"])
        .second("unified", "memory", "memory", "");
    let available = available_by(&fake.kernel);
    let hint = "mount control groups below /sys/fs/cgroup, those of this very namespace; a container has them with \
                `--cgroupns private`";
    let missing = "failed to find the control group /../x of this process: no mount of pids shows it";
    assert_eq!(available.pids, Err(Unavailable { why: missing.to_owned(), fix: Some(hint) }));
    let missing = "failed to find the control group /gone of this process: no mount of cgroup v2 shows it";
    assert_eq!(available.memory, Err(Unavailable { why: missing.to_owned(), fix: Some(hint) }));
}

#[test]
fn refusal_to_make_a_group_says_which_and_what_to_do() {
    let refused = |errno| -> (String, Option<&str>) {
        let mut fake = first_version();
        fake.kernel.make_directory = errno;
        let error = ControlGroup::create_by(&fake.kernel, &ALL).unwrap_err();
        (fake.shorten(&error.to_string()), error.hint())
    };
    let (error, hint) = refused(|_| Err(io::ErrorKind::PermissionDenied.into()));
    assert!(error.starts_with("make the control group /memory/stockade-PID-"), "{error}");
    assert!(error.ends_with(": permission denied"), "{error}");
    assert_eq!(hint, Some("run it as root (`sudo`): control groups of the first version are nobody else's"));
    let (_, hint) = refused(|_| Err(io::ErrorKind::ReadOnlyFilesystem.into()));
    assert!(hint.unwrap().contains("--privileged"), "{hint:?}");
}

#[test]
fn groups_of_the_dead_are_swept_and_those_of_the_living_are_not() {
    let fake = first_version();
    let (dead, living) = (fake.create(&ALL).unwrap(), fake.create(&ALL).unwrap());
    dead.parts.iter().for_each(|part| part.directory.abandon());
    fs::create_dir(fake.path("memory/not-ours")).unwrap();
    let next = fake.create(&ALL).unwrap();
    assert!(dead.parts.iter().all(|part| !part.path().exists()), "{:?}", fake.ours("memory"));
    assert!(living.parts.iter().chain(&next.parts).all(|part| part.path().exists()));
    assert!(fake.path("memory/not-ours").exists());
}

#[test]
fn copy_of_it_in_a_forked_process_ends_nothing() {
    let fake = first_version();
    let mut copy = fake.create(&ALL).unwrap();
    copy.owner += 1;
    drop(copy);
    assert_eq!(fake.ours("memory").len(), 1);
    drop(fake.create(&ALL).unwrap());
    assert_eq!(fake.ours("memory"), [""; 0]);
}

#[test]
fn processors_are_a_part_of_a_period() {
    let of = |cpus| CpuTime::of(cpus).quota;
    assert_eq!((of(0.01), of(1.0), of(2.5), of(64.0)), (1_000, 100_000, 250_000, 6_400_000));
}
