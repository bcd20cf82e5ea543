//! Where the lines of Python code start that are no part of a string, of brackets or of a continued line.
//! Owns just enough of Python's lexical rules for that, f-strings as of Python 3.12 included, and never nests
//! in its own stack. Refuses to guess: from a string that does not end on, no line starts.

/// Finds where Python's logical lines start: at a line's first byte after its indentation, where that line is
/// not part of a string, of brackets or of a line continued by a backslash.
pub(super) struct LogicalLines<'a> {
    code: &'a [u8],
    at: usize,
    /// Innermost last; the first is the file's own code, and others are there within an f-string.
    contexts: Vec<Context>,
    at_start: bool,
}

/// What surrounds a byte. Since Python 3.12 the fields of an f-string hold any code, the same quotes
/// included.
#[derive(Clone, Copy)]
enum Context {
    /// Code, at this depth of brackets: the file's own, or a field of an f-string.
    Code(usize),
    /// The text of an f-string.
    Text(Quote),
    /// The format of a field of that f-string, after its colon.
    Format(Quote),
}

#[derive(Clone, Copy)]
struct Quote {
    byte: u8,
    triple: bool,
    raw: bool,
}

/// What can't be understood: the code ends within a string, or nests f-strings deeper than Python allows.
struct GiveUp;

/// CPython allows 150 f-strings in each other; each takes two contexts.
const MAX_CONTEXTS: usize = 300;

impl<'a> LogicalLines<'a> {
    pub(super) fn new(code: &'a [u8]) -> Self {
        let at = code.len() - without_bom(code).len();
        Self { code, at, contexts: vec![Context::Code(0)], at_start: true }
    }

    /// The start of the next logical line, which may be the end of the code.
    pub(super) fn next_start(&mut self) -> Option<usize> {
        while !self.at_start {
            let byte = self.peek(0)?;
            let step = match self.context() {
                Context::Code(depth) => self.code_step(byte, depth),
                Context::Text(quote) => self.text_step(byte, quote, false),
                Context::Format(quote) => self.text_step(byte, quote, true),
            };
            step.ok()?;
        }
        self.at_start = false;
        while self.peek(0).is_some_and(is_indent) {
            self.at += 1;
        }
        Some(self.at)
    }

    /// Goes on at the line end at `at`.
    pub(super) fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.code.get(self.at + ahead).copied()
    }

    fn context(&self) -> Context {
        *self.contexts.last().expect("the file's own code is never popped")
    }

    fn replace_context(&mut self, context: Context) {
        self.contexts.pop();
        self.contexts.push(context);
    }

    fn push_context(&mut self, context: Context) -> Result<(), GiveUp> {
        if self.contexts.len() >= MAX_CONTEXTS {
            return Err(GiveUp);
        }
        self.contexts.push(context);
        Ok(())
    }

    /// The f-string that the innermost code is a field of.
    fn surrounding_quote(&self) -> Option<Quote> {
        match self.contexts.iter().nth_back(1)? {
            Context::Text(quote) | Context::Format(quote) => Some(*quote),
            Context::Code(_) => None,
        }
    }

    fn code_step(&mut self, byte: u8, depth: usize) -> Result<(), GiveUp> {
        match byte {
            b'\n' | b'\r' => {
                self.at = after_line_end(self.code, self.at);
                self.at_start = depth == 0 && self.contexts.len() == 1;
            }
            b'\\' => self.skip_escaped(),
            b'#' => self.skip_while(|byte| !is_line_end(byte)),
            b'"' | b'\'' => return self.enter_string(b""),
            b'}' if depth == 0 && self.contexts.len() > 1 => {
                self.at += 1;
                self.contexts.pop();
            }
            b'(' | b'[' | b'{' => {
                self.at += 1;
                self.replace_context(Context::Code(depth + 1));
            }
            b')' | b']' | b'}' => {
                self.at += 1;
                self.replace_context(Context::Code(depth.saturating_sub(1)));
            }
            _ if is_word(byte) => {
                let start = self.at;
                self.skip_while(is_word);
                if matches!(self.peek(0), Some(b'"' | b'\'')) {
                    return self.enter_string(&self.code[start..self.at]);
                }
            }
            _ => {
                self.at += 1;
                if let (b':', 0, Some(quote)) = (byte, depth, self.surrounding_quote()) {
                    self.replace_context(Context::Format(quote));
                }
            }
        }
        Ok(())
    }

    fn text_step(&mut self, byte: u8, quote: Quote, is_format: bool) -> Result<(), GiveUp> {
        match byte {
            // A backslash does not escape a brace.
            b'\\' if matches!(self.peek(1), Some(b'{' | b'}')) => self.at += 1,
            b'\\' if !quote.raw && self.code[self.at..].starts_with(b"\\N{") => {
                self.skip_while(|byte| byte != b'}' && byte != quote.byte && !is_line_end(byte));
                self.at += usize::from(self.peek(0) == Some(b'}'));
            }
            b'\\' => self.skip_escaped(),
            b'{' if !is_format && self.peek(1) == Some(b'{') => self.at += 2,
            b'{' => {
                self.at += 1;
                self.push_context(Context::Code(0))?;
            }
            b'}' if is_format => {
                self.at += 1;
                self.contexts.pop();
            }
            b'\n' | b'\r' if !quote.triple && !is_format => return Err(GiveUp),
            b'\n' | b'\r' if !quote.triple => self.replace_context(Context::Code(0)),
            _ if self.closes(quote) => {
                self.at += quote.len();
                while matches!(self.contexts.pop(), Some(Context::Format(_))) {}
            }
            _ => self.at += 1,
        }
        Ok(())
    }

    /// Past a string, or into the text of an f-string; `word` is what stands right before its quote.
    fn enter_string(&mut self, word: &[u8]) -> Result<(), GiveUp> {
        let byte = self.code[self.at];
        let triple = self.code[self.at..].starts_with(&[byte; 3]);
        let prefix = Prefix::new(word);
        let quote = Quote { byte, triple, raw: prefix.raw };
        self.at += quote.len();
        if prefix.formatted {
            return self.push_context(Context::Text(quote));
        }
        loop {
            match self.peek(0).ok_or(GiveUp)? {
                b'\\' => self.skip_escaped(),
                b'\n' | b'\r' if !triple => return Err(GiveUp),
                _ if self.closes(quote) => {
                    self.at += quote.len();
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
    }

    fn closes(&self, quote: Quote) -> bool {
        self.code[self.at..].starts_with(&[quote.byte; 3][..quote.len()])
    }

    /// Past a backslash and what follows it, which may be a line end. A quote does not end even a raw string
    /// here.
    fn skip_escaped(&mut self) {
        self.at = match self.peek(1) {
            None => self.at + 1,
            Some(byte) if is_line_end(byte) => after_line_end(self.code, self.at + 1),
            // In code, where no valid program has it, all that matters is to make headway.
            Some(_) => self.at + 2,
        };
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }
}

impl Quote {
    fn len(self) -> usize {
        if self.triple { 3 } else { 1 }
    }
}

/// What the letters before a string's quote mean.
#[derive(Default)]
struct Prefix {
    raw: bool,
    formatted: bool,
}

impl Prefix {
    fn new(word: &[u8]) -> Self {
        // `return"x"`: a keyword may stand there as well.
        match word.to_ascii_lowercase().as_slice() {
            b"r" | b"br" | b"rb" => Self { raw: true, formatted: false },
            b"f" | b"t" => Self { raw: false, formatted: true },
            b"fr" | b"rf" | b"tr" | b"rt" => Self { raw: true, formatted: true },
            _ => Self::default(),
        }
    }
}

/// Part of a name, a keyword or a number.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

pub(super) fn without_bom(code: &[u8]) -> &[u8] {
    code.strip_prefix(b"\xef\xbb\xbf").unwrap_or(code)
}

pub(super) fn is_indent(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Where the line end at `at` ends: it may be `\n`, `\r\n` or, as Python has it, `\r`.
pub(super) fn after_line_end(code: &[u8], at: usize) -> usize {
    if code[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 }
}
