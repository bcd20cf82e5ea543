//! Code of any kind: what a model writes is not always what it should be, and nothing of it is Stockade's failure.

use stockade::{CodeBlock, Status};

use crate::{
    harness::{Place, start},
    support::{outcome, output, python, run, sh},
};

every_place!(
    empty_code_does_nothing,
    a_megabyte_of_code_runs,
    code_that_is_not_text_is_run_as_it_is,
    nul_in_code_is_the_interpreters_affair,
    code_that_is_no_code_is_the_interpreters_affair,
    a_hundred_blocks_are_a_call,
);

async fn empty_code_does_nothing(place: &dyn Place) {
    let session = start(place).await;
    for language in ["python", "sh", "json"] {
        let outcome = outcome(&session, CodeBlock::new(language, "")).await;
        assert_eq!((outcome.exit_code, outcome.stdout.is_empty()), (0, true), "{language}");
        assert!(outcome.code_file.is_some());
    }
}

async fn a_megabyte_of_code_runs(place: &dyn Place) {
    let session = start(place).await;
    let text = "x".repeat(1 << 20);
    assert_eq!(output(&session, python(format!("print(len('{text}'))"))).await, "1048576\n");
    assert_eq!(output(&session, sh(format!("{}\necho end", ": line\n".repeat(150_000)))).await, "end\n");
}

async fn code_that_is_not_text_is_run_as_it_is(place: &dyn Place) {
    let session = start(place).await;
    let raw = outcome(&session, sh(b"printf %s '\xff\xfe\xe9'".as_slice())).await;
    assert_eq!(raw.stdout.as_bytes(), b"\xff\xfe\xe9");
    let latin = outcome(&session, python(b"# coding: latin-1\nprint(ascii('\xe9'))".as_slice())).await;
    assert_eq!(latin.stdout.text(), "'\\xe9'\n", "{}", latin.stderr);
    let marked = outcome(&session, python(b"\xef\xbb\xbfprint('marked')".as_slice())).await;
    assert_eq!(marked.stdout.text(), "marked\n", "{}", marked.stderr);
}

async fn nul_in_code_is_the_interpreters_affair(place: &dyn Place) {
    let session = start(place).await;
    for code in [b"\0".as_slice(), b"print(1)\n\0\nprint(2)", b"# filename: a\0b.py\nprint(1)"] {
        for block in [python(code), sh(code)] {
            let outcome = outcome(&session, block).await;
            assert!(matches!(outcome.status, Status::Exited | Status::NotRun), "{outcome:?}");
        }
    }
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
}

async fn code_that_is_no_code_is_the_interpreters_affair(place: &dyn Place) {
    let session = start(place).await;
    let wrong = outcome(&session, python("def f(:\n")).await;
    assert_eq!((wrong.status, wrong.exit_code), (Status::Exited, 1));
    assert!(wrong.stderr.text().contains("SyntaxError"), "{}", wrong.stderr);
    let wrong = outcome(&session, sh("if then fi (")).await;
    assert_eq!((wrong.status, wrong.exit_code == 0, wrong.stderr.is_empty()), (Status::Exited, false, false));
}

async fn a_hundred_blocks_are_a_call(place: &dyn Place) {
    let session = start(place).await;
    let blocks: Vec<CodeBlock> = (0..100).map(|number| sh(format!("echo {number}"))).collect();
    let result = run(&session, &blocks).await;
    assert_eq!(result.output, (0..100).map(|number| format!("{number}\n")).collect::<String>());
}
