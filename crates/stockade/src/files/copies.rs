//! Copy mode: a work_dir that is sent into the workspace at the start, and what blocks create or change there, brought
//! back after each. Owns the limits of both ways. What the host changes later is not seen by the code, and what the
//! code deletes is told and stays on the host.

use std::{
    collections::VecDeque,
    ffi::{CStr, OsString},
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{FileExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, Dir, FileType, readlinkat, statat};
use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{ChangedFile, Entry};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    PART, Settling,
    beneath::{self, NewFile},
};
use crate::{
    BlockOutcome,
    client::{Client, Writing},
    error::{Error, Result},
    outcome::{FileChange, to_path},
};

/// The most that is copied, either way and at one time (files, and bytes of them all).
pub(crate) const MAX_FILES: usize = 10_000;
pub(crate) const MAX_BYTES: u64 = 256 << 20;
/// Bytes and entries on their way that the runner has not answered for.
const ON_THE_WAY: usize = 8 << 20;
const UNANSWERED: usize = 64;
/// Files that a notice names.
const NAMED: usize = 5;
/// The notice of a block that ended with its session.
const STOPPED: &str =
    "the session was stopped before the files that the block changed were copied back to the work_dir";

/// The host's side of a workspace that was copied.
#[derive(Debug)]
pub(super) struct Copies {
    work_dir: PathBuf,
    /// Held while changes are brought back: the runner tells of each once.
    turn: Mutex<()>,
}

impl Copies {
    /// Sends the work_dir.
    pub(super) async fn send(client: &Arc<Client>, work_dir: &Path) -> Result<Self> {
        let (directory, sender) = (work_dir.to_owned(), Arc::clone(client));
        client.spawn(async move { send_all(&sender, &directory).await }).await??;
        // What is there now was sent, or is the place's own.
        client.changes().await?;
        Ok(Self { work_dir: work_dir.to_owned(), turn: Mutex::new(()) })
    }
}

/// Fetches what has changed until the block ended. It goes on to its end even if nobody waits for it, for the runner
/// tells of each change once.
pub(super) fn bring_back(copies: Arc<Copies>, client: Arc<Client>, mut outcome: BlockOutcome) -> Settling {
    let task = client.clone().spawn(async move {
        let _turn = copies.turn.lock().await;
        let fetched = match copies.fetch(&client, &mut outcome).await {
            // Who ends the session gets the outcomes of what still ran, and is told what they lack.
            Err(Error::SessionEnded { fault, .. }) if fault.is_asked_for() => {
                outcome.lacks_files(STOPPED.to_owned());
                Ok(())
            }
            fetched => fetched,
        };
        (outcome, fetched)
    });
    Box::pin(async move {
        let (outcome, fetched) = task.await?;
        Ok((outcome, fetched))
    })
}

impl Copies {
    async fn fetch(&self, client: &Client, outcome: &mut BlockOutcome) -> Result<()> {
        let changes = client.changes().await?;
        let mut left = MAX_BYTES;
        let mut refused = Vec::new();
        for (number, file) in changes.changed.into_iter().enumerate() {
            let name = String::from_utf8_lossy(&file.path).into_owned();
            let fetched = match number {
                0..MAX_FILES => self.fetch_file(client, file, &mut left).await?,
                _ => Err(format!("the limit of {MAX_FILES} files a block is reached")),
            };
            if let Err(why) = fetched {
                refused.push(format!("{name}: {why}"));
            }
        }
        let deleted = changes.deleted.into_iter().take(MAX_FILES);
        outcome.files.extend(deleted.map(|path| FileChange::deleted(to_path(path))));
        outcome.files_truncated |= changes.truncated;
        if let Some(notice) = notice(&refused) {
            outcome.lacks_files(notice);
        }
        Ok(())
    }

    /// Fetches one file. The inner error is the file's own fault, or that of what is in its place.
    async fn fetch_file(
        &self,
        client: &Client,
        file: ChangedFile,
        left: &mut u64,
    ) -> Result<Result<(), String>> {
        let too_large = || Ok(Err(format!("the limit of {} MiB a block is reached", MAX_BYTES >> 20)));
        if file.size > *left {
            return too_large();
        }
        let work_dir = self.work_dir.clone();
        let begin = {
            let path = file.path.to_vec();
            blocking(move || NewFile::begin(&work_dir, &beneath::checked(&path)?)).await
        };
        let mut new = match begin {
            Ok(new) => new,
            Err(error) => return self.judge(&file, error),
        };
        let mut offset = 0;
        let executable = loop {
            let part = match client.read(&file.path, offset, PART as u64).await {
                Ok(part) => part,
                Err(Error::Runner { failure, .. }) => return Ok(Err(failure.why)),
                Err(error) => return Err(error),
            };
            let length = part.contents.len() as u64;
            if length == 0 {
                break part.executable;
            }
            match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None => return too_large(),
            }
            let written = blocking(move || new.write(offset, &part.contents).map(|()| new)).await;
            new = match written {
                Ok(new) => new,
                Err(error) => return self.judge(&file, error),
            };
            offset += length;
        };
        match blocking(move || new.keep(executable)).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => self.judge(&file, error),
        }
    }

    /// Whether the file is to blame or this host.
    fn judge(&self, file: &ChangedFile, error: io::Error) -> Result<Result<(), String>> {
        match error.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::DirectoryNotEmpty => Ok(Err(error.to_string())),
            _ => Err(Error::Copy {
                doing: format!("copy {} back", String::from_utf8_lossy(&file.path)),
                path: self.work_dir.clone(),
                source: error,
                finished: Vec::new(),
            }),
        }
    }
}

/// What to say of files that were not brought.
fn notice(refused: &[String]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    let mut notice = format!("{} changed files were not copied back to the work_dir", refused.len());
    for name in refused.iter().take(NAMED) {
        notice += &format!("\n  {name}");
    }
    if let Some(more) = refused.len().checked_sub(NAMED).filter(|more| *more > 0) {
        notice += &format!("\n  and {more} more");
    }
    Some(notice)
}

// The way there.

/// What is to be sent, parents first.
struct Found {
    /// Relative to the work_dir.
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Directory,
    /// Of so many bytes. What others add meanwhile is left out.
    File(u64),
    Symlink(PathBuf),
}

/// Everything in the directory that can be copied: sockets, pipes and devices are left out. Other sessions may have the
/// directory too, and their code puts links in place of what is here at any moment.
fn list(work_dir: &Path) -> Result<Vec<Found>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut directories = VecDeque::from([PathBuf::new()]);
    while let Some(directory) = directories.pop_front() {
        let unreadable = |error| (work_dir.join(&directory), error);
        let opened = beneath::open_directory(work_dir, &directory).map_err(unreadable)?;
        for (name, kind) in entries(&opened).map_err(unreadable)? {
            let path = directory.join(name);
            match kind {
                Kind::Directory => directories.push_back(path.clone()),
                Kind::File(size) => bytes += size,
                Kind::Symlink(_) => {}
            }
            found.push(Found { path, kind });
            if found.len() > MAX_FILES || bytes > MAX_BYTES {
                let why = format!("it has more than {MAX_FILES} files or {} MiB", MAX_BYTES >> 20);
                return Err((work_dir.to_owned(), io::Error::new(io::ErrorKind::FileTooLarge, why)));
            }
        }
    }
    Ok(found)
}

fn entries(directory: &OwnedFd) -> io::Result<impl Iterator<Item = (OsString, Kind)>> {
    let kind = |name: &CStr| -> io::Result<Option<Kind>> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Some(Kind::Directory),
            FileType::RegularFile => Some(Kind::File(stat.st_size as u64)),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())?;
                Some(Kind::Symlink(OsString::from_vec(target.into_bytes()).into()))
            }
            _ => None,
        })
    };
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if ![&b"."[..], b".."].contains(&name.to_bytes())
            && let Some(kind) = kind(name)?
        {
            entries.push((OsString::from_vec(name.to_bytes().to_vec()), kind));
            if entries.len() > MAX_FILES {
                break;
            }
        }
    }
    Ok(entries.into_iter())
}

fn not_sent(path: PathBuf, source: io::Error) -> Error {
    let doing = "copy the work_dir into the workspace".to_owned();
    Error::Copy { doing, path, source, finished: Vec::new() }
}

async fn send_all(client: &Client, work_dir: &Path) -> Result<()> {
    let directory = work_dir.to_owned();
    let found =
        blocking(move || Ok(list(&directory))).await.map_err(|error| not_sent(work_dir.to_owned(), error))?;
    let mut answers = Answers { client, waiting: VecDeque::new(), bytes: 0 };
    for Found { path, kind } in found.map_err(|(path, error)| not_sent(path, error))? {
        let name = path.as_os_str().as_bytes();
        match kind {
            Kind::Directory => answers.add(name, Entry::Directory, 0).await?,
            Kind::Symlink(target) => {
                let target = ByteBuf::from(target.into_os_string().into_vec());
                answers.add(name, Entry::Symlink { target }, 0).await?;
            }
            Kind::File(size) => {
                let sent = send_file(&mut answers, work_dir, &path, size).await;
                sent.map_err(|error| error.unwrap_or_else(|source| not_sent(work_dir.join(&path), source)))?;
            }
        }
    }
    answers.finish().await
}

/// The error of this host, or the session's.
type SendError = Result<Error, io::Error>;

async fn send_file(
    answers: &mut Answers<'_>,
    work_dir: &Path,
    path: &Path,
    size: u64,
) -> Result<(), SendError> {
    let name = path.as_os_str().as_bytes();
    let (work_dir, path) = (work_dir.to_owned(), path.to_owned());
    let (file, executable) = blocking(move || open(&work_dir, &path)).await.map_err(Err)?;
    let file = Arc::new(file);
    let mut offset = 0;
    loop {
        let source = Arc::clone(&file);
        let most = (PART as u64).min(size - offset) as usize;
        let contents = blocking(move || read_part(&source, offset, most)).await.map_err(Err)?;
        let length = contents.len();
        // An empty file has one part too.
        if length > 0 || offset == 0 {
            let entry = Entry::File { offset, executable, contents: ByteBuf::from(contents) };
            answers.add(name, entry, length).await.map_err(Ok)?;
        }
        if length < PART {
            return Ok(());
        }
        offset += length as u64;
    }
}

fn open(work_dir: &Path, path: &Path) -> io::Result<(File, bool)> {
    let file = beneath::open_file(work_dir, path)?;
    let executable = file.metadata()?.permissions().mode() & 0o100 != 0;
    Ok((file, executable))
}

fn read_part(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut part = vec![0; most];
    let mut filled = 0;
    while filled < most {
        match file.read_at(&mut part[filled..], offset + filled as u64)? {
            0 => break,
            length => filled += length,
        }
    }
    part.truncate(filled);
    Ok(part)
}

/// What is on its way: many entries at a time, for each takes a way there and back.
struct Answers<'a> {
    client: &'a Client,
    waiting: VecDeque<(usize, Writing)>,
    bytes: usize,
}

impl Answers<'_> {
    async fn add(&mut self, name: &[u8], entry: Entry, length: usize) -> Result<()> {
        self.waiting.push_back((length, self.client.begin_write(name, entry)?));
        self.bytes += length;
        while self.waiting.len() > UNANSWERED || self.bytes > ON_THE_WAY {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<()> {
        let Some((length, writing)) = self.waiting.pop_front() else { return Ok(()) };
        self.bytes -= length;
        self.client.written(writing).await
    }

    async fn finish(mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.next().await?;
        }
        Ok(())
    }
}

/// Does what may wait for a disk without keeping the streams waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
