//! Fenced code blocks out of Markdown. Owns what counts as a block and how an info string names a language;
//! the Markdown itself is pulldown-cmark's part. Refuses to guess: a fence without a language is prose, and a
//! fence that the text never closes is a reply that was cut off, and half a command is not run.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::CodeBlock;

/// A fenced code block and where it stands in its Markdown text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencedBlock {
    /// The language that its fence names, and its code.
    pub block: CodeBlock,
    /// The line of the text in which its code begins, from 1.
    pub line: usize,
    /// False for a block that the text ends in before its fence is closed. [`code_blocks`] leaves it out.
    pub closed: bool,
}

/// The fenced code blocks of a Markdown text, in order.
///
/// A block is fenced by backticks or tildes and names a language: `python`, `python title="x"`,
/// `python,ignore`, `python:app.py`, `{.python}` or `{python}`. Fences without a language, indented code, and
/// fences inside a longer fence are not blocks. Neither is a fence that is still open at the end of the text.
///
/// Languages are not judged here: what is saved and not run (`json`) or unknown is a block too.
///
/// ````
/// let blocks = stockade::code_blocks("Try this:\n```python\nprint('hello')\n```\n");
/// assert_eq!(blocks, [stockade::CodeBlock::new("python", "print('hello')\n")]);
/// ````
pub fn code_blocks(markdown: &str) -> Vec<CodeBlock> {
    fenced_blocks(markdown).into_iter().filter(|fenced| fenced.closed).map(|fenced| fenced.block).collect()
}

/// The blocks of [`code_blocks`] with the lines where they stand, and the one that is not closed, for a caller
/// that wants to point at them.
pub fn fenced_blocks(markdown: &str) -> Vec<FencedBlock> {
    // A byte order mark before the first fence would hide it.
    let markdown = markdown.strip_prefix('\u{feff}').unwrap_or(markdown);
    let mut blocks = Vec::new();
    let mut open: Option<OpenBlock> = None;
    let mut lines = LineCounter::new(markdown);
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                open = language(&info).map(|language| OpenBlock {
                    language: language.to_owned(),
                    line: lines.line_at(range.start) + 1,
                    code: String::new(),
                    code_end: range.start,
                });
            }
            Event::Text(text) => {
                if let Some(open) = &mut open {
                    open.code.push_str(&text);
                    open.code_end = range.end;
                }
            }
            Event::End(TagEnd::CodeBlock) => blocks.extend(open.take().map(|open| open.end(markdown, range))),
            _ => {}
        }
    }
    blocks
}

/// A block whose end has not been seen.
struct OpenBlock {
    language: String,
    line: usize,
    code: String,
    /// Where the last piece of its code ends in the text; where its fence begins while there is none.
    code_end: usize,
}

impl OpenBlock {
    fn end(self, markdown: &str, range: Range<usize>) -> FencedBlock {
        let closed = has_closing_fence(markdown, &range, self.code_end);
        FencedBlock { block: CodeBlock::new(self.language, self.code), line: self.line, closed }
    }
}

/// Whether a block's fence was closed, by a fence or by the end of the list item or quote that it stands in.
/// Only a block that reaches the end of the text is open.
fn has_closing_fence(markdown: &str, block: &Range<usize>, code_end: usize) -> bool {
    if markdown.get(block.end..).is_some_and(|after| !after.trim_start().is_empty()) {
        return true;
    }
    let after_code = markdown.get(code_end..block.end).unwrap_or_default();
    let rest = if code_end == block.start {
        // No code: what follows the line of the opening fence.
        after_code.split_once('\n').map_or("", |(_, rest)| rest)
    } else {
        after_code
    };
    rest.contains(['`', '~'])
}

/// The language that an info string names.
fn language(info: &str) -> Option<&str> {
    let info = info.trim();
    let name = match info.strip_prefix('{') {
        Some(attributes) => attribute_language(attributes.split('}').next().unwrap_or_default()),
        None => info.split([' ', '\t', ',', '{', ':']).next(),
    };
    name.filter(|name| !name.is_empty())
}

/// The language in `{.python #id}` of pandoc, or `{python, echo=FALSE}` of R Markdown and Quarto.
fn attribute_language(attributes: &str) -> Option<&str> {
    let mut words = attributes.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    let first = words.clone().next()?;
    let class = words.find_map(|word| word.strip_prefix('.'));
    class.or_else(|| (!first.starts_with('#') && !first.contains('=')).then_some(first))
}

/// Counts lines forward, so that a text of many blocks is read once.
struct LineCounter<'a> {
    text: &'a [u8],
    counted: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), counted: 0, line: 1 }
    }

    /// The line of the byte at `offset`, from 1; offsets come in order.
    fn line_at(&mut self, offset: usize) -> usize {
        let passed = self.text.get(self.counted..offset).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.counted = self.counted.max(offset);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(markdown: &str) -> Vec<(String, String)> {
        let text = |code: Vec<u8>| String::from_utf8(code).expect("Markdown is text");
        code_blocks(markdown).into_iter().map(|block| (block.language, text(block.code))).collect()
    }

    fn block(language: &str, code: &str) -> (String, String) {
        (language.to_owned(), code.to_owned())
    }

    #[test]
    fn blocks_come_in_order_with_code_as_written() {
        let markdown = "# Title\n```python\nif 1:\n\tprint(1)\n\n```\ntext\n```sh\necho 2\n```\n";
        assert_eq!(blocks(markdown), [block("python", "if 1:\n\tprint(1)\n\n"), block("sh", "echo 2\n")]);
    }

    #[test]
    fn tildes_fence_a_block() {
        assert_eq!(blocks("~~~bash\necho '```'\n~~~\n"), [block("bash", "echo '```'\n")]);
    }

    #[test]
    fn fence_in_a_longer_fence_is_code() {
        let markdown = "````markdown\n```python\nprint(1)\n```\n````\n";
        assert_eq!(blocks(markdown), [block("markdown", "```python\nprint(1)\n```\n")]);
    }

    #[test]
    fn crlf_lines_end_as_lf_in_the_code() {
        assert_eq!(
            blocks("a\r\n```python\r\nx = 1\r\n\r\nprint(x)\r\n```\r\n"),
            [block("python", "x = 1\n\nprint(x)\n")]
        );
    }

    #[test]
    fn indented_fence_takes_its_indentation_off_the_code() {
        assert_eq!(
            blocks("  ```python\n  if 1:\n      print(1)\n  ```\n"),
            [block("python", "if 1:\n    print(1)\n")]
        );
    }

    #[test]
    fn fence_in_a_list_is_a_block() {
        let markdown =
            "1. First:\n\n   ```python\n   print(1)\n   ```\n\n2. Then:\n   - ```sh\n     ls\n     ```\n";
        assert_eq!(blocks(markdown), [block("python", "print(1)\n"), block("sh", "ls\n")]);
    }

    #[test]
    fn fence_in_a_quote_is_a_block() {
        assert_eq!(
            blocks("> Say:\n> ```python\n> print(1)\n>\n> print(2)\n> ```\n"),
            [block("python", "print(1)\n\nprint(2)\n")]
        );
    }

    #[test]
    fn indented_code_and_inline_code_are_not_blocks() {
        assert_eq!(blocks("text\n\n    ```python\n    print(1)\n    ```\n\nand ```python print(2)```\n"), []);
    }

    #[test]
    fn fence_without_a_language_is_not_a_block() {
        assert_eq!(
            blocks("```\nrm -rf /\n```\n```   \nls\n```\n```python\n1\n```\n"),
            [block("python", "1\n")]
        );
    }

    #[test]
    fn info_string_names_the_language_first() {
        let named = [
            "python",
            " python ",
            "python title=\"x\"",
            "python\ttitle",
            "python,ignore",
            "python:app.py",
            "python{1,3}",
            "python {.numberLines}",
            "{.python}",
            "{ .python .numberLines }",
            "{#example .python}",
            "{python}",
            "{python, echo=FALSE}",
            "{python setup}",
            "{python",
        ];
        for info in named {
            assert_eq!(blocks(&format!("~~~{info}\n1\n~~~\n")), [block("python", "1\n")], "{info}");
        }
    }

    #[test]
    fn names_with_signs_are_kept_as_written() {
        for name in ["c++", "C#", "objective-c", "Python", "ps1"] {
            assert_eq!(blocks(&format!("```{name} x\n1\n```\n")), [block(name, "1\n")]);
        }
    }

    #[test]
    fn info_string_of_attributes_alone_names_no_language() {
        for info in ["{#example}", "{}", "{ }", "{key=value}", ",", ":x"] {
            assert_eq!(blocks(&format!("```{info}\n1\n```\n")), [], "{info}");
        }
    }

    #[test]
    fn empty_block_is_a_block() {
        assert_eq!(blocks("```python\n```\n"), [block("python", "")]);
        assert_eq!(blocks("> ```python\n> ```"), [block("python", "")]);
    }

    #[test]
    fn fence_open_at_the_end_of_the_text_is_not_a_block() {
        for markdown in [
            "```bash\nrm -rf /tmp/x",
            "```bash\nrm -rf /\n",
            "```bash\n    ```\n",
            "```bash\nls\n``\n",
            "```bash",
            "```bash\n",
            "~~~bash\nls\n```\n",
            "> ```bash\n> ls\n",
            "- ```bash\n  ls\n\n\n",
            "```bash\r\nls\r\n",
        ] {
            assert_eq!(blocks(markdown), [], "{markdown:?}");
            assert_eq!(fenced_blocks(markdown).len(), 1, "{markdown:?}");
            assert!(!fenced_blocks(markdown)[0].closed, "{markdown:?}");
        }
    }

    #[test]
    fn fence_closed_at_the_very_end_of_the_text_is_a_block() {
        for markdown in [
            "```bash\nls\n```",
            "```bash\nls\n`````  \n\n",
            "> ```bash\n> ls\n> ```",
            "- ```bash\n  ls\n  ```\n",
            "```bash\r\nls\r\n```\r\n",
            "~~~bash\nls\n~~~",
        ] {
            assert_eq!(blocks(markdown), [block("bash", "ls\n")], "{markdown:?}");
        }
    }

    #[test]
    fn fence_that_its_list_item_ends_is_a_block() {
        assert_eq!(blocks("- ```bash\n  ls\n- text\n"), [block("bash", "ls\n")]);
    }

    #[test]
    fn byte_order_mark_does_not_hide_the_first_fence() {
        assert_eq!(blocks("\u{feff}```sh\nls\n```\n"), [block("sh", "ls\n")]);
    }

    #[test]
    fn line_is_where_the_code_begins() {
        let markdown = "# Title\r\n\r\n```python\r\n1\r\n```\r\n\n> - ```sh\n>   ls\n>   ```\n";
        let lines: Vec<usize> = fenced_blocks(markdown).iter().map(|fenced| fenced.line).collect();
        assert_eq!(lines, [4, 8]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            code_blocks(&text);
        }

        #[test]
        fn any_text_of_markdown_signs_is_read_without_a_panic(text in "([`~>\\-{}.# \t\r\npy1é\u{feff}]|```|~~~){0,60}") {
            let lines = text.lines().count();
            for fenced in fenced_blocks(&text) {
                prop_assert!(fenced.line >= 2 && fenced.line <= lines + 1);
            }
        }

        #[test]
        fn code_without_fences_comes_back_as_it_went_in(code in "[a-z(){}\"'# \\\\\t\u{e9}]{0,40}(\n[a-z(){} \t]{0,40}){0,5}") {
            let markdown = format!("text\n\n```python\n{code}\n```\n");
            prop_assert_eq!(blocks(&markdown), [block("python", &format!("{code}\n"))]);
        }
    }
}
