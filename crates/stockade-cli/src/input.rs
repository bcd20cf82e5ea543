//! From the command line to code blocks. Owns the reading of files and stdin, and which ending of a file means
//! which language. Reads everything before the first block runs, and runs nothing when an input can't be read.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use stockade::CodeBlock;

use crate::{args::RunArgs, error::Error};

/// A block and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourcedBlock {
    pub(crate) block: CodeBlock,
    /// For people: `hello.md:7`, the file and the line where the code begins.
    pub(crate) origin: String,
}

/// What is to be run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Input {
    pub(crate) blocks: Vec<SourcedBlock>,
    /// What was left out and why, for people.
    pub(crate) notes: Vec<String>,
}

/// Reads all that the command line asks to run.
pub(crate) fn read(args: &RunArgs) -> Result<Input, Error> {
    use std::os::unix::ffi::OsStrExt;
    let mut input = Input::default();
    if let (Some(code), Some(language)) = (&args.code, &args.language) {
        input.push(CodeBlock::new(language, code.as_bytes()), "-c".to_owned());
        return Ok(input);
    }
    let mut without_blocks = Vec::new();
    let mut stdin_taken = false;
    for path in &args.files {
        let from_stdin = path == Path::new("-");
        if from_stdin && std::mem::replace(&mut stdin_taken, true) {
            return Err(Error::StdinTwice);
        }
        let name = if from_stdin { "stdin".to_owned() } else { path.display().to_string() };
        let contents = if from_stdin { read_stdin()? } else { read_file(path)? };
        let language = match &args.language {
            Some(language) => Some(language.as_str()),
            None if from_stdin || is_markdown(path) => None,
            None => Some(language_of(path, &contents)?),
        };
        match language {
            Some(language) => input.push(CodeBlock::new(language, contents), name),
            None if !input.push_markdown(&contents, &name) => without_blocks.push(name),
            None => {}
        }
    }
    if input.blocks.is_empty() {
        return Err(Error::NoBlocks { inputs: without_blocks, notes: input.notes });
    }
    input.notes.extend(without_blocks.iter().map(|name| format!("{name}: no code blocks")));
    Ok(input)
}

impl Input {
    fn push(&mut self, block: CodeBlock, origin: String) {
        self.blocks.push(SourcedBlock { block, origin });
    }

    /// Adds the blocks of a Markdown text; false when it has none.
    fn push_markdown(&mut self, contents: &[u8], name: &str) -> bool {
        let before = self.blocks.len();
        // A stray byte in the prose is no reason to refuse the file.
        for fenced in stockade::fenced_blocks(&String::from_utf8_lossy(contents)) {
            let origin = format!("{name}:{}", fenced.line);
            if fenced.closed {
                self.push(fenced.block, origin);
            } else {
                self.notes.push(format!(
                    "{origin}: the {} block is not run, its fence is never closed",
                    fenced.block.language
                ));
            }
        }
        self.blocks.len() > before
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

fn read_stdin() -> Result<Vec<u8>, Error> {
    let mut contents = Vec::new();
    io::stdin().lock().read_to_end(&mut contents).map_err(|source| Error::UnreadableStdin { source })?;
    Ok(contents)
}

fn is_markdown(path: &Path) -> bool {
    matches!(ending(path).as_deref(), Some("md" | "markdown" | "mdown" | "mkd" | "qmd" | "rmd"))
}

fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// The language of a source file, by its ending. Only of what runs: to save a `.json` elsewhere is no use.
fn language_of(path: &Path, contents: &[u8]) -> Result<&'static str, Error> {
    let language = match ending(path).as_deref() {
        Some("py" | "pyw") => "python",
        Some("sh") if names_bash(contents) => "bash",
        Some("sh") => "sh",
        Some("bash") => "bash",
        Some("zsh") => "zsh",
        Some("ps1") => "pwsh",
        Some("js" | "mjs" | "cjs") => "javascript",
        Some("ts" | "mts" | "cts") => "typescript",
        Some("rb") => "ruby",
        Some("pl" | "pm") => "perl",
        Some("php") => "php",
        Some("lua") => "lua",
        Some("r") => "r",
        Some("jl") => "julia",
        Some("go") => "go",
        Some("rs") => "rust",
        Some("c") => "c",
        Some("cpp" | "cc" | "cxx" | "c++") => "cpp",
        Some("java") => "java",
        _ => return Err(Error::UnknownEnding { path: path.to_owned() }),
    };
    Ok(language)
}

/// Whether a script's first line asks for bash, as many `.sh` files do.
fn names_bash(contents: &[u8]) -> bool {
    let first_line = contents.split(|&byte| byte == b'\n').next().unwrap_or_default();
    first_line.starts_with(b"#!") && first_line.windows(4).any(|part| part == b"bash")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(path: &str, contents: &str) -> Option<&'static str> {
        language_of(Path::new(path), contents.as_bytes()).ok()
    }

    #[test]
    fn ending_names_the_language_in_any_case() {
        assert_eq!(language("a/plot.py", ""), Some("python"));
        assert_eq!(language("PLOT.PY", ""), Some("python"));
        assert_eq!(language("model.R", ""), Some("r"));
        assert_eq!(language("main.cc", ""), Some("cpp"));
    }

    #[test]
    fn first_line_of_a_shell_script_chooses_between_sh_and_bash() {
        assert_eq!(language("x.sh", "#!/usr/bin/env bash\n"), Some("bash"));
        assert_eq!(language("x.sh", "#!/bin/sh\necho bash"), Some("sh"));
        assert_eq!(language("x.sh", "# bash\n"), Some("sh"));
        assert_eq!(language("x.sh", ""), Some("sh"));
    }

    #[test]
    fn file_without_a_known_ending_has_no_language() {
        for path in ["Makefile", "a.json", ".py", "x.", "/dev/fd/63"] {
            assert_eq!(language(path, "#!/bin/sh"), None, "{path}");
        }
    }

    #[test]
    fn blocks_carry_the_line_where_their_code_begins() {
        let mut input = Input::default();
        assert!(input.push_markdown(b"# \xff\n```python\n1\n```\n\n```sh\nls", "a.md"));
        let origins: Vec<&str> = input.blocks.iter().map(|block| block.origin.as_str()).collect();
        assert_eq!(origins, ["a.md:3"]);
        assert_eq!(input.notes, ["a.md:7: the sh block is not run, its fence is never closed"]);
    }

    #[test]
    fn prose_without_blocks_adds_none() {
        assert!(!Input::default().push_markdown(b"just text\n", "a.md"));
    }
}
