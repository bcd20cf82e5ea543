//! A Python module that blocks can import: saved, its packages installed and loaded once, before the first block.

use std::{ffi::OsString, time::Duration};

use serde_bytes::ByteBuf;

use crate::{
    CodeBlock, Session, Status,
    call::bytes,
    error::{Error, Result},
    options::SessionOptions,
};

/// How long pip may take at least, whatever the timeout of blocks.
const TIME_TO_INSTALL: Duration = Duration::from_secs(5 * 60);

/// Installs `$STOCKADE_PACKAGES`, one a line, for the interpreter that runs the blocks.
const INSTALL: &str = r#"
import os, subprocess, sys
packages = os.environ["STOCKADE_PACKAGES"].splitlines()
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *packages]))
"#;

/// A Python module of functions for the code to import.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use stockade::{CancellationToken, CodeBlock, Functions, LocalCommandLineCodeExecutor};
///
/// let functions = Functions::new("def double(x):\n    return 2 * x\n");
/// let executor = LocalCommandLineCodeExecutor::builder().functions(functions).build()?;
/// let session = executor.start().await?;
/// let blocks = [CodeBlock::new("python", "from functions import double\nprint(double(21))")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_eq!(result.output, "42\n");
/// # session.stop().await?;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Functions {
    source: String,
    module: String,
    packages: Vec<String>,
}

impl Functions {
    /// A module of this source, called `functions`.
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), module: "functions".to_owned(), packages: Vec::new() }
    }

    /// The module's name, a Python identifier.
    #[must_use]
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.module = name.into();
        self
    }

    /// Packages that it needs, as pip takes them: `pandas`, `pandas>=2`.
    #[must_use]
    pub fn packages(mut self, packages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.packages.extend(packages.into_iter().map(Into::into));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |why: String| Err(Error::InvalidOption { option: "functions", why });
        if !is_identifier(&self.module) {
            return invalid(format!(
                "must have a Python identifier as the module's name, not {:?}",
                self.module
            ));
        }
        // A package that begins with a dash would be an option of pip's.
        let odd = self.packages.iter().find(|package| {
            package.trim().is_empty() || package.starts_with('-') || package.contains(['\n', '\r', '\0'])
        });
        odd.map_or(Ok(()), |package| invalid(format!("has a package that is no package: {package:?}")))
    }
}

/// Whether `name` can be a module's name: a word of ASCII letters, digits and underscores that Python has not
/// taken.
fn is_identifier(name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
        "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in",
        "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
    ];
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word && name.starts_with(|c: char| !c.is_ascii_digit()) && !KEYWORDS.contains(&name)
}

/// Gives the session the functions module that the options ask for, and then the variables by which blocks find it.
pub(crate) async fn install(session: &Session, options: &SessionOptions) -> Result<Vec<(ByteBuf, ByteBuf)>> {
    match &options.functions {
        Some(functions) => prepare(session, functions, options.variable("PYTHONPATH")).await,
        None => Ok(Vec::new()),
    }
}

/// Saves the module, installs its packages and loads it. Gives the variables by which blocks in any folder find it;
/// `python_path` is what the caller set of them.
async fn prepare(
    session: &Session,
    functions: &Functions,
    python_path: Option<OsString>,
) -> Result<Vec<(ByteBuf, ByteBuf)>> {
    session.put_file(format!("{}.py", functions.module), &functions.source).await?;
    if !functions.packages.is_empty() {
        install_packages(session, functions).await?;
    }
    let import = [CodeBlock::new("python", format!("import {}\n", functions.module))];
    let loaded = session.call(&import[..]).discard_file().run().await?;
    if loaded.exit_code != 0 {
        return Err(Error::FunctionsLoad { output: loaded.output.trim_end().to_owned() });
    }
    let mut path = session.workspace().as_os_str().to_owned();
    if let Some(set) = python_path.filter(|set| !set.is_empty()) {
        path.push(":");
        path.push(set);
    }
    Ok(vec![(ByteBuf::from("PYTHONPATH"), bytes(path))])
}

async fn install_packages(session: &Session, functions: &Functions) -> Result<()> {
    let blocks = [CodeBlock::new("python", INSTALL)];
    let packages = functions.packages.join("\n");
    let time = session.timeout().max(TIME_TO_INSTALL);
    let call = session.call(&blocks[..]).env("STOCKADE_PACKAGES", packages).timeout(time);
    let installed = call.discard_file().run().await?;
    if installed.exit_code == 0 {
        return Ok(());
    }
    let timed_out = installed.blocks.last().is_some_and(|block| block.status == Status::TimedOut);
    let output = if timed_out { "It timed out. " } else { "" }.to_owned() + installed.output.trim_end();
    Err(Error::PipInstall { output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_an_identifier_for_a_name() {
        for name in ["", "1st", "my-module", "a.b", "class", "é", "a b"] {
            assert!(Functions::new("").module(name).check().is_err(), "{name:?}");
        }
        for name in ["functions", "_f", "F2"] {
            assert!(Functions::new("").module(name).check().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn an_option_is_no_package() {
        assert!(Functions::new("").packages(["--index-url=http://x"]).check().is_err());
        assert!(Functions::new("").packages(["pandas>=2", "numpy"]).check().is_ok());
    }
}
