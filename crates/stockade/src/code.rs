//! A code block: what a caller asks to be run.

/// A piece of code and the language it is written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CodeBlock {
    /// A name or an alias, in any case: `python`, `py`, `Python`.
    pub language: String,
    /// Usually text; any bytes are saved and run as they are.
    pub code: Vec<u8>,
}

impl CodeBlock {
    /// A block of `code` in `language`.
    ///
    /// ```
    /// let block = stockade::CodeBlock::new("python", "print('hello')");
    /// assert_eq!(block.language, "python");
    /// ```
    pub fn new(language: impl Into<String>, code: impl Into<Vec<u8>>) -> Self {
        Self { language: language.into(), code: code.into() }
    }
}
