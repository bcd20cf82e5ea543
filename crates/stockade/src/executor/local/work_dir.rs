//! The directory of a session: the one that was asked for, or a temporary one that goes with the session.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use crate::error::{Error, Result};

/// A session's directory.
#[derive(Debug, Clone)]
pub(super) struct WorkDir {
    /// Absolute, and free of links.
    pub(super) path: PathBuf,
    /// Holds the directory, where it is the session's own.
    pub(super) temporary: Option<Arc<TempDir>>,
}

impl WorkDir {
    /// Makes the directory where it is missing.
    pub(super) fn open(asked: Option<&Path>) -> Result<Self> {
        match asked {
            Some(path) => {
                let refused = |source| Error::WorkDir { path: path.to_owned(), source };
                fs::create_dir_all(path).map_err(refused)?;
                Ok(Self { path: path.canonicalize().map_err(refused)?, temporary: None })
            }
            None => {
                let refused = |source| Error::WorkDir { path: env::temp_dir(), source };
                let temporary = private_directory().map_err(refused)?;
                let path = temporary.path().canonicalize().map_err(refused)?;
                Ok(Self { path, temporary: Some(Arc::new(temporary)) })
            }
        }
    }
}

/// What the code works on is no other user's affair.
pub(super) fn private_directory() -> std::io::Result<TempDir> {
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("stockade-").permissions(private).tempdir()
}
