//! Virtual environments: making one where it is missing, and the variables that make it the code's. Owns the
//! choice of what makes it, and that nothing is made, emptied or removed through a link. Which session makes it, and
//! that it is one in the sandbox where blocks can change files, is the local executor's part.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde_bytes::ByteBuf;
use stockade_runner::removal::remove_all;

use crate::{
    CodeBlock, CommandLineCodeResult, Session,
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
"$python" -I -m venv --clear "$STOCKADE_VENV"
"#;

/// All of the making where blocks can change files: what is there may be a link by now, so nothing but a session in the
/// sandbox may touch it. `MAKE` stands for [`MAKE`].
const MAKE_INSIDE: &str = r#"
if [ -L "$STOCKADE_VENV" ]; then
    echo 'it is a symbolic link'
    exit 1
fi
if [ -e "$STOCKADE_VENV" ] && [ ! -e "$STOCKADE_VENV_MARK" ]; then
    if [ ! -d "$STOCKADE_VENV" ] || [ -n "$(ls -A "$STOCKADE_VENV")" ]; then
        echo 'it is there, and is neither a virtual environment nor an empty directory'
        exit 1
    fi
fi
mkdir -p "${STOCKADE_VENV%/*}" && : >"$STOCKADE_VENV_MARK" || exit 1
(
MAKE
) && [ -e "$STOCKADE_VENV/bin/python" ] && rm "$STOCKADE_VENV_MARK" && exit
rm -rf "$STOCKADE_VENV" "$STOCKADE_VENV_MARK"
exit 1
"#;
/// What [`MAKE_INSIDE`] says too.
const NO_ENVIRONMENT: &str = "it is there, and is neither a virtual environment nor an empty directory";

/// Where programs are looked for when nothing says so.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
    let folder = directory.parent().map(PathBuf::from).unwrap_or_default();
    let lock = lock(move || fs::create_dir_all(&folder).and_then(|()| File::open(&folder))).await;
    let lock = lock.map_err(refused)?;
    if !is_made(&directory) {
        make(session, &directory).await?;
    }
    drop(lock);
    variables(&directory, path).map_err(refused)
}

/// As [`prepare`], where blocks can change files: beneath `root`. This program changes nothing there; `session`, whose
/// code is in the sandbox, does.
pub(crate) async fn prepare_inside(
    session: &Session,
    directory: &Path,
    root: &Path,
    path: OsString,
) -> Result<Vec<Variable>> {
    let refused = |error: io::Error| Error::VirtualEnv { path: directory.to_owned(), why: error.to_string() };
    let directory = absolute(directory).map_err(refused)?;
    let folder = root.to_owned();
    let lock = lock(move || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(open(&folder, flags, Mode::empty())?))
    });
    let lock = lock.await.map_err(refused)?;
    if !is_made(&directory) {
        make_inside(session, &directory).await?;
    }
    drop(lock);
    variables(&directory, path).map_err(refused)
}

/// The refusal of an environment that can't be made where it lies.
pub(crate) fn not_made(directory: &Path, why: &str) -> Error {
    let make_it = format!(
        "make it first with `python3 -m venv {}`, or choose a folder outside of the work_dir",
        directory.display()
    );
    Error::VirtualEnv { path: directory.to_owned(), why: format!("{why}: {make_it}") }
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

/// Keeps other sessions, of any process, from making the same environment: they wait for this one, by a lock of the
/// folder that `open` gives. Blocks may see that folder and hold its lock, so nobody waits forever.
async fn lock(open: impl FnOnce() -> io::Result<File> + Send + 'static) -> io::Result<File> {
    let (done, locked) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("stockade-lock".to_owned()).spawn(move || {
        let lock = open().and_then(|folder| {
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        let _ = done.send(lock);
    })?;
    match tokio::time::timeout(TIME_TO_MAKE, locked).await {
        Ok(locked) => {
            locked.unwrap_or_else(|_| Err(io::Error::other("the thread that waits for the lock is gone")))
        }
        Err(_) => Err(io::Error::other("something else has held the lock of its folder for too long")),
    }
}

async fn make(session: &Session, directory: &Path) -> Result<()> {
    let refused = |why: String| Error::VirtualEnv { path: directory.to_owned(), why };
    let mark = unfinished_mark(directory);
    if directory.is_symlink() {
        return Err(refused("it is a symbolic link, and nothing is made through one".to_owned()));
    }
    let is_empty =
        !directory.exists() || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty && !is_plain_file(&mark) {
        return Err(refused(NO_ENVIRONMENT.to_owned()));
    }
    set_mark(&mark).map_err(|error| refused(format!("failed to mark it as unfinished: {error}")))?;
    let made = run(session, directory, &mark, MAKE).await?;
    if made.exit_code != 0 || !directory.join("bin/python").exists() {
        // It was missing, empty, or left unfinished by one of us.
        let _ = remove_all(directory);
        let _ = fs::remove_file(&mark);
        return Err(refused(made.output.trim_end().to_owned()));
    }
    fs::remove_file(&mark).map_err(|error| refused(error.to_string()))
}

async fn make_inside(session: &Session, directory: &Path) -> Result<()> {
    let mark = unfinished_mark(directory);
    let made = run(session, directory, &mark, &MAKE_INSIDE.replace("MAKE\n", MAKE)).await?;
    if made.exit_code == 0 && is_made(directory) {
        return Ok(());
    }
    Err(Error::VirtualEnv { path: directory.to_owned(), why: made.output.trim_end().to_owned() })
}

async fn run(
    session: &Session,
    directory: &Path,
    mark: &Path,
    script: &str,
) -> Result<CommandLineCodeResult> {
    let blocks = [CodeBlock::new("sh", script)];
    let call = session.call(&blocks[..]).env("STOCKADE_VENV", directory).env("STOCKADE_VENV_MARK", mark);
    call.timeout(TIME_TO_MAKE).discard_file().run().await
}

/// Makes the mark; one that is there is one of ours, or nothing to be touched.
fn set_mark(mark: &Path) -> io::Result<()> {
    // `create_new` follows no link.
    match OpenOptions::new().write(true).create_new(true).open(mark) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_plain_file(mark) => Ok(()),
        made => made.map(drop),
    }
}

fn is_plain_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_mark_is_a_file_of_its_own_and_never_what_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, mark) = (folder.path().join("victim"), folder.path().join("mark"));
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &mark).unwrap();
        assert!(set_mark(&mark).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        fs::remove_file(&mark).unwrap();
        symlink(folder.path().join("new"), &mark).unwrap();
        assert!(set_mark(&mark).is_err() && !folder.path().join("new").exists());
        // The twin: none is there, and then one of ours.
        fs::remove_file(&mark).unwrap();
        set_mark(&mark).unwrap();
        set_mark(&mark).unwrap();
        assert!(is_plain_file(&mark));
    }
}
