//! Virtual environments: making one where it is missing, and the variables that make it the code's. Owns the
//! choice of what makes it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_bytes::ByteBuf;

use crate::{
    CodeBlock, Session,
    call::bytes,
    error::{Error, Result},
};

/// How long making one may take; pip may come over the network.
const TIME_TO_MAKE: Duration = Duration::from_secs(10 * 60);

/// Makes the environment `$STOCKADE_VENV`. Without `--seed` uv leaves pip out, and a block's `pip` would be another
/// environment's; where uv can't get pip, Python brings its own.
const MAKE: &str = r#"
python=$(command -v python3 || command -v python)
if command -v uv >/dev/null; then
    uv venv --quiet --seed ${python:+--python "$python"} "$STOCKADE_VENV" && exit
    rm -rf "$STOCKADE_VENV"
fi
if [ -z "$python" ]; then
    echo 'found neither uv nor python3'
    exit 127
fi
"$python" -m venv "$STOCKADE_VENV"
"#;

/// The variables by which blocks use the environment in `directory`, which is made when it is missing. `path` is
/// the search path without it.
pub(crate) async fn prepare(
    session: &Session,
    directory: &Path,
    path: OsString,
) -> Result<Vec<(ByteBuf, ByteBuf)>> {
    let refused = |error: io::Error| Error::VirtualEnv { path: directory.to_owned(), why: error.to_string() };
    let directory = absolute(directory).map_err(refused)?;
    if !is_made(&directory) {
        let _lock = lock_parent(&directory).await.map_err(refused)?;
        if !is_made(&directory) {
            make(session, &directory).await?;
        }
    }
    let folders = [directory.join("bin")].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(|error| refused(io::Error::other(error)))?;
    let variable = |name: &str, value: &OsStr| (ByteBuf::from(name), bytes(value.to_owned()));
    Ok(vec![variable("VIRTUAL_ENV", directory.as_os_str()), variable("PATH", &path)])
}

fn is_made(directory: &Path) -> bool {
    directory.join("bin/python").exists()
}

/// Keeps other sessions, of any process, from making the same environment: they wait for this one.
async fn lock_parent(directory: &Path) -> io::Result<File> {
    let parent = directory.parent().map(PathBuf::from).unwrap_or_default();
    let (done, locked) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("stockade-lock".to_owned()).spawn(move || {
        let lock = fs::create_dir_all(&parent).and_then(|()| File::open(&parent)).and_then(|parent| {
            flock(&parent, FlockOperation::LockExclusive)?;
            Ok(parent)
        });
        let _ = done.send(lock);
    })?;
    locked.await.unwrap_or_else(|_| Err(io::Error::other("the thread that waits for the lock is gone")))
}

async fn make(session: &Session, directory: &Path) -> Result<()> {
    let was_there = directory.exists();
    let blocks = [CodeBlock::new("sh", MAKE)];
    let made = session.call(&blocks[..]).env("STOCKADE_VENV", directory).timeout(TIME_TO_MAKE).run().await?;
    if made.exit_code == 0 && is_made(directory) {
        return Ok(());
    }
    if !was_there {
        let _ = fs::remove_dir_all(directory);
    }
    Err(Error::VirtualEnv { path: directory.to_owned(), why: made.output.trim_end().to_owned() })
}
