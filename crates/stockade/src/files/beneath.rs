//! Writing beneath a directory of this host what a stranger sent, and reading there what strangers may be changing. Owns
//! the rule that no name leads out: each part of it is opened by itself and no symbolic link is followed. A file takes its
//! place when it is whole.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use stockade_runner::source::RelativePath;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A file that is being written; it is gone when it is dropped before [`keep`](Self::keep).
#[derive(Debug)]
pub(super) struct NewFile {
    directory: OwnedFd,
    name: PathBuf,
    temporary: Option<String>,
    file: File,
}

/// Opens the regular file at `path`, which has no `..`, beneath `directory`.
pub(super) fn open_file(directory: &Path, path: &Path) -> io::Result<File> {
    let name = path.file_name().ok_or_else(|| invalid("it has no name".to_owned()))?;
    let folder = open_directory(directory, path.parent().unwrap_or(Path::new("")))?;
    // NONBLOCK: a FIFO must not make us wait for its writer, which may never come.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&folder, name, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(invalid("it is no regular file any more".to_owned())),
    }
}

/// Opens the directory at `path` likewise.
pub(super) fn open_directory(directory: &Path, path: &Path) -> io::Result<OwnedFd> {
    let mut opened = openat(CWD, directory, DIRECTORY, Mode::empty())?;
    for part in path {
        opened = openat(&opened, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(opened)
}

/// A name that comes from elsewhere, once it is known to stay beneath a directory.
pub(super) fn checked(path: &[u8]) -> io::Result<PathBuf> {
    let path = RelativePath::new(path).map_err(|error| invalid(error.to_string()))?;
    Ok(path.as_path().to_owned())
}

impl NewFile {
    /// Begins a file at `path`, which is [`checked`], beneath `directory`.
    pub(super) fn begin(directory: &Path, path: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().map(PathBuf::from).ok_or_else(|| invalid("it has no name".to_owned()))?;
        let directory = parents(directory, path)?;
        refuse_other_kinds(&directory, name.as_os_str())?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".stockade-{}-{number}.part", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&directory, &temporary, flags, Mode::from_raw_mode(0o666))?);
        Ok(Self { directory, name, temporary: Some(temporary), file })
    }

    pub(super) fn write(&self, offset: u64, contents: &[u8]) -> io::Result<()> {
        self.file.write_all_at(contents, offset)
    }

    /// Puts the file in its place.
    pub(super) fn keep(mut self, executable: bool) -> io::Result<()> {
        if executable {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&self.file)?.st_mode);
            // Whoever may read it may execute it.
            let readers = mode.bits() & 0o444;
            fchmod(&self.file, Mode::from_raw_mode((mode.bits() & 0o777) | (readers >> 2)))?;
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.directory, temporary, &self.directory, &self.name)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.directory, temporary, AtFlags::empty());
        }
    }
}

/// The directory that `path` is in, made where it is missing.
fn parents(directory: &Path, path: &Path) -> io::Result<OwnedFd> {
    let mut opened = open_directory(directory, Path::new(""))?;
    for part in path.parent().into_iter().flatten() {
        let enter = || openat(&opened, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        opened = match enter() {
            Err(Errno::NOENT) => {
                match mkdirat(&opened, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                enter()?
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let part = String::from_utf8_lossy(part.as_bytes()).into_owned();
                return Err(invalid(format!("{part} is no directory here")));
            }
            entered => entered?,
        };
    }
    Ok(opened)
}

/// A regular file is replaced, and what else there is of that name stays.
fn refuse_other_kinds(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            Err(invalid("something else than a regular file is there on this host".to_owned()))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use proptest::prelude::*;

    use super::*;

    fn put(directory: &Path, path: &[u8], contents: &[u8]) -> io::Result<()> {
        let file = NewFile::begin(directory, &checked(path)?)?;
        file.write(0, contents)?;
        file.keep(false)
    }

    #[test]
    fn a_file_is_written_with_its_parents_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), b"a/b/c.txt", b"one, and more").unwrap();
        put(folder.path(), b"a/b/c.txt", b"two").unwrap();
        assert_eq!(fs::read(folder.path().join("a/b/c.txt")).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in [&b"../x"[..], b"/tmp/x", b"a/../../x", b"", b"..", b"a\0b", b"."] {
            assert!(put(folder.path(), name, b"x").is_err(), "{name:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_link_is_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("victim"), "safe").unwrap();
        symlink(outside.path(), folder.path().join("directory")).unwrap();
        symlink(outside.path().join("victim"), folder.path().join("file")).unwrap();
        for name in [&b"directory/victim"[..], b"file"] {
            let refused = put(folder.path(), name, b"x").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
        }
        assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"safe");
    }

    #[test]
    fn nothing_is_read_through_a_link_and_no_pipe_is_waited_for() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink(outside.path(), folder.path().join("directory")).unwrap();
        symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
        rustix::fs::mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["directory/secret", "file", "pipe", "directory", ""] {
            assert!(open_file(folder.path(), Path::new(name)).is_err(), "{name}");
        }
        assert!(open_directory(folder.path(), Path::new("directory")).is_err());
        fs::create_dir(folder.path().join("own")).unwrap();
        fs::write(folder.path().join("own/file"), "own").unwrap();
        let file = open_file(folder.path(), Path::new("own/file")).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "own");
        assert!(open_directory(folder.path(), Path::new("own")).is_ok());
    }

    #[test]
    fn a_file_that_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = NewFile::begin(folder.path(), Path::new("half")).unwrap();
        file.write(0, b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_executable_is_one_for_whoever_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        NewFile::begin(folder.path(), Path::new("run")).unwrap().keep(true).unwrap();
        let mode = fs::metadata(folder.path().join("run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, (mode & 0o444) >> 2);
        assert_eq!(mode & 0o6000, 0);
    }

    proptest! {
        #[test]
        fn whatever_the_name_is_nothing_is_written_elsewhere(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let folder = tempfile::tempdir().unwrap();
            let inside = folder.path().join("inside");
            fs::create_dir(&inside).unwrap();
            let _ = put(&inside, &name, b"x");
            prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
