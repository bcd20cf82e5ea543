//! Python modules that are imported once, before the first block, for all blocks to begin with. Owns what of them can be
//! asked for, and what a session tells of them; the runner does the importing.

use serde::Serialize;
use stockade_runner::wire::message::Preloaded;

use crate::{
    Session,
    error::{Error, Result},
    options::SessionOptions,
};

/// What the runner takes in one message, and far more than anybody imports.
const MOST_BYTES: usize = 32 << 10;

/// What became of the modules that were to be preloaded; `preload` in the JSON of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preload {
    /// As they were asked for.
    pub modules: Vec<String>,
    /// Whether blocks begin with them. If not each block imports what it needs by itself.
    pub ready: bool,
    /// Why they don't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Refuses what no `import` takes.
pub(crate) fn check(modules: &[String]) -> Result<()> {
    let invalid = |why: String| Err(Error::InvalidOption { option: "preload", why });
    if let Some(odd) = modules.iter().find(|module| !module.split('.').all(is_word)) {
        return invalid(format!("must have names of Python modules, such as numpy or os.path, not {odd:?}"));
    }
    if modules.iter().map(|module| module.len() + 1).sum::<usize>() > MOST_BYTES {
        return invalid(format!("must be at most {} KiB of names", MOST_BYTES >> 10));
    }
    Ok(())
}

/// Whether it can be a part of a module's name: letters, digits and underscores, and no digit first.
fn is_word(part: &str) -> bool {
    let is_of_words = |c: char| c.is_alphanumeric() || c == '_';
    part.starts_with(|c: char| is_of_words(c) && !c.is_numeric()) && part.chars().all(is_of_words)
}

/// Has the session import what the options ask for.
pub(crate) async fn load(session: &Session, options: &SessionOptions) -> Result<Option<Preload>> {
    let modules = options.preload.clone();
    if modules.is_empty() {
        return Ok(None);
    }
    let reason = match session.preload(&modules, options.timeout).await? {
        Preloaded::Ready => None,
        Preloaded::Unfit { why } => Some(why),
        Preloaded::Failed { why } => return Err(Error::Preload { why }),
    };
    if let Some(why) = &reason {
        tracing::warn!(%why, "preloaded modules are not used");
    }
    Ok(Some(Preload { modules, ready: reason.is_none(), reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_imported_can_be_preloaded() {
        let check = |module: &str| check(&[module.to_owned()]);
        for module in ["numpy", "os.path", "_private", "é.x2"] {
            assert!(check(module).is_ok(), "{module}");
        }
        for module in ["", "a b", "a..b", ".a", "1a", "a-b", "a\n", "a,b", "os;x"] {
            assert!(check(module).is_err(), "{module:?}");
        }
        assert!(check(&"a".repeat(MOST_BYTES)).is_err());
    }
}
