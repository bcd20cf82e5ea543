//! The directory of a session on this host: the one that was asked for, or a temporary one that goes with the session.
//! Who may do what in a temporary one is the executors' part.

use std::{
    env,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use stockade_runner::removal::remove_all;
use tempfile::TempDir;

use crate::error::{Error, Result};

/// A session's directory.
#[derive(Debug)]
pub(super) struct WorkDir {
    /// Absolute, and free of links.
    pub(super) path: PathBuf,
    /// Holds the directory, where it is the session's own.
    pub(super) temporary: Option<Arc<TempDir>>,
}

impl WorkDir {
    /// The directory that was asked for, made where it is missing; without one, a private directory in which `within`
    /// gives the path.
    pub(super) fn open(
        asked: Option<&Path>,
        within: impl FnOnce(PathBuf) -> io::Result<PathBuf>,
    ) -> Result<Self> {
        match asked {
            Some(path) => {
                let refused = |source| Error::WorkDir { path: path.to_owned(), source };
                fs::create_dir_all(path).map_err(refused)?;
                Ok(Self { path: path.canonicalize().map_err(refused)?, temporary: None })
            }
            None => {
                let refused = |source| Error::WorkDir { path: env::temp_dir(), source };
                let temporary = private_directory().map_err(refused)?;
                let path = temporary.path().canonicalize().and_then(within).map_err(refused)?;
                Ok(Self { path, temporary: Some(Arc::new(temporary)) })
            }
        }
    }
}

/// Removes a session's own directory, whatever was made of it: that can take as long as there are files.
pub(super) fn remove(directory: TempDir) {
    let _ = remove_all(&directory.keep());
}

/// A temporary directory that no other user may enter.
pub(super) fn private_directory() -> io::Result<TempDir> {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("stockade-").permissions(private).tempdir()
}
