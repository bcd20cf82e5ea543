//! Text in pieces: keeps a character whose bytes come in two pieces in one.

/// The pieces of one stream.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl Whole {
    /// Takes a piece and gives what is complete. Bytes that are no UTF-8 are complete as they are.
    pub(crate) fn push(&mut self, piece: Vec<u8>) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            bytes = piece;
        } else {
            bytes.extend(piece);
        }
        self.rest = bytes.split_off(bytes.len() - unfinished(&bytes));
        bytes
    }

    /// What is left when the stream has ended.
    pub(crate) fn into_rest(self) -> Vec<u8> {
        self.rest
    }
}

/// How many bytes at the end begin a character that they don't finish.
fn unfinished(bytes: &[u8]) -> usize {
    const LONGEST: usize = 4;
    let from = bytes.len().saturating_sub(LONGEST - 1);
    let starts = (from..bytes.len()).rev().find(|&start| bytes[start] & 0b1100_0000 != 0b1000_0000);
    let Some(start) = starts else { return 0 };
    match std::str::from_utf8(&bytes[start..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => bytes.len() - start,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_in_two_pieces_comes_in_one() {
        let mut whole = Whole::default();
        assert_eq!(whole.push(b"caf\xc3".to_vec()), b"caf");
        assert_eq!(whole.push(b"\xa9!".to_vec()), "é!".as_bytes());
        assert!(whole.into_rest().is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_are_not_held_back() {
        let mut whole = Whole::default();
        assert_eq!(whole.push(b"\xff\xfe\x80".to_vec()), b"\xff\xfe\x80");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_text_stays_text(text in "\\PC{0,40}", cuts in prop::collection::vec(1usize..5, 0..40)) {
            let mut rest = text.as_bytes();
            let mut whole = Whole::default();
            let mut seen = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                let piece = whole.push(piece.to_vec());
                prop_assert!(std::str::from_utf8(&piece).is_ok());
                seen.extend(piece);
            }
            seen.extend(whole.push(rest.to_vec()));
            seen.extend(whole.into_rest());
            prop_assert_eq!(seen, text.as_bytes());
        }
    }
}
