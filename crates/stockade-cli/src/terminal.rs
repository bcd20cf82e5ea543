//! What may reach a terminal. A block's output on a terminal can do more than be seen: control sequences write
//! the clipboard, change the title, or make the terminal type an answer into the shell that comes next. Owns
//! the filter that keeps text, colours and the line editing of progress bars and drops the rest. What goes to a
//! pipe or a file is never touched, and that is the caller's part.

use std::borrow::Cow;

use anstyle_parse::{Params, Parser, Perform, Utf8Parser};

/// Filters one stream of one block; characters and sequences may be split over several pieces.
#[derive(Default)]
pub(crate) struct TerminalFilter {
    parser: Parser<Utf8Parser>,
    /// The first bytes of a character whose rest has not come yet.
    unfinished: Vec<u8>,
    styled: bool,
}

impl TerminalFilter {
    /// What of `bytes` may be written to a terminal. What is not UTF-8 becomes U+FFFD.
    pub(crate) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = [&std::mem::take(&mut self.unfinished), bytes].concat();
        self.unfinished = bytes.split_off(bytes.len() - unfinished_len(&bytes));
        let mut kept = Kept { bytes: Vec::with_capacity(bytes.len()), styled: self.styled };
        for &byte in String::from_utf8_lossy(&bytes).as_bytes() {
            self.parser.advance(&mut kept, byte);
        }
        self.styled = kept.styled;
        kept.bytes
    }

    /// Whether a colour may still be on.
    pub(crate) fn is_styled(&self) -> bool {
        self.styled
    }
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished_len(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last().map(|chunk| chunk.invalid()) {
        Some(invalid) if std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) => {
            invalid.len()
        }
        _ => 0,
    }
}

struct Kept {
    bytes: Vec<u8>,
    styled: bool,
}

impl Perform for Kept {
    fn print(&mut self, character: char) {
        // U+0080 to U+009F are control characters too: U+009B begins a sequence on some terminals.
        if !character.is_control() {
            self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r' | b'\t' | 0x08) {
            self.bytes.push(byte);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        // m colours, K erases in the line, C, D and G move in it. Nothing here leaves the line, so no block
        // can write over what stands above it.
        if ignore || !intermediates.is_empty() || !matches!(action, b'm' | b'K' | b'C' | b'D' | b'G') {
            return;
        }
        let params: Vec<String> = params
            .iter()
            .map(|param| param.iter().map(u16::to_string).collect::<Vec<_>>().join(":"))
            .collect();
        self.bytes.extend_from_slice(format!("\x1b[{}{}", params.join(";"), char::from(action)).as_bytes());
        self.styled |= action == b'm';
    }
}

/// Text in one line with every character visible that could hide or forge something on a terminal: control
/// characters, and those that turn the direction of writing or take no room.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let escaped = |character: char| {
        if is_deceptive(character) { character.escape_default().to_string() } else { character.to_string() }
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

fn is_deceptive(character: char) -> bool {
    let turns_direction = matches!(character, '\u{061c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let takes_no_room = matches!(character, '\u{00ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    let ends_a_line = matches!(character, '\u{2028}' | '\u{2029}');
    (character.is_control() && character != '\t') || turns_direction || takes_no_room || ends_a_line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(text: &str) -> String {
        String::from_utf8(TerminalFilter::default().filter(text.as_bytes())).expect("the filter keeps text")
    }

    #[test]
    fn text_colours_and_progress_bars_reach_the_terminal() {
        let text = "né 漢\t\x1b[1;31mred\x1b[0m\r\x1b[2K50%\x08\n\x1b[38;5;208mx\x1b[m \x1b[4:3my";
        assert_eq!(filtered(text), text.replace("\x1b[m", "\x1b[0m"));
    }

    #[test]
    fn sequences_that_act_on_the_terminal_are_dropped() {
        for sequence in [
            "\x1b]0;title\x07",
            "\x1b]52;c;cm0gLXJm\x1b\\",
            "\x1b]8;;http://example.org\x1b\\",
            "\x1b[6n",
            "\x1b[c",
            "\x1b[>c",
            "\x1b[21t",
            "\x1bP$q\"p\x1b\\",
            "\x1b_G\x1b\\",
            "\x1b[?1049h",
            "\x1b[?25l",
            "\x1b[2J",
            "\x1b[H",
            "\x1b[1A",
            "\x1bc",
            "\x1b(0",
            "\x07",
            "\x0e",
            "\x7f",
            "\u{9b}6n",
        ] {
            let rest = filtered(&format!("a{sequence}b"));
            assert!(!rest.contains(|character: char| character.is_control()), "{sequence:?}: {rest:?}");
            assert!(rest.starts_with('a') && rest.ends_with('b'), "{sequence:?}: {rest:?}");
        }
    }

    #[test]
    fn sequence_split_over_pieces_is_still_seen() {
        let mut filter = TerminalFilter::default();
        let pieces: Vec<u8> = b"a\x1b]0;ti|tle\x07b\x1b[3|1mc\xc3|\xa9"
            .split(|&byte| byte == b'|')
            .flat_map(|piece| filter.filter(piece))
            .collect();
        assert_eq!(String::from_utf8(pieces).expect("text"), "ab\x1b[31mcé");
        assert!(filter.is_styled());
    }

    #[test]
    fn bytes_that_are_not_text_become_replacement_characters() {
        assert_eq!(
            TerminalFilter::default().filter(b"a\xffb\xe9\nc\xc3\x1b[31m"),
            "a\u{fffd}b\u{fffd}\nc\u{fffd}\x1b[31m".as_bytes()
        );
    }

    #[test]
    fn ordinary_text_is_shown_as_it_is() {
        assert_eq!(visible("print('né 漢')\tx"), "print('né 漢')\tx");
        assert_eq!(visible("a\u{200b}b\u{7}"), "a\\u{200b}b\\u{7}");
    }
}
