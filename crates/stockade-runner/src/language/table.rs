//! The built-in languages. Owns their names and endings, and how their programs are called; what a name means
//! once additions were made is the parent's part. Commands are plain: what quietens an interpreter is in its
//! environment.

use super::{Command, Language};

/// The languages that need no addition.
pub fn builtin() -> Vec<Language> {
    BUILTIN.iter().map(Row::to_language).collect()
}

/// A [`Language`] that can stand in a constant.
struct Row {
    name: &'static str,
    extension: &'static str,
    aliases: &'static [&'static str],
    comments: &'static [(&'static str, &'static str)],
    /// Program, arguments, arguments that print the path of the real executable.
    commands: &'static [(&'static str, &'static [&'static str], &'static [&'static str])],
}

impl Row {
    fn to_language(&self) -> Language {
        let mut language = Language::new(self.name, self.extension);
        for alias in self.aliases {
            language = language.alias(alias);
        }
        for &(open, close) in self.comments {
            language = language.block_comment(open, close);
        }
        for &(program, args, self_path) in self.commands {
            language = language.add_command(
                Command::new(program, args.iter().copied()).self_path(self_path.iter().copied()),
            );
        }
        language
    }
}

const HASH: &[(&str, &str)] = &[("#", "")];
const SLASHES: &[(&str, &str)] = &[("//", ""), ("/*", "*/")];
const MARKUP: &[(&str, &str)] = &[("<!--", "-->")];
const FILE: &[&str] = &["{file}"];

const PYTHON_PATH: &[&str] = &["-c", "import sys; print(sys.executable)"];
const NODE_PATH: &[&str] = &["-p", "process.execPath"];
const BUN_PATH: &[&str] = &["-e", "console.log(process.execPath)"];
const DENO_PATH: &[&str] = &["eval", "console.log(Deno.execPath())"];

// Deno denies everything unless told otherwise; what a block may do is the executor's affair, and the same
// for every language.
const DENO_RUN: &[&str] = &["run", "--allow-all", "{file}"];
const BUN_RUN: &[&str] = &["run", "{file}"];
const PWSH: &[&str] =
    &["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", "{file}"];

// The language is given because a `filename:` line may choose any ending; `-lm` and `-pthread`, because
// blocks that need them can't say so.
const C: &[&str] = &["-pthread", "-o", "{binary}", "-x", "c", "{file}", "-lm"];
const CPP: &[&str] = &["-pthread", "-o", "{binary}", "-x", "c++", "{file}"];
// Without an edition rustc takes that of 2015, and without a name it refuses a file called `a.b.rs`.
const RUST: &[&str] = &["--edition=2021", "--crate-name=main", "-o", "{binary}", "{file}"];

#[rustfmt::skip]
const BUILTIN: &[Row] = &[
    Row { name: "python", extension: "py", aliases: &["py", "python3"], comments: HASH,
        commands: &[("python3", FILE, PYTHON_PATH), ("python", FILE, PYTHON_PATH)] },
    Row { name: "bash", extension: "bash", aliases: &[], comments: HASH, commands: &[("bash", FILE, &[])] },
    Row { name: "sh", extension: "sh", aliases: &["shell"], comments: HASH, commands: &[("sh", FILE, &[])] },
    Row { name: "zsh", extension: "zsh", aliases: &[], comments: HASH, commands: &[("zsh", FILE, &[])] },
    Row { name: "pwsh", extension: "ps1", aliases: &["powershell", "ps1"],
        comments: &[("#", ""), ("<#", "#>")],
        commands: &[("pwsh", PWSH, &[]), ("powershell", PWSH, &[])] },
    Row { name: "javascript", extension: "js", aliases: &["js", "node"], comments: SLASHES,
        commands: &[("node", FILE, NODE_PATH), ("bun", BUN_RUN, BUN_PATH), ("deno", DENO_RUN, DENO_PATH)] },
    // Node itself runs TypeScript only from 22.6 on, and its version is not known before it is asked.
    Row { name: "typescript", extension: "ts", aliases: &["ts"], comments: SLASHES,
        commands: &[("tsx", FILE, &[]), ("ts-node", FILE, &[]), ("deno", DENO_RUN, DENO_PATH),
            ("bun", BUN_RUN, BUN_PATH)] },
    Row { name: "ruby", extension: "rb", aliases: &["rb"], comments: HASH,
        commands: &[("ruby", FILE, &["-e", "print RbConfig.ruby"])] },
    Row { name: "perl", extension: "pl", aliases: &["pl"], comments: HASH,
        commands: &[("perl", FILE, &["-e", "print $^X"])] },
    Row { name: "php", extension: "php", aliases: &[], comments: &[("//", ""), ("#", ""), ("/*", "*/")],
        commands: &[("php", FILE, &["-r", "echo PHP_BINARY;"])] },
    Row { name: "lua", extension: "lua", aliases: &[], comments: &[("--", ""), ("--[[", "]]")],
        commands: &[("lua", FILE, &[]), ("lua5.4", FILE, &[]), ("lua5.3", FILE, &[]),
            ("luajit", FILE, &[])] },
    Row { name: "r", extension: "R", aliases: &[], comments: HASH, commands: &[("Rscript", FILE, &[])] },
    Row { name: "julia", extension: "jl", aliases: &["jl"], comments: &[("#", ""), ("#=", "=#")],
        commands: &[("julia", FILE, &["-e", "print(joinpath(Sys.BINDIR, Base.julia_exename()))"])] },
    Row { name: "go", extension: "go", aliases: &["golang"], comments: SLASHES,
        commands: &[("go", &["run", "{file}"], &[])] },
    Row { name: "rust", extension: "rs", aliases: &["rs"], comments: SLASHES,
        commands: &[("rustc", RUST, &[])] },
    Row { name: "c", extension: "c", aliases: &[], comments: SLASHES,
        commands: &[("cc", C, &[]), ("gcc", C, &[]), ("clang", C, &[])] },
    Row { name: "cpp", extension: "cpp", aliases: &["c++", "cxx"], comments: SLASHES,
        commands: &[("c++", CPP, &[]), ("g++", CPP, &[]), ("clang++", CPP, &[])] },
    Row { name: "java", extension: "java", aliases: &[], comments: SLASHES,
        commands: &[("java", FILE, &[])] },
    Row { name: "html", extension: "html", aliases: &[], comments: MARKUP, commands: &[] },
    Row { name: "css", extension: "css", aliases: &[], comments: &[("/*", "*/")], commands: &[] },
    Row { name: "json", extension: "json", aliases: &[], comments: &[], commands: &[] },
    Row { name: "yaml", extension: "yaml", aliases: &["yml"], comments: HASH, commands: &[] },
    Row { name: "toml", extension: "toml", aliases: &[], comments: HASH, commands: &[] },
    // Neither has comments of its own, but both have `#` by wide custom, and nothing runs them.
    Row { name: "csv", extension: "csv", aliases: &[], comments: HASH, commands: &[] },
    Row { name: "sql", extension: "sql", aliases: &[], comments: &[("--", ""), ("/*", "*/")], commands: &[] },
    Row { name: "text", extension: "txt", aliases: &["txt", "plaintext"], comments: HASH, commands: &[] },
    Row { name: "markdown", extension: "md", aliases: &["md"], comments: MARKUP, commands: &[] },
];

/// Endings that files of a built-in language also have.
pub(super) const OTHER_EXTENSIONS: &[(&str, &str)] = &[
    ("mjs", "javascript"),
    ("cjs", "javascript"),
    ("mts", "typescript"),
    ("cts", "typescript"),
    ("cc", "cpp"),
    ("cxx", "cpp"),
    ("htm", "html"),
    ("yml", "yaml"),
    ("markdown", "markdown"),
];
