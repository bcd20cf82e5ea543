//! What is kept of a block's output. Owns the bound: of each stream the first and the last bytes, half of the
//! limit each, and the count of what lay between. Also keeps the order in which the streams were read. Memory
//! stays bounded at any volume; it reads nothing itself.

use std::collections::VecDeque;

use serde_bytes::ByteBuf;

use crate::wire::message::{Piece, Stream};

/// The output of one block.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    stdout: Kept,
    stderr: Kept,
    /// Numbers the turns in which the streams were read; reads of one stream in a row are one turn.
    turn: u64,
    last: Option<Stream>,
}

impl Capture {
    /// Keeps up to `limit` bytes of each stream.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { stdout: Kept::new(limit), stderr: Kept::new(limit), turn: 0, last: None }
    }

    /// Takes in what was read of a stream.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        if self.last.replace(stream) != Some(stream) {
            self.turn += 1;
        }
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        kept.push(self.turn, bytes);
    }

    /// What was kept, in the order in which it was read.
    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        let mut pieces = self.stdout.into_pieces(Stream::Stdout);
        pieces.extend(self.stderr.into_pieces(Stream::Stderr));
        pieces.sort_by_key(|(turn, _)| *turn);
        pieces.into_iter().map(|(_, piece)| piece).collect()
    }
}

/// What is kept of one stream.
#[derive(Debug, Default)]
struct Kept {
    head_limit: usize,
    tail_limit: usize,
    head: Vec<u8>,
    head_turns: Vec<Turn>,
    tail: VecDeque<u8>,
    tail_turns: VecDeque<Turn>,
    dropped: u64,
}

/// Bytes of one stream that were read in one turn.
#[derive(Debug)]
struct Turn {
    number: u64,
    length: usize,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self {
            head_limit: limit.div_ceil(2),
            tail_limit: limit / 2,
            head: Vec::new(),
            head_turns: Vec::new(),
            tail: VecDeque::new(),
            tail_turns: VecDeque::new(),
            dropped: 0,
        }
    }

    fn push(&mut self, turn: u64, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_limit - self.head.len()));
        if !head.is_empty() {
            self.head.extend_from_slice(head);
            self.head_turns.push(Turn { number: turn, length: head.len() });
        }
        if !rest.is_empty() {
            self.push_to_tail(turn, rest);
        }
    }

    fn push_to_tail(&mut self, turn: u64, bytes: &[u8]) {
        let (skipped, bytes) = bytes.split_at(bytes.len().saturating_sub(self.tail_limit));
        self.make_room(bytes.len());
        self.dropped += skipped.len() as u64;
        self.tail.extend(bytes);
        match self.tail_turns.back_mut() {
            Some(last) if last.number == turn => last.length += bytes.len(),
            _ if bytes.is_empty() => {}
            _ => self.tail_turns.push_back(Turn { number: turn, length: bytes.len() }),
        }
    }

    /// Drops the oldest of the tail until `length` more bytes fit.
    fn make_room(&mut self, length: usize) {
        let mut excess = (self.tail.len() + length).saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
        while let Some(oldest) = self.tail_turns.front_mut().filter(|_| excess > 0) {
            let cut = oldest.length.min(excess);
            oldest.length -= cut;
            excess -= cut;
            if oldest.length == 0 {
                self.tail_turns.pop_front();
            }
        }
    }

    fn into_pieces(mut self, stream: Stream) -> Vec<(u64, Piece)> {
        let after_head = self.head_turns.last().map_or(0, |turn| turn.number);
        let mut pieces = cut(&self.head, &self.head_turns, stream);
        if self.dropped > 0 {
            pieces.push((after_head, Piece::Dropped(stream, self.dropped)));
        }
        pieces.extend(cut(self.tail.make_contiguous(), self.tail_turns.make_contiguous(), stream));
        pieces
    }
}

/// The bytes of each turn.
fn cut(mut bytes: &[u8], turns: &[Turn], stream: Stream) -> Vec<(u64, Piece)> {
    let pieces = turns.iter().map(|turn| {
        let (piece, rest) = bytes.split_at(turn.length);
        bytes = rest;
        (turn.number, Piece::Data(stream, ByteBuf::from(piece)))
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(pieces: &[Piece], wanted: Stream) -> Vec<u8> {
        pieces.iter().fold(Vec::new(), |mut text, piece| {
            match piece {
                Piece::Data(stream, bytes) if *stream == wanted => text.extend_from_slice(bytes),
                _ => {}
            }
            text
        })
    }

    fn dropped(pieces: &[Piece], wanted: Stream) -> u64 {
        let counts = pieces.iter().map(|piece| match piece {
            Piece::Dropped(stream, count) if *stream == wanted => *count,
            _ => 0,
        });
        counts.sum()
    }

    #[test]
    fn keeps_the_order_in_which_streams_were_read() {
        let mut capture = Capture::new(100);
        capture.push(Stream::Stdout, b"a");
        capture.push(Stream::Stdout, b"b");
        capture.push(Stream::Stderr, b"x");
        capture.push(Stream::Stdout, b"c");
        let data = |stream, text: &str| Piece::Data(stream, ByteBuf::from(text));
        let pieces: Vec<Piece> = capture.into_pieces();
        assert_eq!(text(&pieces, Stream::Stdout), b"abc");
        assert_eq!(pieces.last(), Some(&data(Stream::Stdout, "c")));
        assert_eq!(pieces[pieces.len() - 2], data(Stream::Stderr, "x"));
    }

    #[test]
    fn keeps_head_and_tail_and_counts_what_lay_between() {
        let mut capture = Capture::new(4);
        capture.push(Stream::Stdout, b"0123");
        capture.push(Stream::Stderr, b"!");
        capture.push(Stream::Stdout, b"456789");
        let pieces = capture.into_pieces();
        assert_eq!(text(&pieces, Stream::Stdout), b"0189");
        assert_eq!(dropped(&pieces, Stream::Stdout), 6);
        assert_eq!(text(&pieces, Stream::Stderr), b"!");
        assert_eq!(pieces[1], Piece::Dropped(Stream::Stdout, 6), "the gap follows the head");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_being_counted(
            limit in 0u64..40,
            reads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..30)), 0..30),
        ) {
            let mut capture = Capture::new(limit);
            let mut whole = [Vec::new(), Vec::new()];
            for (err, bytes) in &reads {
                let stream = if *err { Stream::Stderr } else { Stream::Stdout };
                capture.push(stream, bytes);
                whole[usize::from(*err)].extend_from_slice(bytes);
            }
            let pieces = capture.into_pieces();
            for (stream, whole) in [(Stream::Stdout, &whole[0]), (Stream::Stderr, &whole[1])] {
                let kept = text(&pieces, stream);
                prop_assert!(kept.len() as u64 <= limit);
                prop_assert_eq!(kept.len() as u64 + dropped(&pieces, stream), whole.len() as u64);
                if whole.len() as u64 <= limit {
                    prop_assert_eq!(&kept, whole);
                } else {
                    prop_assert_eq!(kept.len() as u64, limit);
                    let (head, tail) = kept.split_at(limit.div_ceil(2) as usize);
                    prop_assert!(whole.starts_with(head) && whole.ends_with(tail));
                }
            }
        }
    }
}
