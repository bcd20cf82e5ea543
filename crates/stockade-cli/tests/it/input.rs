//! Where the code comes from: Markdown files, stdin, source files and the command line.

use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};

use crate::support::{Place, assert_page};

#[test]
fn blocks_of_several_files_run_in_order() {
    let place = Place::with("a.md", "```sh\necho one\n```\n\n```python\nprint('two')\n```\n");
    place.write("b.markdown", "~~~ sh\necho three\n~~~\n");
    let ended = place.stockade(["run", "--no-sandbox", "a.md", "b.markdown"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("one\ntwo\nthree\n", Some(0)), "{ended}");
}

#[test]
fn markdown_comes_from_stdin() {
    let ended = Place::new().stockade_reading("```sh\necho in\n```\n", ["run", "--no-sandbox", "-"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("in\n", Some(0)), "{ended}");
}

#[test]
fn stdin_is_one_block_when_a_language_is_given() {
    let ended =
        Place::new().stockade_reading("print('```sh')\n", ["run", "--no-sandbox", "-l", "Python", "-"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("```sh\n", Some(0)), "{ended}");
}

#[test]
fn code_comes_from_the_command_line() {
    let ended = Place::new().stockade(["run", "--no-sandbox", "-l", "py", "-c", "print(6 * 7)"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("42\n", Some(0)), "{ended}");
}

#[test]
fn code_may_begin_with_a_dash() {
    let ended = Place::new().stockade(["run", "--no-sandbox", "-l", "python", "-c", "-1; print('ok')"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ok\n", Some(0)), "{ended}");
}

#[test]
fn source_file_runs_by_its_ending() {
    let place = Place::with("a.py", "print('py')\n");
    place.write("b.sh", "#!/bin/bash\necho ${BASH_VERSION:+bash}\n");
    let ended = place.stockade(["run", "--no-sandbox", "a.py", "b.sh"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("py\nbash\n", Some(0)), "{ended}");
}

#[test]
fn file_of_any_name_runs_in_the_language_that_is_given() {
    let place = Place::with("script", "print('ran')\n");
    let ended = place.stockade(["run", "--no-sandbox", "-l", "python", "script"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
}

#[test]
fn file_with_an_unknown_ending_asks_for_a_language() {
    let ended = Place::with("notes.xyz", "print(1)").stockade(["run", "notes.xyz"]);
    assert_page!(ended, @"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to tell the language of notes.xyz
    hint: name it with -l LANGUAGE (`stockade languages` lists them), or use an ending such as .py or .md
    ");
}

#[test]
fn file_that_does_not_exist_is_named() {
    assert_page!(Place::new().stockade(["run", "missing.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to read missing.md: No such file or directory (os error 2)
    hint: check the path and its permissions
    ");
}

#[test]
fn nothing_runs_when_one_input_can_not_be_read() {
    let place = Place::with("a.md", "```sh\necho ran\n```\n");
    let ended = place.stockade(["run", "a.md", "missing.md"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(2)), "{ended}");
}

#[test]
fn directory_is_refused() {
    assert_page!(Place::new().stockade(["run", "/usr"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to read /usr: Is a directory (os error 21)
    hint: give the files in it, for example with a pattern of the shell: DIR/*.md
    ");
}

#[test]
fn file_without_permission_to_read_is_refused() {
    let place = Place::with("a.md", "```sh\necho ran\n```\n");
    let file = place.path().join("a.md");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).expect("the file is ours");
    if std::fs::read(&file).is_ok() {
        eprintln!("skipped: root reads every file");
        return;
    }
    let ended = place.stockade(["run", "a.md"]);
    assert!(ended.stderr.contains("failed to read a.md: Permission denied"), "{ended}");
    assert_eq!(ended.status, Some(2));
}

#[test]
fn markdown_without_blocks_says_so() {
    let place = Place::with("prose.md", "# Title\n\n```\nno language\n```\n");
    assert_page!(place.stockade(["run", "prose.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: no code blocks in prose.md
    hint: a block is fenced by ``` or ~~~ and names its language: ```python
    ");
}

#[test]
fn markdown_without_blocks_beside_one_with_blocks_is_a_note() {
    let place = Place::with("prose.md", "# Title\n");
    place.write("code.md", "```sh\necho ran\n```\n");
    let ended = place.stockade(["run", "--no-sandbox", "prose.md", "code.md"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
    assert!(ended.stderr.contains("note: prose.md: no code blocks\n"), "{ended}");
}

#[test]
fn block_whose_fence_is_never_closed_is_not_run() {
    let place = Place::with("cut.md", "```sh\necho whole\n```\n\n```sh\nrm -rf /tmp/x");
    let ended = place.stockade(["run", "--no-sandbox", "cut.md"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("whole\n", Some(0)), "{ended}");
    assert!(ended.stderr.contains("cut.md:6: the sh block is not run, its fence is never closed"), "{ended}");
}

#[test]
fn markdown_that_is_not_utf8_is_read() {
    let place = Place::with("latin.md", b"# caf\xe9\n```sh\necho ran\n```\n");
    let ended = place.stockade(["run", "--no-sandbox", "latin.md"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
}

#[test]
fn stdin_can_be_read_once() {
    let ended = Place::new().stockade_reading("", ["run", "-", "-"]);
    assert_page!(ended, @"
    status: Some(2)
    --- stdout
    --- stderr
    error: `-` was given twice, but stdin can be read only once
    hint: give `-` once
    ");
}

#[test]
fn file_name_that_is_not_text_is_no_obstacle() {
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.md");
    std::fs::write(place.path().join(name), "```sh\necho ran\n```\n").expect("the file can be written");
    let ended = place.stockade([std::ffi::OsStr::new("run"), name]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
}

#[test]
fn example_runs() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello.md");
    let ended = Place::new().stockade(["run", "--no-sandbox", example]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stdout.ends_with("Hello, Perl! The squares add up to 55.\n"), "{ended}");
    assert!(ended.stderr.contains("this line went to stderr\n"), "{ended}");
}
