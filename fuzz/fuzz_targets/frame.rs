//! The wire's decoder against a hostile peer: whatever arrives, in whatever pieces, is a message or an error,
//! and the same one however the bytes were cut. A message that was understood says the same when it is sent
//! again.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use stockade_runner::wire::{
    frame::{Decoder, FrameError, encode},
    message::{Reply, Request},
};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    check::<Request>(usize::from(piece) + 1, stream);
    check::<Reply>(usize::from(piece) + 1, stream);
});

fn check<T: DeserializeOwned + Serialize + PartialEq + Debug>(piece: usize, stream: &[u8]) {
    let whole = decode::<T>(stream.len().max(1), stream);
    assert_eq!(decode::<T>(piece, stream), whole);
    for message in whole.0 {
        let again = encode(&message).expect("what came in a frame fits in one");
        assert_eq!(decode::<T>(again.len(), &again), (vec![message], Ok(())));
    }
}

/// Every message of the stream, given to the decoder in pieces of this size, and how the stream ended.
fn decode<T: DeserializeOwned>(piece: usize, stream: &[u8]) -> (Vec<T>, Result<(), FrameError>) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, decoder.finish())
}
