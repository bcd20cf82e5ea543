//! What has changed in the workspace since it was last asked. Owns the snapshot by which that is told, and the bounds
//! of one answer, in entries and in bytes, whatever the code has put there; it reads no file. What is passed over is
//! the manifest's rule, and files of blocks that are about to be removed are left out.
//!
//! A file is known by its inode and the time of its last change, which no program can set. What was changed in the
//! very tick of the clock in which it was looked at may be changed again without a trace: it is told once more, the
//! next time.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, Dir, DirEntry, FileType, Mode, Stat, statat},
    io::Errno,
    time::{ClockId, clock_gettime},
};

use crate::{
    manifest::{MAX_DEPTH, is_generated, look_into},
    wire::message::{ChangedFile, Changes},
    workspace::Stamp,
};

/// Entries that are looked at for one answer: twice as many as a host takes files.
const MAX_ENTRIES: usize = 20_000;
/// Bytes of an answer, well within a frame.
const MAX_BYTES: usize = 32 << 20;
/// Bytes that a file takes in an answer beside its path.
const OF_A_FILE: usize = 16;

/// Paths, relative to the workspace, in order.
type Files<T> = BTreeMap<Vec<u8>, T>;

/// The workspace as it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// `None` for a file that may have changed since without a trace.
    files: Files<Option<Stamp>>,
}

impl Snapshot {
    /// Looks again, and tells what is not as it was.
    pub(crate) fn changes(&mut self, workspace: &OwnedFd) -> Changes {
        let mut walk = Walk::new();
        // Out of budget or at its end, it has found what it has found.
        let ended = walk.through(workspace);
        let complete = ended.is_ok() && walk.unreadable == 0;
        let changed = walk.found.iter().filter(|(path, file)| self.differs(path, file));
        let changed: Vec<_> = changed.map(|(path, file)| told(path, file)).collect();
        let now = walk.found.into_iter().map(|(path, file)| (path, file.stamp)).collect();
        let before = std::mem::replace(&mut self.files, now);
        let mut changes = Changes { changed, deleted: Vec::new(), truncated: !complete };
        self.account_for(before, complete, &mut changes);
        changes
    }

    fn differs(&self, path: &[u8], file: &Found) -> bool {
        file.stamp.is_none() || self.files.get(path) != Some(&file.stamp)
    }

    /// Tells what was there before and is no more. What can't be told now, for nobody looked there or for want of
    /// room, is remembered, as far as there is room for that.
    fn account_for(&mut self, before: Files<Option<Stamp>>, complete: bool, changes: &mut Changes) {
        let (mut told, mut kept) = (Budget::new(), Budget::new());
        changes.changed.iter().for_each(|file| drop(told.take(&file.path)));
        self.files.keys().for_each(|path| drop(kept.take(path)));
        for (path, stamp) in before {
            if self.files.contains_key(&path) {
                continue;
            }
            if complete && told.take(&path).is_ok() {
                changes.deleted.push(path.into());
                continue;
            }
            changes.truncated = true;
            if kept.take(&path).is_ok() {
                self.files.insert(path, stamp);
            }
        }
    }
}

fn told(path: &[u8], file: &Found) -> ChangedFile {
    ChangedFile { path: path.to_vec().into(), size: file.size }
}

/// There is more than is looked at, told or remembered.
#[derive(Debug)]
struct OutOfBudget;

/// What is left of the bounds.
#[derive(Debug)]
struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    fn new() -> Self {
        Self { entries: MAX_ENTRIES, bytes: MAX_BYTES }
    }

    /// Takes one entry and the room for its path.
    fn take(&mut self, path: &[u8]) -> Result<(), OutOfBudget> {
        let entries = self.entries.checked_sub(1).ok_or(OutOfBudget)?;
        let bytes = self.bytes.checked_sub(path.len() + OF_A_FILE).ok_or(OutOfBudget)?;
        *self = Self { entries, bytes };
        Ok(())
    }
}

/// A regular file that was found.
#[derive(Debug)]
struct Found {
    stamp: Option<Stamp>,
    size: u64,
}

/// One look at the whole workspace.
#[derive(Debug)]
struct Walk {
    /// By the file system's clock.
    started: (i64, u32),
    budget: Budget,
    found: Files<Found>,
    /// Directories that are there and could not be looked into.
    unreadable: usize,
}

/// A directory that is being looked through.
#[derive(Debug)]
struct Level {
    entries: Dir,
    path: Vec<u8>,
}

impl Walk {
    fn new() -> Self {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Self {
            started: (now.tv_sec, now.tv_nsec as u32),
            budget: Budget::new(),
            found: Files::new(),
            unreadable: 0,
        }
    }

    /// Goes through all directories, one descriptor for each on the way to where it is.
    fn through(&mut self, workspace: &OwnedFd) -> Result<(), OutOfBudget> {
        let mut levels: Vec<Level> = self.open(workspace, Vec::new()).into_iter().collect();
        while let Some(level) = levels.last_mut() {
            match level.entries.next() {
                None => drop(levels.pop()),
                Some(Err(_)) => {
                    self.unreadable += 1;
                    levels.pop();
                }
                Some(Ok(entry)) => {
                    let below = self.look_at(level, &entry)?;
                    if below.is_some() && levels.len() > MAX_DEPTH {
                        return Err(OutOfBudget);
                    }
                    levels.extend(below);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, directory: &OwnedFd, path: Vec<u8>) -> Option<Level> {
        let entries = Dir::read_from(directory);
        self.unreadable += usize::from(entries.is_err());
        Some(Level { entries: entries.ok()?, path })
    }

    /// Takes in a file. Gives the directory that it is instead.
    fn look_at(&mut self, level: &Level, entry: &DirEntry) -> Result<Option<Level>, OutOfBudget> {
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            return Ok(None);
        }
        let path = if level.path.is_empty() { name.to_vec() } else { [&level.path, name].join(&b'/') };
        self.budget.take(&path)?;
        let (Ok(directory), name) = (level.entries.fd(), OsStr::from_bytes(name)) else { return Ok(None) };
        match entry.file_type() {
            FileType::Directory => return Ok(self.enter(directory, name, path)),
            FileType::RegularFile | FileType::Unknown => {}
            _ => return Ok(None),
        }
        // It may have gone meanwhile.
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(None) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(self.enter(directory, name, path)),
            FileType::RegularFile if !is_about_to_go(name, &stat) => {
                let stamp = self.is_settled(&stat).then(|| Stamp::of(&stat));
                self.found.insert(path, Found { stamp, size: stat.st_size as u64 });
            }
            _ => {}
        }
        Ok(None)
    }

    fn enter(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: Vec<u8>) -> Option<Level> {
        match look_into(parent, name) {
            Ok(Some(directory)) => self.open(&directory, path),
            // Passed over, gone, or something else by now.
            Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(_) => {
                self.unreadable += 1;
                None
            }
        }
    }

    /// Whether a change from now on will show.
    fn is_settled(&self, stat: &Stat) -> bool {
        (stat.st_ctime, stat.st_ctime_nsec as u32) < self.started
    }
}

/// Whether it is the file of a block that will be removed when nobody runs it any more.
fn is_about_to_go(name: &OsStr, stat: &Stat) -> bool {
    is_generated(name) && Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Watched {
        folder: tempfile::TempDir,
        snapshot: Snapshot,
    }

    /// Paths that changed and paths that were deleted.
    type Told = (Vec<String>, Vec<String>);

    impl Watched {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("tempdir"), snapshot: Snapshot::default() }
        }

        fn put(&self, name: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, "x").expect("write");
        }

        fn look(&mut self) -> Changes {
            self.snapshot.changes(&fs::File::open(self.folder.path()).expect("open").into())
        }

        fn told(&mut self) -> Told {
            let changes = self.look();
            assert!(!changes.truncated);
            let text = |path: Vec<u8>| String::from_utf8(path).expect("text");
            (
                changes.changed.into_iter().map(|file| text(file.path.into_vec())).collect(),
                changes.deleted.into_iter().map(|path| text(path.into_vec())).collect(),
            )
        }

        /// What is told when all that was done before lies a tick of the clock behind.
        fn told_later(&mut self) -> Told {
            let now = clock_gettime(ClockId::Realtime);
            while Walk::new().started <= (now.tv_sec, now.tv_nsec as u32) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            self.told()
        }
    }

    fn names(changed: &[&str], deleted: &[&str]) -> Told {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        (owned(changed), owned(deleted))
    }

    #[test]
    fn tells_all_at_first_and_then_what_is_not_as_it_was() {
        let mut watched = Watched::new();
        ["b", "a/x", "c"].iter().for_each(|name| watched.put(name));
        assert_eq!(watched.told_later(), names(&["a/x", "b", "c"], &[]));
        assert_eq!(watched.told(), names(&[], &[]));
        watched.put("b");
        fs::remove_dir_all(watched.folder.path().join("a")).expect("removed");
        assert_eq!(watched.told(), names(&["b"], &["a/x"]));
    }

    #[test]
    fn tells_once_more_what_may_have_changed_without_a_trace() {
        let mut watched = Watched::new();
        for _ in 0..20 {
            watched.put("same");
            watched.told();
            // Its size, its inode and, within one tick, its time are the same.
            watched.put("same");
            assert_eq!(watched.told(), names(&["same"], &[]));
        }
        assert_eq!(watched.told_later().1, [""; 0]);
        assert_eq!(watched.told(), names(&[], &[]));
    }

    #[test]
    fn passes_over_what_tools_made_and_what_is_about_to_go() {
        use std::os::unix::fs::PermissionsExt;
        let mut watched = Watched::new();
        let generated = format!("tmp_code_{}.sh", "0".repeat(64));
        let kept = format!("tmp_code_{}.sh", "1".repeat(64));
        for name in [".git/a", "venv/pyvenv.cfg", "venv/lib/b", "sticky", &generated, &kept] {
            watched.put(name);
        }
        for name in ["sticky", &generated] {
            let marked = fs::Permissions::from_mode(0o1644);
            fs::set_permissions(watched.folder.path().join(name), marked).expect("it is ours");
        }
        std::os::unix::fs::symlink("sticky", watched.folder.path().join("link")).expect("linked");
        assert_eq!(watched.told(), names(&["sticky", &kept], &[]));
    }

    #[test]
    fn says_so_when_there_are_too_many_entries_and_calls_nothing_deleted_then() {
        let mut watched = Watched::new();
        watched.put("first");
        watched.told_later();
        let many = watched.folder.path().join("many");
        fs::create_dir(&many).expect("mkdir");
        for number in 0..=MAX_ENTRIES {
            fs::write(many.join(number.to_string()), "").expect("write");
        }
        fs::remove_file(watched.folder.path().join("first")).expect("removed");
        let changes = watched.look();
        assert!(changes.truncated && changes.changed.len() < MAX_ENTRIES, "{}", changes.changed.len());
        assert_eq!(changes.deleted, [""; 0]);
        fs::remove_dir_all(many).expect("removed");
        let (changed, deleted) = watched.told();
        assert_eq!(changed, [""; 0]);
        assert!(deleted.contains(&"first".to_owned()), "it is told when all was looked at");
    }

    #[test]
    fn an_answer_fits_into_a_frame_whatever_the_names() {
        let mut watched = Watched::new();
        let mut deep = watched.folder.path().to_owned();
        for _ in 0..12 {
            deep.push("d".repeat(255));
        }
        fs::create_dir_all(&deep).expect("mkdir");
        for number in 0..12_000 {
            fs::write(deep.join(format!("{number:0>200}")), "").expect("write");
        }
        let changes = watched.look();
        assert!(changes.truncated);
        let told: usize = changes.changed.iter().map(|file| file.path.len()).sum();
        assert!(told < MAX_BYTES && told > MAX_BYTES - (1 << 20), "{told}");
        // What was told is gone now, and fits as well; what was not was never known.
        fs::remove_dir_all(watched.folder.path().join("d".repeat(255))).expect("removed");
        assert_eq!(watched.told().1.len(), changes.changed.len());
    }

    #[test]
    fn a_directory_deeper_than_is_looked_is_said_to_be_left_out() {
        let mut watched = Watched::new();
        watched.put(&format!("{}file", "d/".repeat(MAX_DEPTH)));
        assert_eq!(watched.told().0.len(), 1);
        watched.put(&format!("{}file", "d/".repeat(MAX_DEPTH + 1)));
        assert!(watched.look().truncated);
    }
}
