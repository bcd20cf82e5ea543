//! The prompt of --confirm, on a terminal of its own.

use crate::{support::Place, terminal::Screen};

const TWO_BLOCKS: &str = "```sh\necho first\n```\n\n```sh\necho second\n```\n";

fn answered(answers: &[&str]) -> (String, Option<i32>) {
    let place = Place::with("a.md", TWO_BLOCKS);
    let mut screen = Screen::start(&place, &["run", "--no-sandbox", "--confirm", "a.md"]);
    for answer in answers {
        screen.wait_for("[q]uit: ");
        screen.type_in(answer);
    }
    screen.end()
}

fn ran(page: &str) -> (bool, bool) {
    let printed = |text: &str| page.lines().any(|line| line.trim_end() == text);
    (printed("first"), printed("second"))
}

#[test]
fn only_a_yes_runs_a_block() {
    let (page, status) = answered(&["n\n", "y\n"]);
    assert_eq!((ran(&page), status), ((false, true), Some(0)), "{page}");
}

#[test]
fn enter_alone_leaves_a_block_out() {
    let (page, status) = answered(&["\n", "\n"]);
    assert_eq!((ran(&page), status), ((false, false), Some(0)), "{page}");
}

#[test]
fn all_asks_no_more() {
    let (page, status) = answered(&["a\n"]);
    assert_eq!((ran(&page), status), ((true, true), Some(0)), "{page}");
}

#[test]
fn quit_runs_nothing_more_and_counts_as_cancelled() {
    let (page, status) = answered(&["y\n", "q\n"]);
    assert_eq!((ran(&page), status), ((true, false), Some(125)), "{page}");
}

#[test]
fn end_of_input_is_a_quit() {
    let (page, status) = answered(&["\x04"]);
    assert_eq!((ran(&page), status), ((false, false), Some(125)), "{page}");
}

#[test]
fn interrupt_at_the_prompt_is_a_quit() {
    let (page, status) = answered(&["\x03"]);
    assert_eq!((ran(&page), status), ((false, false), Some(125)), "{page}");
}

#[test]
fn answer_that_is_no_answer_is_asked_again() {
    let (page, status) = answered(&["what?\n", "y\n", "n\n"]);
    assert_eq!((ran(&page), status), ((true, false), Some(0)), "{page}");
}

#[test]
fn block_is_shown_before_the_question() {
    let (page, _) = answered(&["q\n"]);
    let shown = page.find("  | echo first").expect("the code is shown");
    assert!(shown < page.find("Run block 1/2?").expect("the question is asked"), "{page}");
    assert!(page.contains("Block 1/2, sh (a.md:2)"), "{page}");
}

#[test]
fn result_of_a_confirmed_run_counts_its_blocks_through() {
    let place = Place::with("a.md", TWO_BLOCKS);
    let mut screen = Screen::start(&place, &["run", "--no-sandbox", "--confirm", "--json", "a.md"]);
    for answer in ["y\n", "y\n"] {
        screen.wait_for("[q]uit: ");
        screen.type_in(answer);
    }
    let (page, status) = screen.end();
    let line = page.lines().find(|line| line.starts_with('{')).expect("the result is printed");
    let result: serde_json::Value = serde_json::from_str(line.trim_end()).expect("the result is JSON");
    assert_eq!((&result["output"], status), (&"first\nsecond\n".into(), Some(0)));
    assert_eq!(result["blocks"][1]["index"], 1);
}
