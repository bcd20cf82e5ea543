//! The memory limit of the place where this process runs: the kernel's count of the processes that it ended for it,
//! and who is to go first. Owns where the count is found; what it means for a block is the engine's part.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

/// Where control groups are mounted in a container, of the second version or of the first.
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";
/// The largest of the files that hold the count has some ten short lines.
const FILE_SIZE: usize = 4096;

/// The kernel's count of processes of this one's control group that it ended for want of memory.
#[derive(Debug)]
pub(crate) struct OutOfMemoryKills(File);

impl OutOfMemoryKills {
    /// Finds the count; `None` where there is no such thing.
    pub(crate) fn find() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let opened = places(&groups).into_iter().filter_map(|place| File::open(place).ok());
        opened.map(Self).find(|kills| kills.count().is_some())
    }

    /// What it is now.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut text = [0; FILE_SIZE];
        let length = self.0.read_at(&mut text, 0).ok()?;
        parse_count(&text[..length])
    }
}

/// Where the count may be, the likeliest first: in this process's own group, or, where the mount shows no other
/// group than that one, as in a container, at its top.
fn places(groups: &str) -> Vec<PathBuf> {
    let below = |mount: &str, group: &str, file| {
        let group = Path::new(group.trim_start_matches('/'));
        let is_below = group.components().all(|part| matches!(part, Component::Normal(_)));
        let own = is_below.then(|| Path::new(mount).join(group).join(file));
        own.into_iter().chain([Path::new(mount).join(file)])
    };
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        match controllers {
            "" => Some(below(UNIFIED, group, "memory.events").collect::<Vec<_>>()),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                Some(below(MEMORY, group, "memory.oom_control").collect())
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

/// The count in a file of lines of a name and a number.
fn parse_count(text: &[u8]) -> Option<u64> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Of the thousand parts of all memory that the kernel reckons with, what a block counts for beyond what it has
/// itself: it goes before the processes that watch over it, however small it is.
const RAISE: i32 = 500;
const HIGHEST: i32 = 1000;
const OWN_SCORE: &str = "/proc/self/oom_score_adj";

/// What the kernel is to reckon a block with when it looks for whom to end; `None` when that is what it would
/// anyway.
pub(crate) fn raised_score() -> Option<i32> {
    let own: i32 = fs::read_to_string(OWN_SCORE).ok()?.trim().parse().ok()?;
    Some(own.saturating_add(RAISE).min(HIGHEST)).filter(|raised| *raised > own)
}

/// Has this process and what it will start reckoned with as blocks are. Only root may: without it the kernel looks
/// for the largest process, which is as a rule a block's too.
pub(crate) fn raise_own_score() {
    if let Some(raised) = raised_score() {
        let _ = fs::write(OWN_SCORE, raised.to_string());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(groups: &str) -> Vec<String> {
        places(groups).into_iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn it_is_looked_for_in_the_own_group_and_then_at_the_top() {
        assert_eq!(shown("0::/\n"), ["/sys/fs/cgroup/memory.events"; 2]);
        assert_eq!(shown("0::/a/b\n"), ["/sys/fs/cgroup/a/b/memory.events", "/sys/fs/cgroup/memory.events"]);
        assert_eq!(
            shown("5:cpu,cpuacct:/x\n4:memory:/docker/1:2\n"),
            [
                "/sys/fs/cgroup/memory/docker/1:2/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control"
            ]
        );
        // A group outside of the namespace's own.
        assert_eq!(shown("0::/../../x\n"), ["/sys/fs/cgroup/memory.events"]);
        assert_eq!(shown("4:memory\nnonsense\n"), [""; 0]);
    }

    #[test]
    fn it_is_one_line_of_several() {
        assert_eq!(parse_count(b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(parse_count(b"low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 7\n"), Some(1));
        assert_eq!(parse_count(b"oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    proptest! {
        #[test]
        fn any_count_is_found_among_any_other_lines(
            count: u64, before in "([a-z_]{1,9} [0-9]{1,4}\n){0,5}", after in "([a-z_]{1,9} [0-9]{1,4}\n){0,5}",
        ) {
            prop_assume!(!before.lines().any(|line| line.starts_with("oom_kill ")));
            let text = format!("{before}oom_kill {count}\n{after}");
            prop_assert_eq!(parse_count(text.as_bytes()), Some(count));
        }

        #[test]
        fn no_file_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..100), groups in ".{0,60}") {
            let _ = parse_count(&text);
            let own = format!("4:memory:{groups}\n0::{groups}");
            prop_assert!(places(&own).iter().all(|place| place.starts_with(UNIFIED)));
        }
    }
}
