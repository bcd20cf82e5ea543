//! An attempt to get out. Owns what it consists of and the judgement of what became of it; it runs nothing.

use serde::{Deserialize, Serialize};

/// Python code that is denied, with names that `attempts.py` defines, and how it is known that this is no accident.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// `target` in it is what it aims at.
    pub(crate) code: &'static str,
    pub(crate) aim: &'static str,
    denied: &'static str,
    pub(crate) twin: Twin,
}

/// What must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twin {
    /// The same, outside of a sandbox.
    Outside,
    /// The same, outside, by a process that has all of root's capabilities. An ordinary user's attempt has none.
    OutsideAsRoot,
    /// The same in the same place, with something to aim at that is the code's own.
    Beside(&'static str),
}

/// An attempt, its name and its places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) places: &'static [&'static str],
    pub(crate) attempt: Attempt,
}

/// What became of it, and of its twin where that was tried: `REACHED`, or `DENIED` and the names of errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Became {
    pub(crate) attempt: String,
    pub(crate) twin: Option<String>,
}

impl Attempt {
    pub(crate) const fn new(code: &'static str, aim: &'static str) -> Self {
        Self { code, aim, denied: "EPERM EACCES ENOENT", twin: Twin::Outside }
    }

    /// One that aims at nothing in particular.
    pub(crate) const fn call(code: &'static str) -> Self {
        Self::new(code, "")
    }

    /// With these errors and no other.
    pub(crate) const fn denied_as(mut self, names: &'static str) -> Self {
        self.denied = names;
        self
    }

    /// With a twin in the same place.
    pub(crate) const fn beside(mut self, aim: &'static str) -> Self {
        self.twin = Twin::Beside(aim);
        self
    }

    /// Only root may do it outside.
    pub(crate) const fn open_to_root(mut self) -> Self {
        self.twin = Twin::OutsideAsRoot;
        self
    }

    /// Why it is not as promised.
    pub(crate) fn judge(&self, became: &Became) -> Result<(), String> {
        let known = |name: &str| self.denied.split(' ').any(|denied| denied == name);
        match became.attempt.strip_prefix("DENIED ") {
            Some(names) if names.split(' ').all(known) => {}
            _ => return Err(format!("{self:?} was not denied as promised: {}", became.attempt)),
        }
        match became.twin.as_deref() {
            None | Some("REACHED") => Ok(()),
            // Not every kernel has everything.
            Some("DENIED ENOENT") if self.twin == Twin::OutsideAsRoot => Ok(()),
            Some(other) => Err(format!("the twin of {self:?} must succeed: {other}")),
        }
    }
}
