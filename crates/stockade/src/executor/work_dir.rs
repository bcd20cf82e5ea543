//! The directory of a session on this host: the one that was asked for, or a temporary one that goes with the session.
//! Who may do what in a temporary one is the executors' part. Owns that a temporary one goes at last, also when its program
//! was killed: a runner that outlives it empties the directory, and where it can't remove it, for it is mounted there, the
//! next program does.

use std::{
    env,
    fs::{self, DirEntry, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    process::geteuid,
};
use stockade_runner::removal::remove_all;
use tempfile::TempDir;

use super::local;
use crate::error::{Error, Result};

/// What the names of private directories begin with; what follows is whose they are, and chance.
const PREFIX: &str = "stockade-";
/// How young a directory may be that nobody holds: whoever made it is about to.
const YOUNG: Duration = Duration::from_secs(60);

/// A session's directory.
#[derive(Debug)]
pub(super) struct WorkDir {
    /// Absolute, and free of links.
    pub(super) path: PathBuf,
    /// Holds the directory, where it is the session's own.
    pub(super) temporary: Option<Arc<PrivateDirectory>>,
}

impl WorkDir {
    /// The directory that was asked for, made where it is missing; without one, a private directory of `executor`'s in
    /// which `within` gives the path.
    pub(super) fn open(
        asked: Option<&Path>,
        executor: &str,
        within: impl FnOnce(PathBuf) -> io::Result<PathBuf>,
    ) -> Result<Self> {
        match asked {
            Some(path) => Ok(Self { path: make_work_dir(path)?, temporary: None }),
            None => {
                let refused = |source| Error::WorkDir { path: env::temp_dir(), source };
                let temporary = PrivateDirectory::new(executor).map_err(refused)?;
                let path = temporary.path().canonicalize().and_then(within).map_err(refused)?;
                Ok(Self { path, temporary: Some(Arc::new(temporary)) })
            }
        }
    }
}

/// A directory that was asked for, made where it is missing: absolute, and free of links.
pub(crate) fn make_work_dir(path: &Path) -> Result<PathBuf> {
    let refused = |source| Error::WorkDir { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(refused)?;
    path.canonicalize().map_err(refused)
}

/// A temporary directory that no other user may enter, held by this program. Dropping it removes it.
#[derive(Debug)]
pub(super) struct PrivateDirectory {
    directory: TempDir,
    /// Locked, as long as this program lives.
    _held: File,
}

impl PrivateDirectory {
    /// One of `executor`'s. The first of a program removes what dead ones left.
    pub(super) fn new(executor: &str) -> io::Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| sweep(&env::temp_dir(), YOUNG));
        let private = Permissions::from_mode(0o700);
        let prefix = format!("{PREFIX}{executor}-");
        let directory = tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir()?;
        let held = File::open(directory.path())?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { directory, _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it, whatever was made of it: that can take as long as there are files.
    pub(super) fn remove(self) {
        let _ = remove_all(&self.directory.keep());
    }

    /// Leaves it where it is.
    pub(super) fn keep(self) {
        let _ = self.directory.keep();
    }
}

/// Removes private directories in `folder` that are empty and that no program holds. What is not empty may be somebody's.
fn sweep(folder: &Path, young: Duration) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_left(&entry, young).unwrap_or(false) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn is_left(entry: &DirEntry, young: Duration) -> io::Result<bool> {
    // Directories of containers can be used after their program.
    let ours = format!("{PREFIX}{}-", local::KIND);
    if !entry.file_name().to_str().is_some_and(|name| name.starts_with(&ours)) {
        return Ok(false);
    }
    // Of the entry itself, not of what a link leads to.
    let metadata = entry.metadata()?;
    let is_private = metadata.is_dir()
        && metadata.uid() == geteuid().as_raw()
        && metadata.permissions().mode() & 0o7777 == 0o700;
    let is_old = || metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age >= young));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(is_private
        && is_old()
        // A pipe may be there by now, whose writer never comes.
        && flock(open(entry.path(), flags, Mode::empty())?, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as a session of the local executor has.
    fn left_in(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{PREFIX}{name}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        path
    }

    #[test]
    fn an_empty_directory_that_nobody_holds_is_swept() {
        let folder = TempDir::new().unwrap();
        let left = left_in(folder.path(), "local-a");
        sweep(folder.path(), YOUNG);
        assert!(left.exists(), "it is young");
        sweep(folder.path(), Duration::ZERO);
        assert!(!left.exists());
    }

    #[test]
    fn what_is_held_or_full_or_open_to_others_or_not_ours_stays() {
        let folder = TempDir::new().unwrap();
        let held = left_in(folder.path(), "local-held");
        let lock = File::open(&held).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let full = left_in(folder.path(), "local-full");
        fs::write(full.join("result"), "").unwrap();
        let open = left_in(folder.path(), "local-open");
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let container = left_in(folder.path(), "docker-a");
        let link = folder.path().join("stockade-local-link");
        std::os::unix::fs::symlink(left_in(folder.path(), "other"), &link).unwrap();
        sweep(folder.path(), Duration::ZERO);
        for path in [&held, &full, &open, &container, &link] {
            assert!(path.exists(), "{path:?}");
        }
        drop(lock);
        sweep(folder.path(), Duration::ZERO);
        assert!(!held.exists());
    }

    #[test]
    fn a_directory_in_use_is_not_swept() {
        let directory = PrivateDirectory::new("local").unwrap();
        sweep(directory.path().parent().unwrap(), Duration::ZERO);
        assert!(directory.path().exists());
        let path = directory.path().to_owned();
        directory.remove();
        assert!(!path.exists());
    }
}
