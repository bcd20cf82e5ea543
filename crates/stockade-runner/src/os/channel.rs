//! A channel between two of our processes: whole messages that can carry descriptors, over a socket pair of
//! the sequenced packet type. Its end is visible when the other process dies. Messages are small and trusted.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a message.
pub(crate) const MAX_MESSAGE: usize = 8 << 10;
const MAX_DESCRIPTORS: usize = 5;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends; neither is inherited by a program.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(ours), Channel(theirs)))
    }

    /// Sends one message; fails rather than waits when the other side does not read.
    pub(crate) fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // The first byte says nothing: without it a message without content would look like the end.
        let mut bytes = [0; MAX_MESSAGE];
        let length = 1 + postcard::to_slice(message, &mut bytes[1..]).map_err(io::Error::other)?.len();
        let bytes = &bytes[..length];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    /// The next message and its descriptors; `None` at the end. Waits unless `flags` says otherwise.
    fn receive_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = [0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors = descriptors.flatten().collect();
        let Some((_, message)) = bytes[..received.bytes].split_first() else { return Ok(None) };
        Ok(Some((postcard::from_bytes(message).map_err(io::Error::other)?, descriptors)))
    }

    /// The next message and its descriptors, waiting for it; `None` at the end.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.receive_with(RecvFlags::empty())
    }

    /// The next message, or [`io::ErrorKind::WouldBlock`]; `None` at the end.
    pub(crate) fn try_receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        Ok(self.receive_with(RecvFlags::DONTWAIT)?.map(|(message, _)| message))
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

impl From<OwnedFd> for Channel {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
