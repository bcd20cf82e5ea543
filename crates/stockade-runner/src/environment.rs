//! A block's environment: the runner's own, which the host has already narrowed, what quietens interpreters,
//! and what the caller sets. Owns the list of quieting variables; nothing else in Stockade rewrites anything
//! to that end.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use crate::wire::message::Variable;

/// Variables that make programs print plainly, at once, and without asking. Whatever the caller or the
/// surroundings set goes before them.
const QUIET: &[(&str, &str)] = &[
    // Without it a timeout loses what Python had buffered.
    ("PYTHONUNBUFFERED", "1"),
    ("PIP_NO_INPUT", "1"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIP_PROGRESS_BAR", "off"),
    ("PIP_ROOT_USER_ACTION", "ignore"),
    ("UV_NO_PROGRESS", "1"),
    // Plots are drawn to files: there is no display.
    ("MPLBACKEND", "Agg"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_PAGER", "cat"),
    ("PAGER", "cat"),
    ("TERM", "dumb"),
    ("npm_config_fund", "false"),
    ("npm_config_audit", "false"),
    ("npm_config_update_notifier", "false"),
    ("npm_config_yes", "true"),
    ("POWERSHELL_TELEMETRY_OPTOUT", "1"),
    ("POWERSHELL_UPDATECHECK", "Off"),
];

/// Where programs are looked for when nothing says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables that a process is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The runner's own variables over the quieting ones, but for those that name its directory, which is no block's.
    pub(crate) fn of_this_process() -> Self {
        let quiet = QUIET.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut variables: BTreeMap<_, _> = quiet.chain(std::env::vars_os()).collect();
        for directory in ["PWD", "OLDPWD"] {
            variables.remove(OsStr::new(directory));
        }
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        Self(variables)
    }

    /// These variables, with those by which programs know whose they are set for this user.
    pub(crate) fn of_user(mut self, name: Option<&OsStr>, home: &OsStr) -> Self {
        self.0.insert("HOME".into(), home.to_owned());
        for variable in ["USER", "LOGNAME"] {
            match name {
                Some(name) => self.0.insert(variable.into(), name.to_owned()),
                // Without a name, ours would be a lie.
                None => self.0.remove(OsStr::new(variable)),
            };
        }
        self
    }

    /// These variables with `added` over them. What can't be passed to a process (an empty name, `=` in a name,
    /// a NUL) is left out; hosts refuse it before.
    pub(crate) fn with(&self, added: &[Variable]) -> Self {
        let mut variables = self.0.clone();
        let passable = |(name, value): &&Variable| {
            !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0)
        };
        for (name, value) in added.iter().filter(passable) {
            variables.insert(OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
        }
        Self(variables)
    }

    /// The folders in which programs are looked for. Relative ones are left out: they would mean another folder
    /// for each process.
    pub(crate) fn search_path(&self) -> impl Iterator<Item = &Path> {
        let path = self.0.get(OsStr::new("PATH")).map(|path| path.as_bytes()).unwrap_or_default();
        path.split(|&byte| byte == b':')
            .map(|folder| Path::new(OsStr::from_bytes(folder)))
            .filter(|f| f.is_absolute())
    }

    /// `NAME=value` of each, with a NUL after it.
    pub(crate) fn to_block(&self) -> Vec<u8> {
        let parts = self.0.iter().flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"]);
        parts.collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;

    fn variable(name: &str, value: &str) -> Variable {
        (ByteBuf::from(name), ByteBuf::from(value))
    }

    #[test]
    fn python_is_unbuffered_unless_the_caller_says_otherwise() {
        let environment = Environment::of_this_process();
        let unbuffered =
            |environment: &Environment| environment.0.get(OsStr::new("PYTHONUNBUFFERED")).cloned();
        assert!(unbuffered(&environment).is_some());
        let asked = environment.with(&[variable("PYTHONUNBUFFERED", "")]);
        assert_eq!(unbuffered(&asked), Some("".into()));
    }

    #[test]
    fn what_no_process_can_be_given_is_left_out() {
        let environment = Environment(BTreeMap::new());
        let odd = [variable("", "x"), variable("A=B", "x"), variable("N\0", "x"), variable("V", "x\0y")];
        assert_eq!(environment.with(&odd), environment);
        assert_eq!(environment.with(&[variable("A", "1=2")]).to_block(), b"A=1=2\0");
    }

    #[test]
    fn relative_folders_are_not_searched() {
        let environment = Environment(BTreeMap::new()).with(&[variable("PATH", "/a::b:./c:/d")]);
        assert_eq!(environment.search_path().collect::<Vec<_>>(), [Path::new("/a"), Path::new("/d")]);
    }
}
