//! Virtual environments: making one where it is missing, and the variables that make it the code's. Owns the
//! choice of what makes it, and that nothing is made, emptied or removed through a link. A session does all of that, for
//! where blocks can change files nothing outside of the sandbox may touch what is there; which session it is, is the local
//! executor's part.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde_bytes::ByteBuf;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    CodeBlock, Session,
    call::bytes,
    error::{Error, Result},
    io_thread,
};

/// How long making one may take; pip may come over the network.
const TIME_TO_MAKE: Duration = Duration::from_secs(10 * 60);

/// Makes the environment `$STOCKADE_VENV`, unless something else is there. `$STOCKADE_VENV_MARK` is there meanwhile.
/// Without `--seed` uv leaves pip out, and a block's `pip` would be another environment's; where uv can't get pip, Python
/// brings its own. PATH may have no more than an interpreter, and that is looked for nowhere else.
const MAKE: &str = r#"
usual() { PATH="$PATH:/usr/bin:/bin" "$@"; }
refuse() { echo "$1"; exit 2; }
make() {
    python=$(command -v python3 || command -v python)
    if command -v uv >/dev/null; then
        uv venv --quiet --seed ${python:+--python "$python"} "$STOCKADE_VENV" && return
    fi
    if [ -z "$python" ]; then
        echo 'found neither uv nor python3'
        return 1
    fi
    "$python" -I -m venv --clear "$STOCKADE_VENV"
}
folder=${STOCKADE_VENV%/*}/
[ ! -L "$STOCKADE_VENV" ] || refuse 'it is a symbolic link, and nothing is made through one'
if [ -L "$STOCKADE_VENV_MARK" ] || [ ! -f "$STOCKADE_VENV_MARK" ]; then
    if [ -e "$STOCKADE_VENV" ] && { [ ! -d "$STOCKADE_VENV" ] || [ -n "$(usual ls -A "$STOCKADE_VENV")" ]; }; then
        refuse 'it is there, and is neither a virtual environment nor an empty directory'
    fi
    # A file of its own, and never what a link leads to.
    usual mkdir -p "$folder" && set -C && : >"$STOCKADE_VENV_MARK" || exit 1
    set +C
fi
# What uv is told by files of the folder that it runs in is to be told by the user's.
cd "$folder" && make && [ -e "$STOCKADE_VENV/bin/python" ] && usual rm "$STOCKADE_VENV_MARK" && exit
# It was missing, empty, or left unfinished by one of us.
usual rm -rf "$STOCKADE_VENV" "$STOCKADE_VENV_MARK"
exit 1
"#;
/// What to do when that fails.
const INSTALL: &str = "install uv or Python's venv module (on Debian: `apt-get install python3-venv`), or name an existing \
                       virtual environment";
/// What to do about what is there and can't be used.
const ANOTHER: &str = "name another folder, or remove what is there";

/// Where programs are looked for when nothing says so.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable for the code: name and value.
pub(crate) type Variable = (ByteBuf, ByteBuf);

/// The variables by which blocks use the environment in `directory`, an absolute path, if it is there; as [`prepare`] gives
/// them.
pub(crate) fn find(directory: &Path, path: OsString) -> Result<Option<Vec<Variable>>> {
    is_made(directory).then(|| variables(directory, path)).transpose()
}

/// The variables by which blocks use the environment in `directory`, which `session` makes when it is missing. Where
/// blocks can change it, it lies beneath `root`, and this program changes nothing there. `path` is the search path without
/// it.
pub(crate) async fn prepare(
    session: &Session,
    directory: &Path,
    root: Option<&Path>,
    path: OsString,
) -> Result<Vec<Variable>> {
    // Locked before it is looked at: what another session is making looks made long before it is.
    let lock = lock(root, directory.parent()).await.map_err(|error| failed(directory, &error))?;
    if !is_made(directory) {
        make(session, directory).await?;
    }
    drop(lock);
    variables(directory, path)
}

/// The refusal of an environment.
pub(crate) fn refused(directory: &Path, why: String, hint: String) -> Error {
    Error::VirtualEnv { path: directory.to_owned(), why, hint }
}

pub(crate) fn failed(directory: &Path, error: &io::Error) -> Error {
    refused(directory, error.to_string(), "choose a folder that this user may write to".to_owned())
}

fn variables(directory: &Path, path: OsString) -> Result<Vec<Variable>> {
    let path = if path.is_empty() { DEFAULT_PATH.into() } else { path };
    let folders = [directory.join("bin")].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(|error| {
        refused(directory, error.to_string(), "choose a folder without a colon in its name".to_owned())
    })?;
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

/// Keeps other sessions, of any process, from making the same environment: they wait for this one, by a lock of the
/// folder that it lies in or, where blocks can change that, of `root`. Blocks may see that folder and hold its lock, so
/// nobody waits forever.
async fn lock(root: Option<&Path>, folder: Option<&Path>) -> io::Result<File> {
    let (is_ours, folder) = (root.is_none(), root.or(folder).map(PathBuf::from).unwrap_or_default());
    let (done, locked) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("stockade-lock".to_owned()).spawn(move || {
        let lock = || {
            if is_ours {
                fs::create_dir_all(&folder)?;
            }
            let folder = open(&folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder.into())
        };
        let _ = done.send(lock());
    })?;
    // On our runtime: the caller's may have no timers, or be no tokio runtime at all.
    let io = io_thread::handle()?;
    let waiting = AbortOnDropHandle::new(io.spawn(async { timeout(TIME_TO_MAKE, locked).await }));
    match waiting.await? {
        Ok(locked) => {
            locked.unwrap_or_else(|_| Err(io::Error::other("the thread that waits for the lock is gone")))
        }
        Err(_) => Err(io::Error::other("something else has held the lock of its folder for too long")),
    }
}

async fn make(session: &Session, directory: &Path) -> Result<()> {
    let blocks = [CodeBlock::new("sh", MAKE)];
    let call = session.call(&blocks[..]).env("STOCKADE_VENV", directory);
    let call = call.env("STOCKADE_VENV_MARK", unfinished_mark(directory));
    let made = call.timeout(TIME_TO_MAKE).discard_file().run().await?;
    if made.exit_code == 0 && is_made(directory) {
        return Ok(());
    }
    // What is there is no fault of what would make it.
    let hint = if made.exit_code == 2 { ANOTHER } else { INSTALL };
    Err(refused(directory, made.output.trim_end().to_owned(), hint.to_owned()))
}
