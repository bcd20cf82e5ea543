//! The languages: their names, files, comments and the commands that run them. Owns the one table and what a
//! name in it means; refuses nothing, for an unknown language is an outcome. Looking for a command on a
//! machine is `interpreter`'s part.

mod table;

use serde::{Deserialize, Serialize};
use table::OTHER_EXTENSIONS;
pub use table::builtin;

/// A language that blocks can be written in.
///
/// ```
/// use stockade_runner::language::{Language, Languages};
///
/// let elixir = Language::new("elixir", "exs").alias("ex").comment("#").command("elixir", ["{file}"]);
/// let languages = Languages::new(vec![elixir]);
/// assert_eq!(languages.find("Elixir").unwrap().extension, "exs");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// The canonical name, lowercase.
    pub name: String,
    /// Other names for it, lowercase.
    pub aliases: Vec<String>,
    /// Of its files, without the dot.
    pub extension: String,
    /// How a comment begins, and ends where it must (`<!--`, `-->`). A `filename:` line is looked for in
    /// each of these. Empty for a language without comments.
    pub comments: Vec<(String, String)>,
    /// What runs it, the best first; the first whose program is found is taken. Empty for what is saved and
    /// not run.
    pub commands: Vec<Command>,
}

impl Language {
    /// A language that is saved and not run, until it is given a [`command`](Self::command).
    pub fn new(name: impl AsRef<str>, extension: impl AsRef<str>) -> Self {
        Self {
            name: normalized(name.as_ref()),
            aliases: Vec::new(),
            extension: extension.as_ref().trim().trim_start_matches('.').to_owned(),
            comments: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Adds another name.
    #[must_use]
    pub fn alias(mut self, alias: impl AsRef<str>) -> Self {
        self.aliases.push(normalized(alias.as_ref()));
        self
    }

    /// Adds a way to begin a comment that ends with its line: `#`.
    #[must_use]
    pub fn comment(self, open: impl Into<String>) -> Self {
        self.block_comment(open, "")
    }

    /// Adds a comment that has an end of its own: `<!--`, `-->`.
    #[must_use]
    pub fn block_comment(mut self, open: impl Into<String>, close: impl Into<String>) -> Self {
        self.comments.push((open.into(), close.into()));
        self
    }

    /// Adds a command, to be taken when the programs of those added before it are missing. In its arguments
    /// `{file}` stands for the block's file, and must be there; with `{binary}` it is a compiler, and what it makes is
    /// run.
    #[must_use]
    pub fn command<A: Into<String>>(
        self,
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        self.add_command(Command::new(program, args))
    }

    /// As [`command`](Self::command), for a command with a [`self_path`](Command::self_path).
    #[must_use]
    pub fn add_command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// False for what is saved and not run.
    pub fn runs(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Whether `name` is its name or one of its aliases, in any case.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.trim();
        self.name.eq_ignore_ascii_case(name)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

/// A command that runs a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Looked for on PATH.
    pub program: String,
    /// Its arguments; `{file}` stands for the file's absolute path and `{binary}` for the path of a program
    /// to make.
    pub args: Vec<String>,
    /// Arguments that make the program print the path of its real executable. Asked once when what PATH gave
    /// is a script, as the shims of version managers are, for such a shim can cost more than the block.
    pub self_path: Vec<String>,
}

impl Command {
    /// A program and its arguments.
    pub fn new<A: Into<String>>(program: impl Into<String>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            self_path: Vec::new(),
        }
    }

    /// Sets the arguments that make the program print the path of its real executable.
    #[must_use]
    pub fn self_path<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.self_path = args.into_iter().map(Into::into).collect();
        self
    }

    /// Whether it makes a program that is to be run after it.
    pub fn compiles(&self) -> bool {
        self.args.iter().any(|arg| arg.contains("{binary}"))
    }
}

/// The table: the built-in languages and what was added to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Languages {
    table: Vec<Language>,
}

impl Default for Languages {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Languages {
    /// The built-in languages and `additions`, a later one before an earlier one.
    ///
    /// An addition that claims a language's canonical name, as its own name or as an alias, takes that
    /// language's place and the rest of its aliases, so that `py` and `python` stay one language. A claim to
    /// an alias moves the alias alone.
    pub fn new(additions: Vec<Language>) -> Self {
        let mut languages = Self { table: builtin() };
        for addition in additions {
            languages.add(addition);
        }
        languages
    }

    fn add(&mut self, mut addition: Language) {
        addition.name = normalized(&addition.name);
        addition.aliases = addition.aliases.iter().map(|alias| normalized(alias)).collect();
        let mut place = None;
        let mut inherited = Vec::new();
        let mut index = 0;
        self.table.retain_mut(|language| {
            language.aliases.retain(|alias| !addition.is_called(alias));
            let stays = !addition.is_called(&language.name);
            if stays {
                index += 1;
            } else {
                place.get_or_insert(index);
                inherited.append(&mut language.aliases);
            }
            stays
        });
        addition.aliases.append(&mut inherited);
        self.table.insert(place.unwrap_or(self.table.len()), addition);
    }

    /// The language of this name or alias, in any case, with or without space around it.
    pub fn find(&self, name: &str) -> Option<&Language> {
        self.table.iter().find(|language| language.is_called(name))
    }

    /// The language of files with this ending, in any case, with or without its dot. Where several have it,
    /// the first of the table.
    pub fn by_extension(&self, extension: &str) -> Option<&Language> {
        let extension = extension.strip_prefix('.').unwrap_or(extension);
        let other = || {
            let (_, name) =
                OTHER_EXTENSIONS.iter().find(|(other, _)| other.eq_ignore_ascii_case(extension))?;
            self.find(name)
        };
        self.table.iter().find(|language| language.extension.eq_ignore_ascii_case(extension)).or_else(other)
    }

    /// Every language, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Language> {
        self.table.iter()
    }

    /// The canonical names, for the message about one that is unknown: `python, bash, …`.
    pub fn supported(&self) -> String {
        self.table.iter().map(|language| language.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn normalized(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(languages: &Languages, name: &str) -> Option<String> {
        languages.find(name).map(|language| language.name.clone())
    }

    #[test]
    fn names_are_found_in_any_case_and_with_space_around_them() {
        let languages = Languages::default();
        for (name, expected) in [
            ("bash", "bash"),
            ("shell", "sh"),
            ("sh", "sh"),
            ("pwsh", "pwsh"),
            ("powershell", "pwsh"),
            ("ps1", "pwsh"),
            ("python", "python"),
            ("Python", "python"),
            ("py", "python"),
            (" PY\n", "python"),
            ("node", "javascript"),
            ("C++", "cpp"),
            ("R", "r"),
            ("yml", "yaml"),
            ("plaintext", "text"),
        ] {
            assert_eq!(canonical(&languages, name).as_deref(), Some(expected), "{name:?}");
        }
        for name in ["", " ", "brainfuck", "pyth", "python\0"] {
            assert_eq!(canonical(&languages, name), None, "{name:?}");
        }
    }

    #[test]
    fn no_name_stands_twice_in_the_table() {
        let mut names: Vec<_> = builtin()
            .into_iter()
            .flat_map(|language| [vec![language.name], language.aliases].concat())
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_command_names_the_file() {
        for language in builtin() {
            for command in &language.commands {
                assert_eq!(
                    command.args.iter().filter(|arg| *arg == "{file}").count(),
                    1,
                    "{}",
                    command.program
                );
            }
        }
    }

    #[test]
    fn an_addition_takes_the_place_of_the_language_whose_name_it_has() {
        let languages =
            Languages::new(vec![Language::new(" Python ", ".py").command("python3.13", ["{file}"])]);
        assert_eq!(languages.find("py").unwrap().commands[0].program, "python3.13");
        assert_eq!(languages.iter().count(), builtin().len());
        assert_eq!(languages.iter().next().unwrap().name, "python");
    }

    #[test]
    fn an_addition_takes_an_alias_and_leaves_the_rest() {
        let languages = Languages::new(vec![Language::new("bun", "ts").alias("JS")]);
        assert_eq!(canonical(&languages, "js").as_deref(), Some("bun"));
        assert_eq!(canonical(&languages, "node").as_deref(), Some("javascript"));
        assert_eq!(languages.by_extension("ts").unwrap().name, "typescript");
        assert!(languages.supported().ends_with("markdown, bun"));
    }

    #[test]
    fn a_later_addition_goes_before_an_earlier_one() {
        let one = Language::new("one", "x").alias("shared");
        let two = Language::new("two", "x").alias("shared").alias("one");
        let languages = Languages::new(vec![one, two]);
        assert_eq!(canonical(&languages, "shared").as_deref(), Some("two"));
        assert_eq!(languages.iter().count(), builtin().len() + 1);
    }

    #[test]
    fn files_are_known_by_their_ending() {
        let languages = Languages::default();
        for (extension, expected) in
            [("py", "python"), (".SH", "sh"), ("r", "r"), ("mjs", "javascript"), ("yml", "yaml")]
        {
            assert_eq!(languages.by_extension(extension).unwrap().name, expected);
        }
        assert_eq!(languages.by_extension(""), None);
        assert_eq!(languages.by_extension("exe"), None);
    }

    #[test]
    fn compilers_are_told_apart_from_interpreters() {
        let languages = Languages::default();
        let compiles = |name| languages.find(name).unwrap().commands.iter().all(Command::compiles);
        assert!(compiles("c") && compiles("cpp") && compiles("rust"));
        assert!(!compiles("python") && !compiles("go"));
        assert!(!languages.find("json").unwrap().runs());
    }
}
