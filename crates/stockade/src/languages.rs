//! The languages as a caller sees them.

use std::path::PathBuf;

pub use stockade_runner::language::{Command, Language, Languages};
use stockade_runner::wire::message;

use crate::outcome::to_path;

/// A language, and what runs it where a session's code runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LanguageReport {
    /// The canonical name.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Of its files, without the dot.
    pub extension: String,
    /// False for what is saved and not run.
    pub runs: bool,
    /// The absolute path of the interpreter or compiler; `None` when none was found.
    #[serde(serialize_with = "crate::outcome::as_optional_text")]
    pub interpreter: Option<PathBuf>,
}

impl From<message::LanguageReport> for LanguageReport {
    fn from(report: message::LanguageReport) -> Self {
        Self {
            name: report.name,
            aliases: report.aliases,
            extension: report.extension,
            runs: report.runs,
            interpreter: report.interpreter.map(to_path),
        }
    }
}
