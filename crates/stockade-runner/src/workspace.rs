//! The workspace: the directory in which blocks' files are saved and their processes run. Owns every write to
//! it, beneath it, without following a symbolic link and without waiting on a FIFO or a device of that name;
//! and the locks by which runs, of this runner and of others, share it.
//!
//! A run holds a lock of its file until its end: exclusive for a file that the block named, shared for one
//! whose name was generated from its code. A generated file that is to be cleaned up carries the sticky bit,
//! which means nothing else on a Linux file: so whoever runs it last, in whatever process, knows that it is
//! theirs to remove, and nobody removes what somebody wanted kept. It is removed under an exclusive lock, and
//! whoever takes a lock makes sure afterwards that the name still leads to the file that he locked.
//!
//! What the host itself puts there and takes from there is `transfer`'s part.

mod transfer;

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, ftruncate, mkdirat,
        openat, stat, statat, unlinkat,
    },
    io::Errno,
};

use crate::handover::Owner;

/// How often a file may be replaced under our hands before we look again later.
const REPLACED_AT_MOST: usize = 16;

/// An open workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    directory: Rc<OwnedFd>,
    cleanup: bool,
    /// Who gets what we make there; whoever this process runs as, otherwise.
    owner: Option<Owner>,
}

/// A file of a run, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct SavedFile {
    /// Beneath the workspace.
    name: PathBuf,
    /// The directory that holds it, and its name there.
    place: Place,
    file: File,
    /// It was not there before.
    made: bool,
    origin: Origin,
    /// Its identity and time of change, as saved.
    pub(crate) stamp: Stamp,
}

/// Tells whether a file has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    /// Of no file.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self { inode: 0, seconds: 0, nanoseconds: 0 };

    pub(crate) fn new(inode: u64, seconds: i64, nanoseconds: u32) -> Self {
        Self { inode, seconds, nanoseconds }
    }

    pub(crate) fn of(stat: &Stat) -> Self {
        Self::new(stat.st_ino, stat.st_ctime, stat.st_ctime_nsec as u32)
    }
}

/// Who chose a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The block, or the host.
    Named,
    /// We did, from the code.
    Generated {
        /// It is to be removed when nobody runs it any more.
        discard: bool,
    },
}

/// A directory and a name in it.
#[derive(Debug)]
struct Place {
    directory: Rc<OwnedFd>,
    name: PathBuf,
}

/// Why a file was not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// The name leads out of the workspace, or may.
    #[error("Filename is not in the workspace: {} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    /// There is something else of that name.
    #[error("{} is there and is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// The same, where a link is wanted.
    #[error("{} is there and is not a symbolic link", .0.display())]
    NotSymlink(PathBuf),
    /// A part of a file does not follow the last one.
    #[error("{} has {size} bytes, and the part begins at {offset}", .name.display())]
    Misplaced { name: PathBuf, size: u64, offset: u64 },
    /// A part of the name is a file, or too long, or somebody else's.
    #[error("{} can't be written: {errno}", .name.display())]
    Refused { name: PathBuf, errno: Errno },
    /// Another run holds the file; to be tried again.
    #[error("another run holds the file")]
    Held,
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for SaveError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl Workspace {
    /// Opens the directory `path`, which must be absolute and writable.
    pub(crate) fn open(path: &Path, cleanup: bool) -> io::Result<Self> {
        let directory = open_directory(path)?;
        rustix::fs::accessat(
            &directory,
            ".",
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
            AtFlags::EACCESS,
        )?;
        Ok(Self { path: path.to_owned(), directory: directory.into(), cleanup, owner: None })
    }

    /// From now on gives what is made there to `owner`, as far as the file system lets us.
    pub(crate) fn give_to(&mut self, owner: Owner) {
        self.owner = Some(owner);
    }

    fn give(&self, made: impl AsFd) {
        if let Some(owner) = self.owner {
            let _ = owner.take(made);
        }
    }

    /// The same for what can't be opened, as a link can't.
    fn give_entry(&self, directory: &OwnedFd, name: &Path) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.owner.is_some() {
            let _ = openat(directory, name, flags, Mode::empty()).map(|made| self.give(made));
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Which directory it is, by device and number.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let opened = fstat(&self.directory)?;
        Ok((opened.st_dev, opened.st_ino))
    }

    /// Opens the directory again when its path leads to another one by now.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        let (opened, there) = (fstat(&self.directory)?, stat(&self.path)?);
        if (opened.st_dev, opened.st_ino) != (there.st_dev, there.st_ino) {
            self.directory = open_directory(&self.path)?.into();
        }
        Ok(())
    }

    /// Saves a file under a name that its contents gave it. Many runs can hold it, with a shared lock: whoever
    /// finds less in it than there should be waits until who made it has written it or is gone. It is cleaned up
    /// as the session wants it, or to be `discard`ed in any case.
    pub(crate) fn save_generated(
        &self,
        name: &str,
        contents: &[u8],
        discard: bool,
    ) -> Result<SavedFile, SaveError> {
        let discard = discard || self.cleanup;
        self.save(Path::new(name), Origin::Generated { discard }, |saved| {
            lock(&saved.file, FlockOperation::NonBlockingLockShared)?;
            if saved.made {
                return fill(&saved.file, contents);
            }
            let stat = fstat(&saved.file)?;
            if !discard {
                unmark(&saved.file, &stat);
            }
            if !saved.holds(&stat, contents)? {
                lock(&saved.file, FlockOperation::NonBlockingLockExclusive)?;
                overwrite(&saved.file, contents)?;
                lock(&saved.file, FlockOperation::NonBlockingLockShared)?;
            }
            Ok(())
        })
    }

    /// Saves a file under a name that was asked for, relative and without `..`. One run holds it.
    pub(crate) fn save_named(&self, name: &Path, contents: &[u8]) -> Result<SavedFile, SaveError> {
        self.save(name, Origin::Named, |saved| {
            lock(&saved.file, FlockOperation::NonBlockingLockExclusive)?;
            overwrite(&saved.file, contents)
        })
    }

    fn save(
        &self,
        name: &Path,
        origin: Origin,
        fill: impl Fn(&SavedFile) -> Result<(), SaveError>,
    ) -> Result<SavedFile, SaveError> {
        for _ in 0..REPLACED_AT_MOST {
            let Some(mut saved) = self.open_file(name, origin)? else { continue };
            if let Err(error) = fill(&saved) {
                saved.release();
                return Err(error);
            }
            let stat = fstat(&saved.file)?;
            if saved.place.leads_to(&stat)? {
                saved.stamp = Stamp::of(&stat);
                return Ok(saved);
            }
        }
        // Somebody keeps replacing it; that is to be waited for like any other holder.
        Err(SaveError::Held)
    }

    /// Makes a regular file and its parents, or opens the one that is there. `None` when it has just been removed.
    fn open_file(&self, name: &Path, origin: Origin) -> Result<Option<SavedFile>, SaveError> {
        let place = self.place(name, enter)?;
        // NONBLOCK: a FIFO must not make us wait for its reader, which may never come.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags, mode| openat(&place.directory, &place.name, flags, mode);
        // The mark is there from the beginning, so that what a process leaves that dies in between is removed too.
        let marked = origin == Origin::Generated { discard: true };
        let mark = if marked { Mode::SVTX } else { Mode::empty() };
        let (file, made) =
            match open(flags | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o666) | mark) {
                Err(Errno::EXIST) => (open(flags, Mode::empty()), false),
                file => (file, true),
            };
        let file = match file {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) if !made => return Ok(None),
            Err(errno) => return Err(explain(&place.directory, place.name.as_os_str(), errno, name)),
        };
        if made {
            self.give(&file);
        }
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SaveError::NotRegular(name.to_owned()));
        }
        let stamp = Stamp::of(&stat);
        Ok(Some(SavedFile { name: name.to_owned(), place, file, made, origin, stamp }))
    }

    /// The directory that holds the name, and the last of the name. Each directory on the way is opened by `step`.
    fn place(&self, name: &Path, step: Step) -> Result<Place, SaveError> {
        let bad_name = || SaveError::Refused { name: name.to_owned(), errno: Errno::INVAL };
        let file_name = name.file_name().ok_or_else(bad_name)?;
        let directory = self.descend(name.parent().unwrap_or(Path::new("")), step)?;
        Ok(Place { directory, name: PathBuf::from(file_name) })
    }

    fn descend(&self, path: &Path, step: Step) -> Result<Rc<OwnedFd>, SaveError> {
        let mut directory = Rc::clone(&self.directory);
        let mut walked = PathBuf::new();
        for component in path {
            walked.push(component);
            let (next, made) = step(&directory, component, &walked)?;
            if made {
                self.give(&next);
            }
            directory = next.into();
        }
        Ok(directory)
    }
}

/// Opens the directory of a name in another one, and tells whether it was made; what was walked until there is for the
/// error.
type Step = fn(&OwnedFd, &OsStr, &Path) -> Result<(OwnedFd, bool), SaveError>;

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    // The path was free of links when the session started.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens the directory `name` in `parent`.
fn follow(parent: &OwnedFd, name: &OsStr, walked: &Path) -> Result<(OwnedFd, bool), SaveError> {
    let opened = open_below(parent, name).map(|directory| (directory, false));
    opened.map_err(|errno| explain(parent, name, errno, walked))
}

/// Opens the directory `name` in `parent`, and makes it where it is missing.
fn enter(parent: &OwnedFd, name: &OsStr, walked: &Path) -> Result<(OwnedFd, bool), SaveError> {
    let open = |made| open_below(parent, name).map(|directory| (directory, made));
    let opened = match open(false) {
        Err(Errno::NOENT) => match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => open(true),
            Err(Errno::EXIST) => open(false),
            Err(errno) => Err(errno),
        },
        opened => opened,
    };
    opened.map_err(|errno| explain(parent, name, errno, walked))
}

fn open_below(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// What refusing to open `name` in `directory` means for a block that is to be saved as `shown`.
fn explain(directory: &OwnedFd, name: &OsStr, errno: Errno, shown: &Path) -> SaveError {
    let is_symlink = || {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    };
    match errno {
        Errno::LOOP | Errno::NOTDIR if is_symlink() => SaveError::Symlink(shown.to_owned()),
        Errno::ISDIR | Errno::NXIO => SaveError::NotRegular(shown.to_owned()),
        Errno::NOTDIR
        | Errno::NAMETOOLONG
        | Errno::INVAL
        | Errno::ILSEQ
        | Errno::ACCESS
        | Errno::PERM
        | Errno::TXTBSY => SaveError::Refused { name: shown.to_owned(), errno },
        errno => SaveError::Io(errno.into()),
    }
}

/// Takes the mark from a file that another session wanted removed and this one wants kept.
fn unmark(file: &File, stat: &Stat) {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::SVTX) {
        // Refused on a file of somebody else's, who may then do with it as he likes.
        let _ = fchmod(file, mode - Mode::SVTX);
    }
}

fn lock(file: &File, operation: FlockOperation) -> Result<(), SaveError> {
    flock(file, operation).map_err(|errno| match errno {
        Errno::WOULDBLOCK => SaveError::Held,
        errno => SaveError::Io(errno.into()),
    })
}

fn overwrite(mut file: &File, contents: &[u8]) -> Result<(), SaveError> {
    ftruncate(file, 0)?;
    file.rewind()?;
    fill(file, contents)
}

fn fill(mut file: &File, contents: &[u8]) -> Result<(), SaveError> {
    file.write_all(contents).map_err(|error| {
        // What there was room for is of no use to anyone, and would keep a full disk full.
        let _ = ftruncate(file, 0);
        error.into()
    })
}

impl Place {
    /// Whether the name still is this file's.
    fn leads_to(&self, opened: &Stat) -> Result<bool, SaveError> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl SavedFile {
    /// Its name beneath the workspace.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// Whether the file holds these contents already.
    fn holds(&self, stat: &Stat, contents: &[u8]) -> Result<bool, SaveError> {
        if stat.st_size as u64 != contents.len() as u64 {
            return Ok(false);
        }
        let mut found = Vec::with_capacity(contents.len());
        (&self.file).take(contents.len() as u64).read_to_end(&mut found)?;
        Ok(found == contents)
    }

    /// Gives the lock back, and removes the file when it is to be cleaned up and nobody else runs it. What is left
    /// of a removed file is given to the caller: its last descriptor takes long to close.
    pub(crate) fn release(self) -> Option<File> {
        if self.origin == Origin::Named {
            return None;
        }
        let stat = fstat(&self.file).ok()?;
        let marked = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
        let last = || lock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !marked || !last() || !self.place.leads_to(&stat).unwrap_or(false) {
            return None;
        }
        unlinkat(&self.place.directory, &self.place.name, AtFlags::empty()).ok()?;
        Some(self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn workspace(cleanup: bool) -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().expect("tempdir");
        let workspace = Workspace::open(folder.path(), cleanup).expect("open");
        (folder, workspace)
    }

    #[test]
    fn makes_the_parents_of_a_named_file() {
        let (folder, workspace) = workspace(true);
        let saved = workspace.save_named(Path::new("a/b/c.py"), b"1").expect("saved");
        saved.release();
        assert_eq!(fs::read(folder.path().join("a/b/c.py")).expect("kept"), b"1");
    }

    #[test]
    fn does_not_follow_a_symbolic_link_anywhere_in_the_name() {
        let (folder, workspace) = workspace(true);
        let outside = tempfile::tempdir().expect("tempdir");
        fs::write(outside.path().join("target"), "mine").expect("write");
        symlink(outside.path().join("target"), folder.path().join("last")).expect("symlink");
        symlink(outside.path(), folder.path().join("parent")).expect("symlink");
        for name in ["last", "parent/target", "parent/new/deep"] {
            let refused = workspace.save_named(Path::new(name), b"theirs").expect_err(name).to_string();
            assert!(refused.starts_with("Filename is not in the workspace"), "{name}: {refused}");
        }
        assert_eq!(fs::read(outside.path().join("target")).expect("read"), b"mine");
        assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 1);
    }

    #[test]
    fn does_not_wait_for_a_fifo() {
        let (folder, workspace) = workspace(true);
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, mode, 0).expect("mkfifo");
        let refused = workspace.save_named(Path::new("pipe"), b"x").expect_err("refused");
        assert!(matches!(refused, SaveError::NotRegular(_)), "{refused}");
        assert!(workspace.save_named(Path::new("plain"), b"x").is_ok());
    }

    #[test]
    fn a_named_file_is_held_by_one_run() {
        let (_folder, workspace) = workspace(true);
        let first = workspace.save_named(Path::new("x"), b"1").expect("saved");
        assert!(matches!(workspace.save_named(Path::new("x"), b"2"), Err(SaveError::Held)));
        first.release();
        assert!(workspace.save_named(Path::new("x"), b"2").is_ok());
    }

    #[test]
    fn the_last_run_of_a_generated_file_removes_it() {
        let (folder, workspace) = workspace(true);
        let (one, two) = (
            workspace.save_generated("g", b"1", false).expect("one"),
            workspace.save_generated("g", b"1", false).expect("two"),
        );
        one.release();
        assert!(folder.path().join("g").exists());
        two.release();
        assert!(!folder.path().join("g").exists());
    }

    #[test]
    fn a_generated_file_that_another_session_wants_kept_is_kept() {
        let (folder, cleaning) = workspace(true);
        let keeping = Workspace::open(folder.path(), false).expect("open");
        let (one, two) = (
            cleaning.save_generated("g", b"1", false).expect("one"),
            keeping.save_generated("g", b"1", false).expect("two"),
        );
        two.release();
        one.release();
        assert!(folder.path().join("g").exists());
    }

    #[test]
    fn a_name_too_long_for_the_file_system_is_refused() {
        let (_folder, workspace) = workspace(true);
        let refused = workspace.save_named(Path::new(&"n".repeat(300)), b"x").expect_err("refused");
        assert!(matches!(refused, SaveError::Refused { errno: Errno::NAMETOOLONG, .. }), "{refused}");
    }

    #[test]
    fn a_workspace_that_was_removed_and_made_again_is_found_again() {
        let (folder, mut workspace) = workspace(true);
        fs::remove_dir(folder.path()).expect("remove");
        assert!(workspace.refresh().is_err());
        fs::create_dir(folder.path()).expect("make");
        workspace.refresh().expect("refreshed");
        assert!(workspace.save_named(Path::new("x"), b"1").is_ok());
    }
}
