//! Giving what blocks made in a workspace to the workspace's owner. Blocks of a container run as its root, as a rule,
//! and the workspace is a directory of somebody on the host: what they leave there is to be his, and no danger to him
//! or anybody else. Owns what is given, what is taken from it before, and how much time that may take.
//!
//! Code that runs meanwhile may replace anything under our hands. So every entry is opened without following a
//! link, and what is done is done to what was opened; directories are entered by their parent's descriptor and
//! left by `..`, which must be the directory from which they were entered. What changes behind the walk's back
//! is newer than the walk, and the next one finds it.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Statx, StatxFlags, Uid, chmod, chownat, openat,
        removexattr, statx,
    },
    io,
    time::{ClockId, clock_gettime},
};

/// How long the walk after a block may take. The engine stands still meanwhile, and a result waits for it; it is
/// enough for some ten thousands of entries, as many as a package manager makes. What is not reached waits for the
/// next walk, at the latest for the last one, which takes as long as it needs.
const BUDGET: Duration = Duration::from_millis(100);
/// How often the last walk begins again when a directory was moved from under it: its blocks have ended, so it
/// can only be somebody else who is about to stop.
const ATTEMPTS: usize = 8;

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Of the open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::told(&examine(file)?))
    }

    /// Gives the open file to this owner, the link itself when it is a symbolic link that was opened as a mere path.
    pub(crate) fn take(self, file: impl AsFd) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
    }

    fn told(stat: &Statx) -> Self {
        Self { uid: stat.stx_uid, gid: stat.stx_gid }
    }
}

/// Seconds and nanoseconds, by the clock of file systems.
type Time = (i64, u32);

/// Gives what blocks changed since the session started to the owner that the workspace had then.
#[derive(Debug)]
pub(crate) struct Handover {
    owner: Owner,
    started: Time,
    /// What was changed before this has been given, but for what was hidden or moved meanwhile: that is found at the
    /// end.
    settled: Time,
}

impl Handover {
    /// Begins with this moment, and with the workspace's owner as of now: later it may be the code's choice.
    pub(crate) fn begin(workspace: &OwnedFd) -> io::Result<Self> {
        let now = now();
        Ok(Self { owner: Owner::of(workspace)?, started: now, settled: now })
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Gives what was changed since the last time, as far as that can be done in little time.
    pub(crate) fn after_block(&mut self, workspace: &OwnedFd) {
        let begun = now();
        let until = Some(Instant::now() + BUDGET);
        if self.walk(workspace, self.settled, until).is_ok() {
            self.settled = begun;
        }
    }

    /// Gives everything that was changed since the session started, however long that takes.
    pub(crate) fn at_end(&self, workspace: &OwnedFd) {
        let complete = |_: &usize| self.walk(workspace, self.started, None).is_ok();
        let _ = (0..ATTEMPTS).find(complete);
    }

    fn walk(&self, workspace: &OwnedFd, since: Time, until: Option<Instant>) -> Result<(), Unfinished> {
        // A workspace that can't be looked at any more holds nothing that could be given.
        let Ok(stat) = examine(workspace) else { return Ok(()) };
        Walk { owner: self.owner, since, until, mount: Mount::of(&stat), seen: 0 }.run(workspace)
    }
}

/// This moment, as a change now would show it.
fn now() -> Time {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec as u32)
}

/// What a walk did not reach waits for the next one.
#[derive(Debug)]
enum Unfinished {
    OutOfBudget,
    /// Somebody moved a directory from under it.
    Moved,
}

/// Which mount an entry lies in. File systems that are one mount may have several devices; kernels before 5.8 tell
/// only those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mount {
    Id(u64),
    Device(u32, u32),
}

impl Mount {
    fn of(stat: &Statx) -> Self {
        match stat.stx_mask & StatxFlags::MNT_ID.bits() {
            0 => Self::Device(stat.stx_dev_major, stat.stx_dev_minor),
            _ => Self::Id(stat.stx_mnt_id),
        }
    }
}

/// A directory on the way from the workspace to where the walk is.
struct Level {
    identity: (u32, u32, u64),
    /// Its directories that were not entered yet.
    left: Vec<OsString>,
}

struct Walk {
    owner: Owner,
    since: Time,
    until: Option<Instant>,
    mount: Mount,
    seen: usize,
}

impl Walk {
    /// Walks through everything. However deep it goes, one directory is open at a time.
    fn run(&mut self, workspace: &OwnedFd) -> Result<(), Unfinished> {
        let Some((mut here, level)) = self.enter(workspace, OsStr::new("."))? else { return Ok(()) };
        let mut levels = vec![level];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.pop() {
                if let Some((directory, level)) = self.enter(&here, &name)? {
                    here = directory;
                    levels.push(level);
                }
                continue;
            }
            levels.pop();
            let parent = levels.last().map(|parent| leave(&here, parent)).transpose()?;
            // Last, and with its parent at hand: it may be closed to us once it is somebody else's.
            if let Ok(stat) = examine(&here) {
                self.give(&here, &stat);
            }
            here = parent.unwrap_or(here);
        }
        Ok(())
    }

    /// Opens a directory and gives its entries but for the directories. `None` when it is none of ours to enter.
    fn enter(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<Option<(OwnedFd, Level)>, Unfinished> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(directory) = openat(parent, name, flags, Mode::empty()) else {
            self.give_entry(parent, name);
            return Ok(None);
        };
        match examine(&directory) {
            Ok(stat) if Mount::of(&stat) == self.mount => {
                let left = self.give_entries(&directory)?;
                Ok(Some((directory, Level { identity: identity(&stat), left })))
            }
            _ => Ok(None),
        }
    }

    /// Gives what is in a directory but for its directories, whose names it returns.
    fn give_entries(&mut self, directory: &OwnedFd) -> Result<Vec<OsString>, Unfinished> {
        let mut directories = Vec::new();
        let Ok(entries) = Dir::read_from(directory) else { return Ok(directories) };
        for entry in entries.flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            self.count()?;
            if entry.file_type() == FileType::Directory {
                directories.push(name.to_owned());
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            match statx(directory, name, flags, WANTED) {
                Ok(stat) if kind(&stat) == FileType::Directory => directories.push(name.to_owned()),
                // Most have not changed, and opening them costs more than asking.
                Ok(stat) if self.is_due(&stat) => self.give_entry(directory, name),
                _ => {}
            }
        }
        Ok(directories)
    }

    fn count(&mut self) -> Result<(), Unfinished> {
        self.seen += 1;
        // The clock is asked now and then: asking costs as much as an entry.
        let late = self.seen.is_multiple_of(64) && self.until.is_some_and(|until| Instant::now() > until);
        if late { Err(Unfinished::OutOfBudget) } else { Ok(()) }
    }

    fn is_due(&self, stat: &Statx) -> bool {
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        Mount::of(stat) == self.mount && changed >= self.since
    }

    fn give_entry(&self, directory: &OwnedFd, name: &OsStr) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(entry) = openat(directory, name, flags, Mode::empty()) else { return };
        if let Ok(stat) = examine(&entry) {
            self.give(&entry, &stat);
        }
    }

    /// Gives an open entry to the owner, and takes from it before what would make it a danger in other hands. What
    /// the file system refuses stays as it is.
    ///
    /// A directory keeps its setgid bit: it runs nothing, and what is made there gets the owner's group. That is what a
    /// directory that people share has the bit for, and new ones in it inherit.
    fn give(&self, entry: &OwnedFd, stat: &Statx) {
        if !self.is_due(stat) {
            return;
        }
        match kind(stat) {
            FileType::RegularFile => strip(entry, stat),
            // On the host it would be the disk itself, or what else has its number: nobody gets that.
            FileType::CharacterDevice | FileType::BlockDevice => {
                let _ = chmod(path_of(entry), Mode::empty());
                return;
            }
            _ => {}
        }
        if Owner::told(stat) != self.owner {
            let _ = self.owner.take(entry);
        }
    }
}

/// Takes from a file what would make whoever executes it somebody else, or mightier than he is.
fn strip(file: &OwnedFd, stat: &Statx) {
    let mode = Mode::from_raw_mode(stat.stx_mode.into());
    let special = Mode::SUID | Mode::SGID;
    if mode.intersects(special) {
        let _ = chmod(path_of(file), mode - special);
    }
    let _ = removexattr(path_of(file), "security.capability");
}

/// A path to what is open, for system calls that take no descriptor that is a mere path.
fn path_of(entry: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", entry.as_raw_fd())
}

/// The directory that holds `here`, which must be the one from which it was entered.
fn leave(here: &OwnedFd, parent: &Level) -> Result<OwnedFd, Unfinished> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat(here, "..", flags, Mode::empty()).map_err(|_| Unfinished::Moved)?;
    let stat = examine(&found).map_err(|_| Unfinished::Moved)?;
    if identity(&stat) == parent.identity { Ok(found) } else { Err(Unfinished::Moved) }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

fn examine(file: impl AsFd) -> io::Result<Statx> {
    statx(file, "", AtFlags::EMPTY_PATH, WANTED)
}

fn identity(stat: &Statx) -> (u32, u32, u64) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

fn kind(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use rustix::fs::{CWD, mkdirat, renameat};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).expect("it is there").into()
    }

    /// A file that is to lose its setuid bit, which tells that it was given.
    fn put(path: &Path) {
        fs::write(path, "x").expect("the folder is there");
        fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).expect("it is ours");
    }

    fn is_given(path: &Path) -> bool {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o7777 == 0o755
    }

    #[test]
    fn what_there_was_no_time_for_is_given_by_the_next_walk() {
        let folder = tempfile::tempdir().expect("tempdir");
        let workspace = open(folder.path());
        let handover = Handover::begin(&workspace).expect("begun");
        let names: Vec<_> = (0..200).map(|number| folder.path().join(number.to_string())).collect();
        names.iter().for_each(|name| put(name));
        let late = handover.walk(&workspace, handover.started, Some(Instant::now()));
        assert!(matches!(late, Err(Unfinished::OutOfBudget)), "{late:?}");
        assert!(!names.iter().all(|name| is_given(name)));
        handover.at_end(&workspace);
        assert!(names.iter().all(|name| is_given(name)));
    }

    #[test]
    fn what_was_given_is_looked_at_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("tempdir");
        let workspace = open(folder.path());
        let mut handover = Handover::begin(&workspace).expect("begun");
        let file = folder.path().join("file");
        for _ in 0..3 {
            put(&file);
            handover.after_block(&workspace);
            assert!(is_given(&file));
        }
    }

    #[test]
    fn goes_deeper_than_any_limit_of_descriptors() {
        let folder = tempfile::tempdir().expect("tempdir");
        let workspace = open(folder.path());
        let mut handover = Handover::begin(&workspace).expect("begun");
        let mut deepest = workspace.try_clone().expect("a descriptor is free");
        for _ in 0..5_000 {
            mkdirat(&deepest, "d", Mode::RWXU).expect("mkdir");
            deepest = openat(&deepest, "d", OFlags::RDONLY, Mode::empty()).expect("open");
        }
        let file = openat(&deepest, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).expect("made");
        rustix::fs::fchmod(&file, Mode::RWXU | Mode::SUID).expect("it is ours");
        handover.after_block(&workspace);
        handover.at_end(&workspace);
        assert_eq!(Mode::from_raw_mode(examine(&file).expect("open").stx_mode.into()), Mode::RWXU);
        crate::removal::remove_all(folder.path()).expect("removed");
    }

    #[test]
    fn a_directory_is_left_only_the_way_it_was_entered() {
        let folder = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(folder.path().join("a/b")).expect("mkdir");
        let parent = open(&folder.path().join("a"));
        let level = Level { identity: identity(&examine(&parent).expect("open")), left: Vec::new() };
        let here = open(&folder.path().join("a/b"));
        assert!(leave(&here, &level).is_ok());
        renameat(CWD, folder.path().join("a/b"), CWD, folder.path().join("b")).expect("moved");
        assert!(matches!(leave(&here, &level), Err(Unfinished::Moved)));
    }
}
