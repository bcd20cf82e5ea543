//! From a block to its file: the name it is saved under and the bytes that are saved. Owns the `filename:`
//! line, generated names and what a name within the workspace is. Refuses a name that leads out of the
//! workspace by its text; one that leads out through a symlink is for the saver to refuse.

use std::{borrow::Cow, ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt, path::Path};

use sha2::{Digest, Sha256};

use crate::{language::Language, shell_lines};

/// What is to be saved of a block, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source<'a> {
    /// The name of its file.
    pub name: FileName,
    /// What the file is to hold: the code as it is, but for shell lines in Python.
    pub contents: Cow<'a, [u8]>,
}

impl<'a> Source<'a> {
    /// The file for a block of `code` in `language`.
    pub fn new(language: &Language, code: &'a [u8]) -> Self {
        let contents =
            if language.name == "python" { shell_lines::rewrite(code) } else { Cow::Borrowed(code) };
        Self { name: FileName::of(language, code), contents }
    }
}

/// The name of a block's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileName {
    /// Made from the code, which names no file: a single component.
    Generated(String),
    /// From the block's `filename:` line.
    Named(RelativePath),
    /// The `filename:` line names what can't be this block's file: the block is not run, and the reason, a
    /// sentence, is its outcome.
    Refused(NameError),
}

impl FileName {
    /// The name for `code` in `language`.
    pub fn of(language: &Language, code: &[u8]) -> Self {
        match named(language, code) {
            None => generated(language, code),
            Some(name) => RelativePath::new(name).map_or_else(Self::Refused, Self::Named),
        }
    }
}

/// A path to a file that can't leave the directory it is resolved in, except through a symlink: relative,
/// with at least one component, none of them `.`, `..` or empty, without NUL. Any other bytes may be in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Checks `path` and drops what means nothing in it: `./a//b.py` becomes `a/b.py`.
    pub fn new(path: &[u8]) -> Result<Self, NameError> {
        let components = || path.split(|&byte| byte == b'/');
        match path {
            [] => return Err(NameError::Empty),
            [b'/', ..] => return Err(NameError::Absolute),
            _ if path.contains(&0) => return Err(NameError::Nul),
            _ if components().any(|component| component == b"..") => return Err(NameError::Parent),
            _ if matches!(components().next_back(), Some(b"" | b".")) => return Err(NameError::Directory),
            _ => {}
        }
        let kept: Vec<_> = components().filter(|component| !matches!(*component, b"" | b".")).collect();
        Ok(Self(kept.join(&b'/')))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path, still relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The directories on the way to the file, and the file's own name last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }
}

/// Why a name can't be that of a file in the workspace. What it displays is a sentence for a block's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It begins with `/`.
    #[error("Filename is not in the workspace: it is an absolute path, and only a relative one is taken")]
    Absolute,
    /// It has a component `..`, whether that leads out or not.
    #[error("Filename is not in the workspace: it has a `..` in it, and only paths that go down are taken")]
    Parent,
    /// It has a NUL byte in it.
    #[error("Filename has a NUL byte in it, which no file name can have")]
    Nul,
    /// Its end is `/` or `.`.
    #[error("Filename is that of a directory: it ends in `/` or `.` where a file's name was expected")]
    Directory,
    /// There is nothing in it.
    #[error("Filename is empty")]
    Empty,
    /// The language's extension does not fit in a file name.
    #[error("The file extension of the block's language has a `/` or a NUL byte in it")]
    Extension,
}

/// `tmp_code_<sha256 of the code>.<extension>`.
fn generated(language: &Language, code: &[u8]) -> FileName {
    if language.extension.contains(['/', '\0']) {
        return FileName::Refused(NameError::Extension);
    }
    let mut name = String::from("tmp_code_");
    for byte in Sha256::digest(code) {
        // Writing to a string can't fail.
        let _ = write!(name, "{byte:02x}");
    }
    if !language.extension.is_empty() {
        name.push('.');
        name.push_str(&language.extension);
    }
    FileName::Generated(name)
}

/// What the `filename:` line of `code` names: the first line's, or the second's after a line that has to be
/// first.
fn named<'a>(language: &Language, code: &'a [u8]) -> Option<&'a [u8]> {
    let code = code.strip_prefix(b"\xef\xbb\xbf").unwrap_or(code);
    let (first, rest) = split_line(code);
    let line = if must_be_first(first) { split_line(rest).0 } else { first };
    language.comments.iter().find_map(|(open, close)| filename_in(line.trim_ascii(), open, close))
}

/// Whether nothing may stand before this line: `#!`, and PHP's opening tag.
fn must_be_first(line: &[u8]) -> bool {
    line.starts_with(b"#!") || line.trim_ascii().eq_ignore_ascii_case(b"<?php")
}

/// The first line without its end, and what follows its end: `\n`, `\r\n` or `\r`.
fn split_line(code: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = code.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else { return (code, &[]) };
    let (line, rest) = code.split_at(end);
    (line, rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..]))
}

/// The name in a line that is a comment between `open` and `close` and begins with `filename:`. An empty name
/// is none.
fn filename_in<'a>(line: &'a [u8], open: &str, close: &str) -> Option<&'a [u8]> {
    const KEYWORD: &[u8] = b"filename";
    let comment = line.strip_prefix(open.as_bytes())?.trim_ascii_start();
    let (keyword, rest) = comment.split_at_checked(KEYWORD.len())?;
    if !keyword.eq_ignore_ascii_case(KEYWORD) {
        return None;
    }
    let name = rest.trim_ascii_start().strip_prefix(b":")?;
    let end = match close.as_bytes() {
        [] => name.len(),
        // Where it is not on the line the comment goes on, and the rest of the line is still the name.
        close => name.windows(close.len()).position(|window| window == close).unwrap_or(name.len()),
    };
    Some(name[..end].trim_ascii()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language::Languages;

    fn name_of(language: &str, code: impl AsRef<[u8]>) -> FileName {
        FileName::of(Languages::default().find(language).unwrap(), code.as_ref())
    }

    fn assert_named(language: &str, code: impl AsRef<[u8]>, expected: &[u8]) {
        let code = code.as_ref();
        match name_of(language, code) {
            FileName::Named(path) => assert_eq!(path.as_bytes(), expected, "{}", code.escape_ascii()),
            other => panic!("{}: {other:?}", code.escape_ascii()),
        }
    }

    #[test]
    fn code_without_a_name_is_called_by_its_hash() {
        let expected = "tmp_code_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.py";
        assert_eq!(name_of("python", ""), FileName::Generated(expected.into()));
        for code in [
            "# filename:",
            "# filename: \t\r\nprint()",
            "// filename: a.py",
            "filename: a.py",
            "# filename a.py",
            "# filenames: a.py",
            "#",
            "# file",
            "print()\n# filename: a.py",
            "#!x\n\n# filename: a.py",
            "#! filename: a.py",
        ] {
            assert!(matches!(name_of("python", code), FileName::Generated(_)), "{code}");
        }
        let bare = FileName::of(&Language::new("x", ""), b"");
        assert!(matches!(bare, FileName::Generated(name) if !name.contains('.')));
    }

    #[test]
    fn a_comment_in_the_first_line_names_the_file() {
        for code in [
            "# filename: src/app.py",
            "#filename:src/app.py\n",
            "# FileName : src/app.py  \r\nprint()",
            "\u{feff}# filename: src/app.py",
            "  # filename: ./src//./app.py\rprint()",
            "#!/usr/bin/env python3\n# filename: src/app.py",
            "\u{feff}#!/bin/x\r\n# filename: src/app.py\r\n",
        ] {
            assert_named("python", code, b"src/app.py");
        }
    }

    #[test]
    fn each_language_has_its_own_comments() {
        assert_named("js", "// filename: a b.js", b"a b.js");
        assert_named("c", "/* filename: a.c */ int x;", b"a.c");
        assert_named("css", "/* filename: a.css\n*/", b"a.css");
        assert_named("html", "<!-- filename: a.html -->", b"a.html");
        assert_named("lua", "--[[ filename: a.lua ]]", b"a.lua");
        assert_named("php", "<?php\n// filename: a.php", b"a.php");
        assert_named("sql", "-- filename: a.sql", b"a.sql");
        let erlang = Language::new("erlang", "erl").comment("%");
        assert!(matches!(FileName::of(&erlang, b"% filename: a.erl"), FileName::Named(_)));
    }

    #[test]
    fn a_name_is_any_bytes() {
        assert_named("python", b"# filename: \xff\\ :\x01#.py", b"\xff\\ :\x01#.py");
        assert_named("python", format!("# filename: {}", "x".repeat(300)), "x".repeat(300).as_bytes());
    }

    #[test]
    fn a_name_that_is_not_of_a_file_in_the_workspace_is_refused() {
        for (name, error) in [
            ("/etc/passwd", NameError::Absolute),
            ("//x", NameError::Absolute),
            ("..", NameError::Parent),
            ("../x.py", NameError::Parent),
            ("a/../b.py", NameError::Parent),
            ("a/..", NameError::Parent),
            ("a\0b", NameError::Nul),
            (".", NameError::Directory),
            ("./", NameError::Directory),
            ("a/", NameError::Directory),
            ("a/.", NameError::Directory),
        ] {
            assert_eq!(name_of("python", format!("# filename: {name}")), FileName::Refused(error), "{name}");
        }
        assert_eq!(RelativePath::new(b""), Err(NameError::Empty));
        for error in [NameError::Absolute, NameError::Parent] {
            assert!(error.to_string().starts_with("Filename is not in the workspace"));
        }
    }

    #[test]
    fn an_extension_can_not_lead_out_either() {
        let hostile = Language::new("x", "x/../../y");
        assert_eq!(FileName::of(&hostile, b"1"), FileName::Refused(NameError::Extension));
    }

    #[test]
    fn only_the_shell_lines_of_python_are_not_saved_as_they_are() {
        let languages = Languages::default();
        let code = b"!ls\nx\0\xff";
        let bash = Source::new(languages.find("bash").unwrap(), code);
        assert_eq!(bash.contents, Cow::Borrowed(code));
        let python = Source::new(languages.find("Python").unwrap(), code);
        assert_ne!(python.contents, bash.contents);
        let (FileName::Generated(python), FileName::Generated(bash)) = (python.name, bash.name) else {
            panic!()
        };
        assert_eq!(python.strip_suffix(".py"), bash.strip_suffix(".bash"));
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_never_leads_out(
            name in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "[./a\0 -]{0,12}".prop_map(String::into_bytes),
            ],
            language in proptest::sample::select(crate::language::builtin()),
        ) {
            for (open, close) in &language.comments {
                let code = [open.as_bytes(), b" filename: ", &name, b" ", close.as_bytes()].concat();
                match FileName::of(&language, &code) {
                    FileName::Generated(name) => prop_assert!(!name.contains('/')),
                    FileName::Refused(_) => {}
                    FileName::Named(path) => {
                        let again = RelativePath::new(path.as_bytes());
                        prop_assert_eq!(again.as_ref(), Ok(&path));
                        prop_assert!(path.as_path().is_relative());
                        for component in path.components() {
                            prop_assert!(!matches!(component, b"" | b"." | b"..") && !component.contains(&0));
                        }
                    }
                }
            }
        }

        #[test]
        fn any_bytes_have_a_name(code: Vec<u8>) {
            for language in crate::language::builtin() {
                let source = Source::new(&language, &code);
                prop_assert!(language.name == "python" || *source.contents == *code);
            }
        }
    }
}
