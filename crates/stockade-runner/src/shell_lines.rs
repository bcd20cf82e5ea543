//! Lines of Python code that start with `!` run in the shell at that point, as in a notebook: each becomes
//! one Python statement in its place, so that every other line keeps its number. Owns what is put in their
//! place; where lines start is `logical_lines`' part. `{name}` and `$name` in a command are the shell's:
//! unlike a notebook, nothing is filled in from Python.

mod logical_lines;

use std::borrow::Cow;

use logical_lines::{LogicalLines, after_line_end, is_indent, is_line_end, without_bom};

/// Around the command's bytes literal. Its own namespace keeps the user's free of names and of their changes;
/// what Python has buffered goes out first, so that output is in order; a status other than 0 raises nothing.
const BEFORE: &str = concat!(
    r#"__import__("builtins").exec(""#,
    r"import subprocess, sys\n",
    r"for stream in sys.stdout, sys.stderr:\n",
    r" try: stream.flush()\n",
    r" except Exception: pass\n",
    r"subprocess.call(command, shell=True, stdin=subprocess.DEVNULL)",
    r#"", {"command": b""#,
);
const AFTER: &str = r#""})"#;

/// Each shell line grows by some 250 bytes; code that has more of them is left as it is from there on, so
/// that a block of nothing but `!` does not make a file, and use memory, of a hundred times its size.
const MAX_SHELL_LINES: usize = 10_000;

/// `code` with its shell lines made Python. A `!` line that ends in a backslash takes the next lines with it,
/// which become empty. The code's encoding must be one that extends ASCII.
pub fn rewrite(code: &[u8]) -> Cow<'_, [u8]> {
    if !may_have_shell_lines(code) {
        return Cow::Borrowed(code);
    }
    let mut lines = LogicalLines::new(code);
    let mut rewritten = Vec::new();
    let mut copied = 0;
    let mut left = MAX_SHELL_LINES;
    while left > 0
        && let Some(start) = lines.next_start()
    {
        if code.get(start) != Some(&b'!') {
            continue;
        }
        left -= 1;
        let shell_line = ShellLine::new(code, start);
        rewritten.extend_from_slice(&code[copied..start]);
        shell_line.write_python(&mut rewritten);
        copied = shell_line.end;
        lines.skip_to(copied);
    }
    if copied == 0 {
        return Cow::Borrowed(code);
    }
    rewritten.extend_from_slice(&code[copied..]);
    Cow::Owned(rewritten)
}

/// Whether any line starts with `!`, be it within a string: a quick look that spares most code the rest.
fn may_have_shell_lines(code: &[u8]) -> bool {
    let starts_with_bang = |line: &[u8]| line.iter().find(|byte| !is_indent(**byte)) == Some(&b'!');
    code.contains(&b'!') && without_bom(code).split(|&byte| is_line_end(byte)).any(starts_with_bang)
}

/// A line that starts with `!`, with those that its backslashes join to it.
struct ShellLine {
    command: Vec<u8>,
    /// How many lines it joined to its first.
    joined: usize,
    /// Where the end of its last line begins.
    end: usize,
}

impl ShellLine {
    fn new(code: &[u8], start: usize) -> Self {
        let mut line = Self { command: Vec::new(), joined: 0, end: start };
        // A notebook has `!!` too, for a command whose output becomes a value.
        let bangs = if code[start..].starts_with(b"!!") { 2 } else { 1 };
        let mut at = start + bangs;
        loop {
            let rest = &code[at..];
            let length = rest.iter().position(|&byte| is_line_end(byte)).unwrap_or(rest.len());
            line.command.extend_from_slice(&rest[..length]);
            line.end = at + length;
            // An even number of backslashes stands for itself, in the shell as here.
            let backslashes = rest[..length].iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 0 {
                return line;
            }
            if line.end == code.len() {
                line.command.pop();
                return line;
            }
            // The shell joins lines itself, and knows better than we do where it must not.
            line.command.push(b'\n');
            at = after_line_end(code, line.end);
            line.joined += 1;
        }
    }

    /// A statement for its first line and nothing for its others. All of it is printable ASCII, whatever the
    /// command is: the file stays valid in its encoding, and the shell gets the very bytes of the block. The
    /// line ends are `\n` even in a file of `\r`, which could be taken for one with the `\n` of the next
    /// line.
    fn write_python(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(BEFORE.as_bytes());
        for &byte in self.command.trim_ascii_start() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b' '..=b'~' => out.push(byte),
                _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        out.extend_from_slice(AFTER.as_bytes());
        out.resize(out.len() + self.joined, b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use proptest::prelude::*;

    use super::*;

    /// What stands in for a shell line in the tests' expectations.
    fn statement(command: &str) -> Vec<u8> {
        [BEFORE, command, AFTER].concat().into_bytes()
    }

    fn assert_rewritten(code: impl AsRef<[u8]>, expected: &[&[u8]]) {
        let rewritten = rewrite(code.as_ref());
        assert_eq!(rewritten.escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
    }

    fn assert_left_alone(code: impl AsRef<[u8]>) {
        let code = code.as_ref();
        assert!(matches!(rewrite(code), Cow::Borrowed(same) if same == code), "{}", code.escape_ascii());
    }

    /// Runs `code` as a file; `None`, said aloud, where there is no Python.
    fn run(code: &[u8]) -> Option<Output> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("block.py");
        std::fs::write(&file, rewrite(code)).unwrap();
        let output = Command::new("python3").arg(&file).current_dir(directory.path()).output();
        match output {
            Ok(output) => Some(output),
            Err(error) => {
                let required =
                    std::env::var("STOCKADE_TEST_REQUIRE").is_ok_and(|names| names.contains("python3"));
                assert!(!required, "python3 is required and does not start: {error}");
                eprintln!("skipped: python3 does not start: {error}");
                None
            }
        }
    }

    #[test]
    fn a_shell_line_becomes_a_statement_in_its_place() {
        assert_rewritten("!ls", &[&statement("ls")]);
        assert_rewritten("!", &[&statement("")]);
        assert_rewritten("!! ls -l\r\nx", &[&statement("ls -l"), b"\r\nx"]);
        assert_rewritten("\u{feff}!ls\rx", &[b"\xef\xbb\xbf", &statement("ls"), b"\rx"]);
        assert_rewritten("if x:\n\t !a\n\t !b", &[b"if x:\n\t ", &statement("a"), b"\n\t ", &statement("b")]);
        assert_rewritten("x = 1 # (\n!ls # )\n", &[b"x = 1 # (\n", &statement("ls # )"), b"\n"]);
        assert_rewritten("x = f(\n1)\n!ls", &[b"x = f(\n1)\n", &statement("ls")]);
        assert_rewritten("f'''{x:\n}'''\n!ls", &[b"f'''{x:\n}'''\n", &statement("ls")]);
    }

    #[test]
    fn backslashes_join_the_lines_of_a_command_and_leave_them_empty() {
        assert_rewritten("!a\\\rb\n", &[&statement("a\\\\\\x0ab"), b"\n\n"]);
        assert_rewritten("!a \\\n b\\\r\nc\nx", &[&statement("a \\\\\\x0a b\\\\\\x0ac"), b"\n\n\nx"]);
        assert_rewritten("!a \\\\\nb", &[&statement("a \\\\\\\\"), b"\nb"]);
        assert_rewritten("!a \\", &[&statement("a ")]);
    }

    #[test]
    fn a_command_is_quoted_whatever_its_bytes() {
        assert_rewritten("!echo \"'\\n\"", &[&statement("echo \\\"'\\\\n\\\"")]);
        assert_rewritten(b"!\xff\0\t\xc3\xa9", &[&statement("\\xff\\x00\\x09\\xc3\\xa9")]);
    }

    #[test]
    fn what_is_no_line_start_is_left_alone() {
        for code in [
            "",
            "x != 1",
            "x = 1; !ls",
            "if x: !ls",
            "# !ls",
            "(\n!= 1)",
            "[{\n!x\n}]",
            "x \\\n!= 1",
            "x \\\r\n!= 1",
            "'''\n!ls\n'''",
            "\"\"\"\n!ls\n\"\"\"",
            "'\\\n!ls'",
            "r'''\\'''\n!ls\n'''",
            "b'''\n!'''",
            "return'''\n!'''",
            "f'''\n!ls\n'''",
            "f'''{x\n!r}'''",
            "f'''{f\"\"\"{'\"'}\n!ls\"\"\"}'''",
            "rf'''\\{\n!x}'''",
            "F'{x:{\n!y}}'",
            "f'''\\N{LATIN SMALL LETTER A}\n!ls'''",
            "t'''{{\n!ls}}'''",
            "'\u{e9}' '''\n!ls'''",
        ] {
            assert_left_alone(code);
        }
    }

    #[test]
    fn the_same_quotes_may_stand_within_a_field() {
        let code = "x = f'{d['a']:>{w['b']}}' + f\"{f\"{1}\"}\"\n";
        assert_rewritten(format!("{code}!ls"), &[code.as_bytes(), &statement("ls")]);
    }

    #[test]
    fn from_a_string_that_does_not_end_code_is_left_as_it_is() {
        assert_left_alone("x = 'abc\n!ls");
        assert_left_alone("x = '''abc\n!ls");
        assert_left_alone("f'{x' \n!ls");
        assert_left_alone(format!("{}\n!ls", "f'{".repeat(100_000)));
        assert_rewritten("!a\nx = 'abc\n!b", &[&statement("a"), b"\nx = 'abc\n!b"]);
    }

    #[test]
    fn code_of_nothing_but_shell_lines_does_not_grow_without_bound() {
        let code = "!\n".repeat(1_000_000);
        let rewritten = rewrite(code.as_bytes());
        assert!(rewritten.len() < 2 * code.len() + (4 << 20), "{}", rewritten.len());
        assert_eq!(line_ends(&rewritten), 1_000_000);
    }

    #[test]
    fn python_runs_shell_lines_in_order_and_keeps_its_line_numbers() {
        let code = br#"'''!doc'''
from __future__ import division
import sys as subprocess
command = stream = 'mine'
print('one', end=' ')
!printf 'two "%s" \n' $((1 + 1)); exit 3
if command:
    !printf 'three %s\n' \
       "\$HOME"
    !cat
def f():
    !echo "f"'our'; head -c 9 /dev/zero | tr '\0' z | grep -c z
    !! printf '\342\202\254 %s\n' {command}
f()
!yes | head -n 1
assert (command, stream) == ('mine', 'mine') and 'sys' not in globals()
print(__doc__, '''
!x'''.strip()); 1 / 0
"#;
        let Some(output) = run(code) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        let expected = "one two \"2\" \nthree $HOME\nfour\n1\n\u{20ac} {command}\ny\n!doc !x\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{stderr}");
        assert!(stderr.contains("line 18, in <module>"), "{stderr}");
    }

    #[test]
    fn the_shell_gets_the_bytes_of_the_block() {
        let Some(output) = run(b"# coding: latin-1\n!printf '\xe9\xff'\nprint(len('\xe9'))\n") else {
            return;
        };
        assert_eq!(output.stdout, b"\xe9\xff1\n");
    }

    /// How Python counts them.
    fn line_ends(code: &[u8]) -> usize {
        code.iter().filter(|&&byte| is_line_end(byte)).count()
            - code.windows(2).filter(|two| two == b"\r\n").count()
    }

    fn python_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = proptest::sample::select(vec![
            "!", "\n!", "\r\n  !", "\r", "\n", "\\", "\\\n", "'", "\"", "'''", "\"\"\"", "f'", "rf\"\"\"",
            "{", "}", ":", "(", ")", "#", "x", " ", "\\N{", "\u{e9}", "\u{feff}", "\0",
        ]);
        prop_oneof![
            proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..60),
        ]
    }

    proptest! {
        #[test]
        fn lines_keep_their_numbers(code in python_like()) {
            let rewritten = rewrite(&code);
            prop_assert_eq!(line_ends(&rewritten), line_ends(&code));
            let again = rewrite(&rewritten);
            prop_assert_eq!(&*again, &*rewritten);
        }

        #[test]
        fn code_without_a_bang_at_a_line_start_is_returned_as_it_is(code in python_like()) {
            let mut code = code;
            let mut in_indentation = true;
            // A line starts behind the mark of a text's encoding, too.
            let start = code.len() - without_bom(&code).len();
            for byte in &mut code[start..] {
                if *byte == b'!' && in_indentation {
                    *byte = b'.';
                }
                in_indentation = is_line_end(*byte) || in_indentation && is_indent(*byte);
            }
            prop_assert!(matches!(rewrite(&code), Cow::Borrowed(_)));
        }
    }
}
