//! Lines of a limited length. Owns where they are broken: never in a command, which is there to be copied.

use std::mem;

/// A line in lines of at most `room` characters, as deep as the line is. Longer is only what can't be broken: a word, or
/// what stands in backquotes.
pub(super) fn wrap(line: &str, room: usize) -> Vec<String> {
    let text = line.trim_start_matches(' ');
    let indent = &line[..line.len() - text.len()];
    let length = |text: &str| text.chars().count();
    let (mut lines, mut current) = (Vec::new(), indent.to_owned());
    for word in words(text) {
        if current == indent {
            current.push_str(word);
        } else if length(&current) + 1 + length(word) <= room {
            current = format!("{current} {word}");
        } else {
            lines.push(mem::replace(&mut current, format!("{indent}{word}")));
        }
    }
    lines.push(current);
    lines
}

/// What stays together.
fn words(text: &str) -> Vec<&str> {
    let mut in_quotes = false;
    let breaks = move |character| {
        in_quotes ^= character == '`';
        character == ' ' && !in_quotes
    };
    text.split(breaks).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_not_in_commands() {
        let line = "use one, or `apt-get install it`, or none";
        assert_eq!(wrap(line, 20), ["use one, or", "`apt-get install it`,", "or none"]);
        assert_eq!(wrap(line, 100), [line]);
        assert_eq!(wrap("an `open quote is no command", 12), ["an", "`open quote is no command"]);
    }

    #[test]
    fn what_is_deeper_stays_so() {
        assert_eq!(wrap("  /a: no such file", 12), ["  /a: no", "  such file"]);
        assert_eq!(wrap("", 12), [""]);
    }
}
