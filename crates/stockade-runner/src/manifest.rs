//! The manifest: which files in the workspace were created or changed while a block ran. One scan after the
//! block, by the time of the last change of the inode, which no program can set. Owns the scan's budget and
//! what it passes over; it reads no file.
//!
//! A file system's clock ticks in milliseconds, so a file that was written in the tick in which a block started
//! looks like that block's. The scanner remembers what was told or saved lately, and doesn't tell it again.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx},
    io::Errno,
    time::{ClockId, clock_gettime},
};
use serde_bytes::ByteBuf;

use crate::{
    outcome::{Change, FileChange},
    workspace::Stamp,
};

/// How long a scan may take, and how many entries it may look at (contract, line 16).
const BUDGET: Duration = Duration::from_millis(5);
const MAX_ENTRIES: usize = 10_000;
/// Directories below the workspace are followed this deep; each level holds a descriptor.
pub(crate) const MAX_DEPTH: usize = 64;
/// How far a file system's clock can be behind: two ticks of the slowest, for the kernel counts whole ones only.
const TICK: Duration = Duration::from_millis(40);

/// Directories that hold what tools made, never what a block is after.
const PASSED_OVER: &[&str] = &["node_modules", ".git", "__pycache__", ".venv"];
/// A directory with this file is a virtual environment.
const VIRTUAL_ENVIRONMENT: &str = "pyvenv.cfg";

/// When a block started, by the file system's clock.
#[derive(Debug)]
pub(crate) struct Since {
    time: (i64, u32),
    /// Files of that very tick that were there before. By path, for the inode of one that was removed may be
    /// another file's by now.
    told: HashMap<PathBuf, Stamp>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) files: Vec<FileChange>,
    pub(crate) truncated: bool,
}

/// Scans a workspace, again and again.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Files that were told or saved within the last tick, and when.
    told: Vec<(PathBuf, Stamp, Instant)>,
}

impl Scanner {
    /// Takes note of a file that we saved: no block made it.
    pub(crate) fn remember(&mut self, path: &Path, saved: Stamp) {
        self.told.push((path.to_owned(), saved, Instant::now()));
    }

    /// This moment, as the start of a block.
    pub(crate) fn now(&mut self) -> Since {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        self.told.retain(|(.., told)| told.elapsed() < TICK);
        let told = self.told.iter().map(|(path, stamp, _)| (path.clone(), *stamp)).collect();
        Since { time: (now.tv_sec, now.tv_nsec as u32), told }
    }

    /// Files created or changed since then. `own` is the block's file as it was saved: it is told only if the
    /// block changed it.
    pub(crate) fn scan(&mut self, workspace: &OwnedFd, since: &Since, own: Stamp) -> Manifest {
        let started = Instant::now();
        let mut walk = Walk { since, own, entries: 0, until: started + BUDGET, found: Vec::new() };
        let truncated = walk.directory(workspace, Path::new(""), 0).is_err();
        let found = walk.found;
        self.told.retain(|(.., told)| started.duration_since(*told) < TICK);
        let path = |file: &FileChange| PathBuf::from(OsStr::from_bytes(&file.path));
        self.told.extend(found.iter().map(|(stamp, file)| (path(file), *stamp, started)));
        let mut files: Vec<FileChange> = found.into_iter().map(|(_, file)| file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest { files, truncated }
    }
}

/// Opens a directory of the workspace that is looked into; `None` for one that is passed over.
pub(crate) fn look_into(parent: impl AsFd, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    if PASSED_OVER.iter().any(|passed_over| name == *passed_over) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    let marker = statx(&directory, VIRTUAL_ENVIRONMENT, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    Ok(marker.is_err().then_some(directory))
}

/// Whether a name is one that was made from code: the file of a block that runs beside this one.
pub(crate) fn is_generated(name: &OsStr) -> bool {
    let hash =
        name.as_bytes().strip_prefix(b"tmp_code_").and_then(|rest| rest.split(|&byte| byte == b'.').next());
    hash.is_some_and(|hash| hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit))
}

/// The scan ran out of its budget.
struct OutOfBudget;

struct Walk<'a> {
    since: &'a Since,
    own: Stamp,
    entries: usize,
    until: Instant,
    found: Vec<(Stamp, FileChange)>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), OutOfBudget> {
        let Ok(entries) = Dir::read_from(directory) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            self.count()?;
            match entry.file_type() {
                FileType::Directory => self.subdirectory(directory, name, path, depth)?,
                FileType::RegularFile if is_generated(name) => {}
                FileType::RegularFile | FileType::Unknown => self.file(directory, name, path),
                _ => {}
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), OutOfBudget> {
        self.entries += 1;
        // The clock is asked now and then: asking costs as much as an entry.
        let late = self.entries.is_multiple_of(64) && Instant::now() > self.until;
        if late || self.entries > MAX_ENTRIES { Err(OutOfBudget) } else { Ok(()) }
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), OutOfBudget> {
        let Ok(Some(directory)) = look_into(parent, name) else { return Ok(()) };
        if depth == MAX_DEPTH {
            return Err(OutOfBudget);
        }
        self.directory(&directory, &path.join(name), depth + 1)
    }

    fn file(&mut self, directory: &OwnedFd, name: &OsStr, path: &Path) {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let Ok(stat) = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, flags) else { return };
        let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        let stamp = Stamp::new(stat.stx_ino, changed.0, changed.1);
        if !is_file || changed < self.since.time || stamp == self.own {
            return;
        }
        let path = path.join(name);
        let before = self.since.told.get(&path);
        if before == Some(&stamp) {
            return;
        }
        let change = self.change(&stat, before.is_some());
        let path = ByteBuf::from(path.into_os_string().into_vec());
        self.found.push((stamp, FileChange { path, size: stat.stx_size, change }));
    }

    /// What was there before is changed, even if it was born in the tick in which the block started.
    fn change(&self, stat: &Statx, was_there: bool) -> Change {
        let born = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        if known && born >= self.since.time && !was_there { Change::Created } else { Change::Changed }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    const NONE: Stamp = Stamp::NONE;

    struct Scanned {
        folder: tempfile::TempDir,
        scanner: Scanner,
    }

    impl Scanned {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("tempdir"), scanner: Scanner::default() }
        }

        fn put(&self, name: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, "x").expect("write");
        }

        fn stamp(&self, name: &str) -> (i64, i64) {
            let found = fs::metadata(self.folder.path().join(name)).expect("it is there");
            (found.ctime(), found.ctime_nsec())
        }

        fn since(&mut self, since: &Since) -> Vec<(String, Change)> {
            let folder = fs::File::open(self.folder.path()).expect("open").into();
            let manifest = self.scanner.scan(&folder, since, NONE);
            assert!(!manifest.truncated);
            let name =
                |file: FileChange| (String::from_utf8(file.path.into_vec()).expect("text"), file.change);
            manifest.files.into_iter().map(name).collect()
        }
    }

    /// Waits until the file system's clock shows a time that is not over yet.
    fn tick() {
        let now = clock_gettime(ClockId::Realtime);
        while Scanner::default().now().time <= (now.tv_sec, now.tv_nsec as u32) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn tells_what_was_created_and_what_was_changed() {
        let mut scanned = Scanned::new();
        scanned.put("old");
        scanned.put("untouched");
        tick();
        let since = scanned.scanner.now();
        scanned.put("old");
        scanned.put("sub/new");
        let expected = [("old".to_owned(), Change::Changed), ("sub/new".to_owned(), Change::Created)];
        assert_eq!(scanned.since(&since), expected);
    }

    #[test]
    fn does_not_tell_a_file_twice_within_a_tick() {
        let mut scanned = Scanned::new();
        let since = scanned.scanner.now();
        scanned.put("one");
        let stamp = scanned.stamp("one");
        assert_eq!(scanned.since(&since).len(), 1);
        let next = scanned.scanner.now();
        scanned.put("two");
        assert_eq!(scanned.since(&next), [("two".to_owned(), Change::Created)]);
        let last = scanned.scanner.now();
        while scanned.stamp("one") == stamp {
            scanned.put("one");
        }
        assert_eq!(scanned.since(&last), [("one".to_owned(), Change::Changed)]);
    }

    #[test]
    fn does_not_tell_what_was_saved_before_the_block() {
        let mut scanned = Scanned::new();
        scanned.put("saved");
        let folder = fs::File::open(scanned.folder.path()).expect("open");
        let stat = rustix::fs::statat(&folder, "saved", AtFlags::empty()).expect("stat");
        scanned.scanner.remember(Path::new("saved"), Stamp::of(&stat));
        let since = scanned.scanner.now();
        scanned.put("made");
        assert_eq!(scanned.since(&since), [("made".to_owned(), Change::Created)]);
    }

    #[test]
    fn a_block_that_ran_meanwhile_is_told_of_its_file_all_the_same() {
        let mut scanned = Scanned::new();
        let (first, second) = (scanned.scanner.now(), scanned.scanner.now());
        scanned.put("shared");
        assert_eq!(scanned.since(&first).len(), 1);
        assert_eq!(scanned.since(&second).len(), 1);
    }

    #[test]
    fn passes_over_what_tools_made() {
        let mut scanned = Scanned::new();
        let since = scanned.scanner.now();
        for name in ["node_modules/a", ".git/b", "__pycache__/c", "env/pyvenv.cfg", "env/lib/d"] {
            scanned.put(name);
        }
        scanned.put("environment/kept");
        assert_eq!(scanned.since(&since), [("environment/kept".to_owned(), Change::Created)]);
    }

    #[test]
    fn says_so_when_there_are_too_many_entries() {
        let scanned = Scanned::new();
        let since = Scanner::default().now();
        for number in 0..=MAX_ENTRIES {
            fs::write(scanned.folder.path().join(number.to_string()), "").expect("write");
        }
        let folder = fs::File::open(scanned.folder.path()).expect("open").into();
        assert!(Scanner::default().scan(&folder, &since, NONE).truncated);
    }
}
