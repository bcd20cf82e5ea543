//! Line 1: each block is saved to a file in the workspace, and run there.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use stockade::{BlockOutcome, CodeBlock, Status};

use crate::{
    harness::{Place, start},
    support::{outcome, output, python, run, sh},
};

every_place!(
    a_block_that_names_no_file_is_called_by_the_hash_of_its_code,
    a_filename_line_names_the_file_and_makes_its_parents,
    after_a_hash_bang_the_second_line_names_the_file,
    a_filename_line_with_a_carriage_return_names_the_file,
    each_language_names_its_file_in_its_own_comments,
    a_block_uses_the_files_of_earlier_ones,
    a_name_can_be_used_again,
    odd_names_are_names,
    a_name_that_leaves_the_workspace_is_an_outcome,
    a_name_that_leaves_the_workspace_through_a_link_is_an_outcome,
    a_name_that_is_taken_by_no_regular_file_is_an_outcome,
    a_name_that_is_too_long_is_an_outcome,
);

async fn a_block_that_names_no_file_is_called_by_the_hash_of_its_code(place: &dyn Place) {
    let session = start(place).await;
    let code = "import hashlib, os\n\
        print(os.getcwd())\n\
        print(os.path.abspath(__file__))\n\
        print(hashlib.sha256(open(__file__, 'rb').read()).hexdigest())";
    let outcome = outcome(&session, python(code)).await;
    let text = outcome.stdout.text();
    let [directory, file, hash] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(file, format!("{directory}/tmp_code_{hash}.py"));
    let code_file = outcome.code_file.expect("it has a file");
    assert!(code_file.is_absolute());
    assert_eq!(code_file.file_name(), Path::new(file).file_name());
}

/// Prints the path of its file in the workspace.
const WHERE: &str = r#"echo "${0#"$PWD"/}""#;

async fn a_filename_line_names_the_file_and_makes_its_parents(place: &dyn Place) {
    let session = start(place).await;
    let outcome = outcome(&session, sh(format!("# filename: src/deep/app.sh\n{WHERE}"))).await;
    assert_eq!(outcome.output.text(), "src/deep/app.sh\n");
    assert!(outcome.code_file.is_some_and(|file| file.ends_with("src/deep/app.sh")));
}

async fn after_a_hash_bang_the_second_line_names_the_file(place: &dyn Place) {
    let session = start(place).await;
    let code = format!("#!/bin/sh\n# filename: second.sh\n{WHERE}");
    assert_eq!(output(&session, sh(code)).await, "second.sh\n");
    let code = format!("\n# filename: third.sh\n{WHERE}");
    assert!(output(&session, sh(code)).await.starts_with("tmp_code_"));
}

async fn a_filename_line_with_a_carriage_return_names_the_file(place: &dyn Place) {
    let session = start(place).await;
    let outcome = outcome(&session, python("# filename: windows.py\r\nprint('ran')\r\n")).await;
    assert_eq!((outcome.output.text().as_ref(), outcome.exit_code), ("ran\n", 0));
    assert!(outcome.code_file.is_some_and(|file| file.ends_with("windows.py")));
}

async fn each_language_names_its_file_in_its_own_comments(place: &dyn Place) {
    let session = start(place).await;
    for (language, code, name) in [
        ("html", "<!-- filename: page/index.html -->\n<p>", "page/index.html"),
        ("css", "/* filename: page/style.css */\np {}", "page/style.css"),
        ("sql", "-- filename: query.sql\nselect 1", "query.sql"),
        ("yaml", "# filename: data.yaml\na: 1", "data.yaml"),
        ("toml", "# filename: data.toml\na = 1", "data.toml"),
        ("markdown", "<!-- filename: notes.md -->\n# Notes", "notes.md"),
    ] {
        let saved = outcome(&session, CodeBlock::new(language, code)).await;
        assert_eq!((saved.status, saved.exit_code), (Status::NotRun, 0), "{language}: {}", saved.output);
        assert!(saved.code_file.is_some_and(|file| file.ends_with(name)), "{language}");
        assert_eq!(output(&session, sh(format!("cat {name}"))).await, code);
    }
    // JSON has no comments: a line that looks like one names nothing.
    let saved = outcome(&session, CodeBlock::new("json", "# filename: data.json\n{}")).await;
    assert!(saved.code_file.is_some_and(|file| !file.ends_with("data.json")));
}

async fn a_block_uses_the_files_of_earlier_ones(place: &dyn Place) {
    let session = start(place).await;
    let blocks = [
        python("# filename: greeting.py\nhello = 'hello'"),
        python("import greeting\nprint(greeting.hello)"),
    ];
    assert_eq!(run(&session, &blocks).await.output, "hello\n");
}

async fn a_name_can_be_used_again(place: &dyn Place) {
    let session = start(place).await;
    for text in ["a first version that is longer", "second"] {
        let code = format!("# filename: same.sh\necho {text}");
        assert_eq!(output(&session, sh(code)).await, format!("{text}\n"));
    }
}

async fn odd_names_are_names(place: &dyn Place) {
    let session = start(place).await;
    for name in [
        b"with a space.sh".as_slice(),
        b"it's \"quoted\" `$HOME` $(false).sh",
        b"-c.sh",
        b"#x # filename: y.sh",
        b"back\\slash.sh",
        b"..dots..sh",
        b"a..b/...sh",
        "\u{fc}n\u{ef}c\u{f6}de.sh".as_bytes(),
        b"not \xff\xfe text.sh",
        b"no ending",
        [b"x".repeat(200), b".sh".to_vec()].concat().leak(),
    ] {
        let shown = name.escape_ascii();
        let ran = outcome(&session, sh([b"# filename: ", name, b"\necho ran"].concat())).await;
        assert_eq!((ran.output.text().as_ref(), ran.exit_code), ("ran\n", 0), "{shown}");
        let file = ran.code_file.unwrap_or_default();
        assert!(file.ends_with(OsStr::from_bytes(name)), "{shown}: {}", file.display());
    }
}

fn assert_refused(outcome: &BlockOutcome, name: &str) {
    assert_eq!((outcome.status, outcome.exit_code), (Status::NotRun, 1), "{name}: {}", outcome.output);
    assert!(!outcome.output.is_empty(), "{name}: it says why");
}

fn assert_outside(outcome: &BlockOutcome, name: &str) {
    assert_refused(outcome, name);
    let said = outcome.output.text();
    assert!(said.starts_with("Filename is not in the workspace"), "{name}: {said}");
}

async fn a_name_that_leaves_the_workspace_is_an_outcome(place: &dyn Place) {
    let session = start(place).await;
    let nonce = std::process::id();
    for name in
        [format!("../out-{nonce}.sh"), format!("/tmp/out-{nonce}.sh"), format!("a/../../out-{nonce}.sh")]
    {
        let refused = outcome(&session, sh(format!("# filename: {name}\ntouch it_ran"))).await;
        assert_outside(&refused, &name);
        let look = format!("ls it_ran ../out-{nonce}.sh /tmp/out-{nonce}.sh 2>/dev/null || echo none");
        assert_eq!(output(&session, sh(look)).await, "none\n", "{name}");
    }
    assert_eq!(output(&session, sh("# filename: ./a//in.sh\necho ran")).await, "ran\n");
}

async fn a_name_that_leaves_the_workspace_through_a_link_is_an_outcome(place: &dyn Place) {
    let session = start(place).await;
    let target = format!("/tmp/target-{}", std::process::id());
    let links = format!("ln -s {target} file.sh; ln -s / root; mkdir sub; ln -s / sub/root");
    output(&session, sh(links)).await;
    for name in ["file.sh", &format!("root{target}"), &format!("sub/root{target}")] {
        let refused = outcome(&session, sh(format!("# filename: {name}\ntouch it_ran"))).await;
        assert_outside(&refused, name);
        let look = format!("ls it_ran {target} 2>/dev/null || echo none");
        assert_eq!(output(&session, sh(look)).await, "none\n", "{name}");
    }
    assert_eq!(output(&session, sh("# filename: sub/in.sh\necho ran")).await, "ran\n");
}

async fn a_name_that_is_taken_by_no_regular_file_is_an_outcome(place: &dyn Place) {
    let session = start(place).await;
    output(&session, sh("mkfifo fifo.sh; mkdir directory.sh; : > file")).await;
    for name in ["fifo.sh", "directory.sh", "file/below.sh", "new/"] {
        let refused = outcome(&session, sh(format!("# filename: {name}\ntouch it_ran"))).await;
        assert_refused(&refused, name);
    }
    assert_eq!(
        output(&session, sh("# filename: new/file.sh\nls it_ran || echo none")).await.lines().last(),
        Some("none")
    );
}

async fn a_name_that_is_too_long_is_an_outcome(place: &dyn Place) {
    let session = start(place).await;
    let name = "x".repeat(300);
    assert_refused(&outcome(&session, sh(format!("# filename: {name}\necho ran"))).await, &name);
    assert_eq!(output(&session, sh("echo ran")).await, "ran\n");
}
