//! What a host shows before it is given a session that another host began: a token, as bytes after their length of
//! four bytes, little endian. Owns its form and the comparison, which takes the same time wherever two tokens differ.

/// The longest token.
pub const MAX_TOKEN: usize = 1024;

const HEADER: usize = size_of::<u32>();

/// The bytes by which a host shows the token.
pub fn encode(token: &[u8]) -> Vec<u8> {
    [&(token.len() as u32).to_le_bytes()[..], token].concat()
}

/// Takes what a host shows, as it comes, and never a byte more.
///
/// ```
/// use stockade_runner::wire::token::{Shown, encode};
///
/// let (mut shown, bytes) = (Shown::default(), encode(b"secret"));
/// shown.push(&bytes[..shown.wanted()]);
/// assert_eq!(shown.verdict(b"secret"), None);
/// shown.push(&bytes[4..]);
/// assert_eq!((shown.wanted(), shown.verdict(b"secret")), (0, Some(true)));
/// ```
#[derive(Debug, Default)]
pub struct Shown(Vec<u8>);

impl Shown {
    /// How many bytes are to be read next: none when all are there, or when they can't be a token.
    pub fn wanted(&self) -> usize {
        match self.length() {
            None => HEADER - self.0.len(),
            Some(length) if length > MAX_TOKEN => 0,
            Some(length) => HEADER + length - self.0.len(),
        }
    }

    /// Adds bytes, no more than are [`wanted`](Self::wanted): the rest is left out.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[..bytes.len().min(self.wanted())]);
    }

    /// Whether this is the token; `None` while bytes are wanted.
    pub fn verdict(&self, token: &[u8]) -> Option<bool> {
        (self.wanted() == 0).then(|| self.0.get(HEADER..).is_some_and(|shown| are_equal(shown, token)))
    }

    fn length(&self) -> Option<usize> {
        self.0.first_chunk::<HEADER>().map(|length| u32::from_le_bytes(*length) as usize)
    }
}

fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is made of bytes that come in parts of this size.
    fn show(bytes: &[u8], part: usize, token: &[u8]) -> (Option<bool>, usize) {
        let (mut shown, mut taken) = (Shown::default(), 0);
        while shown.wanted() > 0 && taken < bytes.len() {
            let length = part.min(shown.wanted()).min(bytes.len() - taken);
            shown.push(&bytes[taken..taken + length]);
            taken += length;
        }
        (shown.verdict(token), taken)
    }

    #[test]
    fn a_length_that_is_no_tokens_is_refused_before_its_bytes_come() {
        let too_long = u32::MAX.to_le_bytes();
        assert_eq!(show(&too_long, 4, b"secret"), (Some(false), 4));
        assert_eq!(show(&encode(b""), 4, b"secret"), (Some(false), 4));
    }

    proptest! {
        #[test]
        fn the_token_is_taken_in_any_parts_and_nothing_behind_it(
            token in proptest::collection::vec(any::<u8>(), 0..=MAX_TOKEN),
            behind: Vec<u8>,
            part in 1usize..50,
        ) {
            let shown = [encode(&token), behind].concat();
            prop_assert_eq!(show(&shown, part, &token), (Some(true), 4 + token.len()));
        }

        #[test]
        fn other_bytes_are_never_the_token(
            token in proptest::collection::vec(any::<u8>(), 1..40),
            bytes: Vec<u8>,
            part in 1usize..50,
        ) {
            let (verdict, taken) = show(&bytes, part, &token);
            prop_assert_eq!(verdict == Some(true), bytes.starts_with(&encode(&token)));
            prop_assert!(taken <= 4 + MAX_TOKEN);
        }

        #[test]
        fn a_part_of_the_token_or_more_than_it_is_not_the_token(
            token in proptest::collection::vec(any::<u8>(), 1..40),
            end in 0usize..80,
        ) {
            let other: Vec<u8> = token.iter().copied().cycle().take(end).collect();
            prop_assert_eq!(show(&encode(&other), 7, &token).0, Some(other == token));
        }
    }
}
