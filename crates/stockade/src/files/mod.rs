//! Files between this host and a workspace that may be elsewhere: paths as the host knows them, single files put and
//! got, and the copies of a workspace that is not shared. Owns what a session may send and take; what comes back is a
//! stranger's word and is written by `beneath`, which follows no link.

mod beneath;
mod copies;

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{Entry, Failure};

use self::copies::Copies;
use crate::{
    BlockOutcome, BoxFuture, SessionInfo,
    client::Client,
    error::{Error, Result},
};

/// Bytes of a file that go into one message.
const PART: usize = 1 << 20;

/// The files of a session.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where the workspace is for the code, and for this host.
    workspace: PathBuf,
    work_dir: PathBuf,
    /// The host's side of a workspace that is not shared.
    copies: Option<Arc<Copies>>,
}

/// A block's outcome once its files are here, and why some are not if this host is to blame.
pub(crate) type Settling = BoxFuture<'static, Result<(BlockOutcome, Result<()>)>>;

impl Files {
    /// Of a workspace that this host and the code share.
    pub(crate) fn shared(info: &SessionInfo) -> Self {
        Self { workspace: info.workspace.clone(), work_dir: info.work_dir.clone(), copies: None }
    }

    /// Copies the work_dir into the workspace.
    pub(crate) async fn copied(info: &SessionInfo, client: &Arc<Client>) -> Result<Self> {
        let copies = Copies::send(client, &info.work_dir).await?;
        Ok(Self { copies: Some(Arc::new(copies)), ..Self::shared(info) })
    }

    pub(crate) fn are_copied(&self) -> bool {
        self.copies.is_some()
    }

    /// The path of a file as this host knows it.
    pub(crate) fn on_host(&self, path: PathBuf) -> PathBuf {
        match path.strip_prefix(&self.workspace) {
            Ok(beneath) if self.workspace != self.work_dir => self.work_dir.join(beneath),
            _ => path,
        }
    }

    /// Fetches what has changed until the block ended; gives the outcome back where there is nothing to fetch.
    pub(crate) fn bring_back(
        &self,
        client: &Arc<Client>,
        outcome: BlockOutcome,
    ) -> Result<Settling, Box<BlockOutcome>> {
        match &self.copies {
            Some(copies) => Ok(copies::bring_back(Arc::clone(copies), Arc::clone(client), outcome)),
            None => Err(Box::new(outcome)),
        }
    }
}

/// Saves a file in the workspace.
pub(crate) async fn put(client: &Client, path: &Path, contents: &[u8]) -> Result<()> {
    let path = path.as_os_str().as_bytes();
    let mut offset = 0;
    loop {
        let part = &contents[offset..contents.len().min(offset + PART)];
        let entry =
            Entry::File { offset: offset as u64, executable: false, contents: ByteBuf::from(part.to_vec()) };
        client.write(path, entry).await?;
        offset += part.len();
        if offset >= contents.len() {
            return Ok(());
        }
    }
}

/// The contents of a file in the workspace, which may have `limit` bytes.
pub(crate) async fn get(client: &Client, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut contents = Vec::new();
    loop {
        let read = client.read(path.as_os_str().as_bytes(), contents.len() as u64, PART as u64).await?;
        if read.contents.is_empty() {
            return Ok(contents);
        }
        contents.extend_from_slice(&read.contents);
        if contents.len().max(read.size as usize) as u64 > limit {
            let doing = format!("get {} from the workspace", path.display());
            let why = format!("it has {} bytes, and {limit} are the most", read.size);
            return Err(Error::runner(Failure { doing, why, errno: None }));
        }
    }
}
