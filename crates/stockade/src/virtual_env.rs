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
use stockade_runner::removal::remove_all;

use crate::{
    CodeBlock, Session,
    call::bytes,
    error::{Error, Result},
};

/// How long making one may take; pip may come over the network.
const TIME_TO_MAKE: Duration = Duration::from_secs(10 * 60);

/// Makes the environment `$STOCKADE_VENV`, which is not there or empty. Without `--seed` uv leaves pip out, and a
/// block's `pip` would be another environment's; where uv can't get pip, Python brings its own.
const MAKE: &str = r#"
python=$(command -v python3 || command -v python)
if command -v uv >/dev/null; then
    uv venv --quiet --seed ${python:+--python "$python"} "$STOCKADE_VENV" && exit
fi
if [ -z "$python" ]; then
    echo 'found neither uv nor python3'
    exit 127
fi
"$python" -m venv --clear "$STOCKADE_VENV"
"#;

/// Where programs are looked for when nothing says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable for the code: name and value.
pub(crate) type Variable = (ByteBuf, ByteBuf);

/// The variables by which blocks use the environment in `directory`, if it is there; as [`prepare`] gives them.
pub(crate) fn find(directory: &Path, path: OsString) -> Result<Option<Vec<Variable>>> {
    let refused = |error: io::Error| Error::VirtualEnv { path: directory.to_owned(), why: error.to_string() };
    let directory = absolute(directory).map_err(refused)?;
    is_made(&directory).then(|| variables(&directory, path).map_err(refused)).transpose()
}

/// The variables by which blocks use the environment in `directory`, which is made when it is missing. `path` is
/// the search path without it.
pub(crate) async fn prepare(session: &Session, directory: &Path, path: OsString) -> Result<Vec<Variable>> {
    let refused = |error: io::Error| Error::VirtualEnv { path: directory.to_owned(), why: error.to_string() };
    let directory = absolute(directory).map_err(refused)?;
    // Locked before it is looked at: what another session is making looks made long before it is.
    let lock = lock_parent(&directory).await.map_err(refused)?;
    if !is_made(&directory) {
        make(session, &directory).await?;
    }
    drop(lock);
    variables(&directory, path).map_err(refused)
}

fn variables(directory: &Path, path: OsString) -> io::Result<Vec<Variable>> {
    let path = if path.is_empty() { DEFAULT_PATH.into() } else { path };
    let folders = [directory.join("bin")].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(io::Error::other)?;
    let variable = |name: &str, value: &OsStr| (ByteBuf::from(name), bytes(value.to_owned()));
    Ok(vec![variable("VIRTUAL_ENV", directory.as_os_str()), variable("PATH", &path)])
}

fn is_made(directory: &Path) -> bool {
    directory.join("bin/python").exists() && !unfinished_mark(directory).exists()
}

/// A file beside the environment that is there while it is made, and stays when whoever makes it dies.
fn unfinished_mark(directory: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(directory.file_name().unwrap_or_default());
    name.push(".stockade-unfinished");
    directory.with_file_name(name)
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
    let refused = |why: String| Error::VirtualEnv { path: directory.to_owned(), why };
    let mark = unfinished_mark(directory);
    let is_empty =
        !directory.exists() || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty && !mark.exists() {
        return Err(refused(
            "it is there, and is neither a virtual environment nor an empty directory".to_owned(),
        ));
    }
    File::create(&mark).map_err(|error| refused(error.to_string()))?;
    let blocks = [CodeBlock::new("sh", MAKE)];
    let made = session
        .call(&blocks[..])
        .env("STOCKADE_VENV", directory)
        .timeout(TIME_TO_MAKE)
        .discard_file()
        .run()
        .await?;
    if made.exit_code != 0 || !directory.join("bin/python").exists() {
        // It was missing, empty, or left unfinished by one of us.
        let _ = remove_all(directory);
        let _ = fs::remove_file(&mark);
        return Err(refused(made.output.trim_end().to_owned()));
    }
    fs::remove_file(&mark).map_err(|error| refused(error.to_string()))
}
