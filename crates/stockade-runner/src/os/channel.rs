//! A channel between two of our processes: whole messages that can carry descriptors, over a socket pair of
//! the sequenced packet type. Its end is visible when the other process dies. Messages are small and trusted.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
    },
    process::Pid,
};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a message.
pub(crate) const MAX_MESSAGE: usize = 8 << 10;
const MAX_DESCRIPTORS: usize = 5;

/// Two connected ends for whole messages, so that nobody has to say where one ends; neither is inherited by a program.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message; fails rather than waits when the other side does not read.
pub(crate) fn send(to: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(to, &[IoSlice::new(message)], &mut ancillary, flags)?;
    Ok(())
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What has come.
struct Received<T> {
    message: T,
    descriptors: Vec<OwnedFd>,
    /// As the kernel tells, where it was asked to.
    sender: Option<Pid>,
}

impl Channel {
    /// Two connected ends.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (ours, theirs) = pair()?;
        Ok((Channel(ours), Channel(theirs)))
    }

    /// Has the kernel tell who sends what comes from now on.
    pub(crate) fn ask_for_senders(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_passcred(&self.0, true)?)
    }

    /// Sends one message, as [`send`] does.
    pub(crate) fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // The first byte says nothing: without it a message without content would look like the end.
        let mut bytes = [0; MAX_MESSAGE];
        let length = 1 + postcard::to_slice(message, &mut bytes[1..]).map_err(io::Error::other)?.len();
        send(&self.0, &bytes[..length], descriptors)
    }

    /// The next message; `None` at the end. Waits unless `flags` says otherwise.
    fn receive_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> io::Result<Option<Received<T>>> {
        let mut bytes = [0; MAX_MESSAGE];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS), ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
        let (mut descriptors, mut sender) = (Vec::new(), None);
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(sent) => descriptors.extend(sent),
                RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
                _ => {}
            }
        }
        let Some((_, message)) = bytes[..received.bytes].split_first() else { return Ok(None) };
        let message = postcard::from_bytes(message).map_err(io::Error::other)?;
        Ok(Some(Received { message, descriptors, sender }))
    }

    /// The next message and its descriptors, waiting for it; `None` at the end.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let received = self.receive_with(RecvFlags::empty())?;
        Ok(received.map(|received| (received.message, received.descriptors)))
    }

    /// The next message and its sender, or [`io::ErrorKind::WouldBlock`]; `None` at the end.
    pub(crate) fn try_receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<Pid>)>> {
        let received = self.receive_with(RecvFlags::DONTWAIT)?;
        Ok(received.map(|received| (received.message, received.sender)))
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

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
