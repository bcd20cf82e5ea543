//! Looking for what runs a language, where the code will run. Owns the search on PATH and the sentence that
//! says what was looked for; it starts nothing.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Mode, OFlags, access, open},
    io::Errno,
};

use crate::{
    environment::Environment,
    language::{Command, Language},
};

/// What was found for a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// Absolute.
    pub(crate) program: PathBuf,
    /// The command of the language that it serves.
    pub(crate) command: Command,
}

impl Interpreter {
    /// Whether it is a script in front of the real program, and can be asked for it.
    pub(crate) fn is_shim(&self) -> bool {
        !self.command.self_path.is_empty() && starts_with_hash_bang(&self.program)
    }
}

/// Nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no interpreter for {language}: looked for {} in PATH ({}){}",
    .programs.join(", "),
    .folders.join(":"),
    .unusable.as_ref().map(|found| format!("; {} is not executable", found.display())).unwrap_or_default()
)]
pub(crate) struct Missing {
    language: String,
    programs: Vec<String>,
    folders: Vec<String>,
    /// A file of that name that may not be executed.
    unusable: Option<PathBuf>,
}

/// The first command of the language whose program is there.
pub(crate) fn find(language: &Language, environment: &Environment) -> Result<Interpreter, Missing> {
    let mut unusable = None;
    for command in &language.commands {
        for candidate in environment.search_path().map(|folder| folder.join(&command.program)) {
            match access(&candidate, Access::EXEC_OK) {
                Ok(()) if candidate.is_file() => {
                    return Ok(Interpreter { program: candidate, command: command.clone() });
                }
                Err(Errno::ACCESS) if candidate.is_file() => drop(unusable.get_or_insert(candidate)),
                _ => {}
            }
        }
    }
    Err(Missing {
        language: language.name.clone(),
        programs: language.commands.iter().map(|command| command.program.clone()).collect(),
        folders: environment.search_path().map(|folder| folder.display().to_string()).collect(),
        unusable,
    })
}

/// Whether `path` is a file that we may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    access(path, Access::EXEC_OK).is_ok() && path.is_file()
}

fn starts_with_hash_bang(path: &Path) -> bool {
    let mut start = [0; 2];
    // NONBLOCK: the code may have put a FIFO there by now, which must not make us wait.
    let opened =
        open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    opened.is_ok_and(|file| File::from(file).read_exact(&mut start).is_ok()) && start == *b"#!"
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_bytes::ByteBuf;

    use super::*;

    fn language(programs: &[&str]) -> Language {
        let commands = programs.iter().map(|program| Command {
            program: program.to_string(),
            args: vec!["{file}".into()],
            self_path: vec!["--where".into()],
        });
        Language {
            name: "test".into(),
            aliases: vec![],
            extension: "t".into(),
            comments: vec![],
            commands: commands.collect(),
        }
    }

    fn environment(folder: &Path) -> Environment {
        let path = ByteBuf::from(folder.to_str().expect("a temporary path is text"));
        Environment::of_this_process().with(&[(ByteBuf::from("PATH"), path)])
    }

    fn put(folder: &Path, name: &str, contents: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, contents).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }

    #[test]
    fn takes_the_first_command_that_is_there() {
        let folder = tempfile::tempdir().expect("tempdir");
        let second = put(folder.path(), "second", "\x7fELF", 0o755);
        let found = find(&language(&["first", "second"]), &environment(folder.path())).expect("found");
        assert_eq!(found.program, second);
        assert!(!found.is_shim());
    }

    #[test]
    fn does_not_wait_for_a_fifo_in_place_of_a_program() {
        let folder = tempfile::tempdir().expect("tempdir");
        let fifo = folder.path().join("program");
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("mkfifo");
        assert!(!starts_with_hash_bang(&fifo));
        assert!(starts_with_hash_bang(&put(folder.path(), "script", "#!/bin/sh\n", 0o755)));
    }

    #[test]
    fn knows_a_shim_by_its_first_line() {
        let folder = tempfile::tempdir().expect("tempdir");
        put(folder.path(), "tool", "#!/bin/sh\n", 0o755);
        assert!(find(&language(&["tool"]), &environment(folder.path())).expect("found").is_shim());
    }

    #[test]
    fn says_what_was_looked_for_and_what_is_not_executable() {
        let folder = tempfile::tempdir().expect("tempdir");
        put(folder.path(), "two", "", 0o644);
        let missing = find(&language(&["one", "two"]), &environment(folder.path())).expect_err("missing");
        let folder = folder.path().display();
        let expected = format!(
            "no interpreter for test: looked for one, two in PATH ({folder}); {folder}/two is not executable"
        );
        assert_eq!(missing.to_string(), expected);
    }
}
