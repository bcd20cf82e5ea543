//! Lines that start with `!` in Python run in the shell, as in a notebook.

use crate::{
    harness::{Place, start},
    support::{outcome, output, python},
};

every_place!(
    a_line_that_starts_with_a_bang_runs_in_the_shell_at_that_point,
    a_shell_line_that_fails_does_not_end_the_block,
    a_bang_within_a_string_is_left_alone,
    line_numbers_in_tracebacks_are_the_blocks_own,
);

async fn a_line_that_starts_with_a_bang_runs_in_the_shell_at_that_point(place: &dyn Place) {
    let session = start(place).await;
    let code = "print('one')\n!echo two $((1 + 1))\nfor n in range(2):\n    !echo in a loop\nprint('last')\n";
    assert_eq!(output(&session, python(code)).await, "one\ntwo 2\nin a loop\nin a loop\nlast\n");
}

async fn a_shell_line_that_fails_does_not_end_the_block(place: &dyn Place) {
    let session = start(place).await;
    assert_eq!(
        output(&session, python("!exit 3\n!stockade-no-such-program 2>/dev/null\nprint('on')")).await,
        "on\n"
    );
}

async fn a_bang_within_a_string_is_left_alone(place: &dyn Place) {
    let session = start(place).await;
    let code = "print('''\n!echo no\n''', 1\n!= 2)\n";
    assert_eq!(output(&session, python(code)).await, "\n!echo no\n True\n");
}

async fn line_numbers_in_tracebacks_are_the_blocks_own(place: &dyn Place) {
    let session = start(place).await;
    let failed = outcome(&session, python("# filename: lines.py\n!echo a \\\n  b\n\nraise KeyError\n")).await;
    assert_eq!((failed.exit_code, failed.stdout.text()), (1, "a b\n".into()));
    assert!(failed.stderr.text().contains("line 5"), "{}", failed.stderr);
}
