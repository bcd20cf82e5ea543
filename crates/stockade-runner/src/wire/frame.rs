//! Frames: how messages become bytes. A frame is a length of four bytes, little endian, and a message in
//! postcard's encoding. Owns every check of a length: what a peer claims is never believed before the bytes
//! are there. It reads and writes nothing itself.

use serde::{Serialize, de::DeserializeOwned};

/// The largest message, in bytes. The largest in use is a block's code.
pub const MAX_FRAME: usize = 64 << 20;

const HEADER: usize = size_of::<u32>();
/// Memory that a decoder keeps when a large message has been taken.
const KEPT: usize = 256 << 10;

/// The stream can't be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer announced a frame that no message needs, or one was to be sent.
    #[error("a frame of {length} bytes is over the limit of {MAX_FRAME}")]
    Oversized {
        /// As announced.
        length: usize,
    },
    /// The bytes are no message.
    #[error("a frame of {length} bytes holds no message of this version")]
    Malformed {
        /// Of the frame.
        length: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Torn,
}

/// The frame of `message`.
///
/// # Errors
///
/// [`FrameError::Oversized`] when it would exceed [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame =
        postcard::to_extend(message, vec![0; HEADER]).map_err(|_| FrameError::Malformed { length: 0 })?;
    let length = frame.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::Oversized { length });
    }
    frame[..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Takes bytes as they come and gives the messages in them. It holds no more memory than it was given bytes.
///
/// ```
/// use stockade_runner::wire::{frame::{Decoder, encode}, message::Request};
///
/// let mut decoder = Decoder::new();
/// decoder.push(&encode(&Request::Heartbeat)?);
/// assert_eq!(decoder.next()?, Some(Request::Heartbeat));
/// assert_eq!(decoder.next::<Request>()?, None);
/// decoder.finish()?;
/// # Ok::<(), stockade_runner::wire::frame::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the buffer's beginning that were decoded.
    taken: usize,
}

impl Decoder {
    /// An empty decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that came from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.shrink_to(KEPT);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`FrameError::Oversized`] and [`FrameError::Malformed`]; the stream is of no use after either.
    #[expect(clippy::should_implement_trait, reason = "it is generic in what it gives, and can fail")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::Oversized { length });
        }
        let Some(body) = body.get(..length) else { return Ok(None) };
        let malformed = FrameError::Malformed { length };
        let (message, trailing) = postcard::take_from_bytes(body).map_err(|_| malformed)?;
        if !trailing.is_empty() {
            return Err(malformed);
        }
        self.taken += HEADER + length;
        Ok(Some(message))
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::Torn`] when a part of a frame is left.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.taken == self.buffer.len() { Ok(()) } else { Err(FrameError::Torn) }
    }
}
