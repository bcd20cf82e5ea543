//! What a host puts into the workspace and takes from it, and how it learns what has changed there.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, fs::symlink},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{
    Changes, Entry, Failure, Part, Refusal, Reply, Request, RunSpec, VERSION,
};

use crate::harness::{Runner, Setup, exited, sh, until_file, whole};

fn part(offset: u64, contents: &[u8]) -> Entry {
    Entry::File { offset, executable: false, contents: ByteBuf::from(contents) }
}

fn link(target: &str) -> Entry {
    Entry::Symlink { target: ByteBuf::from(target) }
}

fn refused(doing: &str, why: &str, errno: Option<i32>) -> Failure {
    Failure { doing: format!("{doing} in the workspace"), why: why.to_owned(), errno }
}

fn mode(runner: &Runner, name: &str) -> u32 {
    fs::metadata(runner.path(name)).expect("it is there").permissions().mode() & 0o7777
}

// Parts.

#[test]
fn a_file_goes_in_and_comes_out_in_parts() {
    let mut runner = Runner::start();
    let contents: Vec<u8> = (0..10_000_000u32).map(|number| (number % 251) as u8).collect();
    let mut offset = 0;
    for bytes in contents.chunks(3_000_000) {
        let path = runner.save("a/b/large", part(offset, bytes)).expect("saved");
        assert_eq!(path, runner.path("a/b/large"));
        offset += bytes.len() as u64;
    }
    assert!(fs::read(runner.path("a/b/large")).expect("it is there") == contents);
    let mut read = Vec::new();
    while read.len() < contents.len() {
        let part = runner.read_part("a/b/large", read.len() as u64, u64::MAX).expect("read");
        assert_eq!((part.size, part.executable), (10_000_000, false));
        assert!((1..=4 << 20).contains(&part.contents.len()), "{}", part.contents.len());
        read.extend_from_slice(&part.contents);
    }
    assert!(read == contents);
}

#[test]
fn a_part_has_the_bytes_that_were_asked_for_and_none_at_the_end() {
    let mut runner = Runner::start();
    runner.save("digits", whole("0123456789")).expect("saved");
    for (offset, length, expected) in
        [(0, 10, "0123456789"), (3, 4, "3456"), (8, 100, "89"), (10, 5, ""), (1000, 5, ""), (2, 0, "")]
    {
        let expected = Part { contents: ByteBuf::from(expected), size: 10, executable: false };
        assert_eq!(runner.read_part("digits", offset, length), Ok(expected), "{offset} {length}");
    }
    assert!(runner.read_part("digits", u64::MAX, 1).is_err());
}

#[test]
fn a_part_that_does_not_follow_the_last_one_is_refused_and_changes_nothing() {
    let mut runner = Runner::start();
    runner.save("file", part(0, b"0123")).expect("saved");
    for offset in [1, 3, 5, u64::MAX] {
        let why = format!("file has 4 bytes, and the part begins at {offset}");
        assert_eq!(runner.save("file", part(offset, b"x")), Err(refused("write file", &why, None)));
    }
    let missing = "No such file or directory (os error 2)";
    for name in ["missing", "missing/below"] {
        let failure = refused(&format!("write {name}"), missing, Some(2));
        assert_eq!(runner.save(name, part(4, b"x")), Err(failure));
    }
    assert_eq!(runner.names(), ["file"]);
    runner.save("file", part(4, b"4567")).expect("saved");
    assert_eq!(runner.file("file"), "01234567");
    runner.save("file", part(0, b"new")).expect("saved");
    assert_eq!(runner.file("file"), "new", "the first part empties it");
}

#[test]
fn a_file_that_may_be_executed_goes_in_and_comes_out_as_such() {
    let mut runner = Runner::start();
    let part =
        |offset, contents: &str| Entry::File { offset, executable: true, contents: ByteBuf::from(contents) };
    runner.save("tool", part(0, "#!/bin/sh\n")).expect("saved");
    runner.save("tool", part(10, "echo runs\n")).expect("saved");
    runner.save("plain", whole("echo no\n")).expect("saved");
    assert_eq!(runner.ran(sh("./tool")).status_and_stdout(), (exited(0), "runs\n".into()));
    assert!(runner.read_part("tool", 0, 0).expect("read").executable);
    assert!(!runner.read_part("plain", 0, 0).expect("read").executable);
    let (tool, plain) = (mode(&runner, "tool"), mode(&runner, "plain"));
    assert_eq!(tool, plain | (plain & 0o444) >> 2);
}

#[test]
fn a_part_does_not_go_into_the_file_of_a_run() {
    let mut runner = Runner::start();
    let code = format!("# filename: same.sh\ntouch ready; {}; echo mine", until_file("go"));
    let run = runner.run(sh(&code));
    runner.file("ready");
    let held = refused("write same.sh", "another run holds the file", None);
    assert_eq!(runner.save("same.sh", part(0, b"x")), Err(held.clone()));
    assert_eq!(runner.save("same.sh", part(code.len() as u64, b"x")), Err(held));
    assert_eq!(runner.read_part("same.sh", 0, 1000).expect("read").contents, code.as_bytes());
    runner.touch("go");
    assert_eq!(runner.finished(run).stdout(), "mine\n");
    runner.save("same.sh", part(code.len() as u64, b"\n")).expect("saved");
}

// Directories and links.

#[test]
fn directories_and_links_are_made_and_made_again() {
    let mut runner = Runner::start();
    for _ in 0..2 {
        assert_eq!(runner.save("a/b/c", Entry::Directory), Ok(runner.path("a/b/c")));
    }
    for target in ["../nowhere", "b", "/etc/hostname"] {
        runner.save("a/new/link", link(target)).expect("made");
        assert_eq!(fs::read_link(runner.path("a/new/link")).expect("a link").to_str(), Some(target));
    }
    assert!(runner.path("a/b/c").is_dir());
}

#[test]
fn neither_a_directory_nor_a_link_takes_the_place_of_something_else() {
    let mut runner = Runner::start();
    runner.save("file", whole("mine")).expect("saved");
    runner.save("folder/file", whole("mine")).expect("saved");
    symlink("folder", runner.path("link")).expect("linked");
    for (path, why, errno) in [
        ("file", "Not a directory (os error 20)", Some(20)),
        ("file/below", "Not a directory (os error 20)", Some(20)),
        ("link", "Filename is not in the workspace: link is a symbolic link", None),
        ("link/below", "Filename is not in the workspace: link is a symbolic link", None),
    ] {
        let failure = refused(&format!("write {path}"), why, errno);
        assert_eq!(runner.save(path, Entry::Directory), Err(failure));
    }
    for path in ["file", "folder"] {
        let why = format!("{path} is there and is not a symbolic link");
        assert_eq!(runner.save(path, link("x")), Err(refused(&format!("write {path}"), &why, None)));
    }
    assert_eq!(runner.file("folder/file") + &runner.file("file"), "minemine");
    assert_eq!(runner.names(), ["file", "folder", "link"]);
}

// What is not in the workspace.

#[test]
fn nothing_is_read_or_written_that_is_not_a_file_in_the_workspace() {
    let mut runner = Runner::start();
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("secret"), "secret").expect("written");
    symlink(outside.path(), runner.path("way")).expect("linked");
    symlink(outside.path().join("secret"), runner.path("secret")).expect("linked");
    symlink("file", runner.path("inner")).expect("linked");
    fs::create_dir(runner.path("folder")).expect("a directory");
    mknodat(CWD, runner.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a fifo");
    std::os::unix::net::UnixListener::bind(runner.path("socket")).expect("a socket");
    runner.save("file", whole("file")).expect("saved");

    let not_in = |why: &str| format!("Filename is not in the workspace: {why}");
    let special = |path: &str| format!("{path} is there and is not a regular file");
    for (path, why) in [
        ("way/secret", not_in("way is a symbolic link")),
        ("secret", not_in("secret is a symbolic link")),
        ("inner", not_in("inner is a symbolic link")),
        ("../file", not_in("it has a `..` in it, and only paths that go down are taken")),
        ("/etc/passwd", not_in("it is an absolute path, and only a relative one is taken")),
        ("fifo", special("fifo")),
        ("socket", special("socket")),
        ("folder", special("folder")),
    ] {
        let (read, write) = (format!("read {path}"), format!("write {path}"));
        assert_eq!(runner.read_part(path, 0, 100), Err(refused(&read, &why, None)));
        assert_eq!(runner.save(path, part(6, b"x")), Err(refused(&write, &why, None)));
        assert_eq!(runner.save(path, part(0, b"x")), Err(refused(&write, &why, None)));
    }
    assert_eq!(
        runner.read_part("missing", 0, 1),
        Err(refused("read missing", "No such file or directory (os error 2)", Some(2)))
    );
    assert_eq!(runner.read_part("file", 0, 100).expect("read").contents, b"file");
    assert_eq!(fs::read(outside.path().join("secret")).expect("it is there"), b"secret");
}

// Changes.

/// Asks for what has changed when all that was done before lies behind the clock of the file system.
fn settled(runner: &mut Runner) -> (Vec<(String, u64)>, Vec<String>) {
    runner.ran(sh("# filename: settle.sh\nsleep 0.05"));
    let Changes { changed, deleted, truncated } = runner.changes();
    assert!(!truncated);
    let text = |path: ByteBuf| String::from_utf8(path.into_vec()).expect("text");
    let changed = changed.into_iter().map(|file| (text(file.path), file.size));
    let changed = changed.filter(|(path, _)| path != "settle.sh");
    (changed.collect(), deleted.into_iter().map(text).collect())
}

#[test]
fn a_host_is_told_of_every_file_at_first_and_then_of_what_has_changed() {
    let mut runner = Runner::start();
    runner.save("b", whole("1")).expect("saved");
    runner.save("a/deep/file", whole("22")).expect("saved");
    runner.save("empty", Entry::Directory).expect("made");
    runner.save("link", link("b")).expect("made");
    assert_eq!(settled(&mut runner), (vec![("a/deep/file".into(), 2), ("b".into(), 1)], vec![]));
    assert_eq!(settled(&mut runner), (vec![], vec![]));
    runner.ran(sh("# filename: settle.sh\nprintf 333 > b; mv a moved; mkdir .git; echo > .git/x"));
    let expected = (vec![("b".into(), 3), ("moved/deep/file".into(), 2)], vec!["a/deep/file".into()]);
    assert_eq!(settled(&mut runner), expected);
    assert_eq!(settled(&mut runner), (vec![], vec![]));
}

#[test]
fn a_host_is_told_of_a_generated_file_only_when_it_stays() {
    for cleans_up in [false, true] {
        let setup = if cleans_up { Setup::new().cleanup_temp_files() } else { Setup::new() };
        let mut runner = setup.start();
        let run = runner.run(sh(format!("touch ready; {}", until_file("go"))));
        runner.file("ready");
        let changed = runner.changes().changed;
        let generated = changed.iter().filter(|file| file.path.starts_with(b"tmp_code_")).count();
        assert_eq!((changed.len(), generated), if cleans_up { (1, 0) } else { (2, 1) });
        runner.touch("go");
        runner.finished(run);
    }
}

#[test]
fn a_host_is_told_when_there_is_more_than_is_looked_at() {
    let mut runner = Runner::start();
    runner.save("kept", whole("")).expect("saved");
    assert_eq!(settled(&mut runner).0.len(), 1);
    runner.ran(sh("# filename: settle.sh\nmkdir many; cd many; seq 20001 | xargs touch; rm ../kept"));
    let changes = runner.changes();
    assert!(changes.truncated && changes.deleted.is_empty());
    fs::remove_dir_all(runner.path("many")).expect("removed");
    let (changed, deleted) = settled(&mut runner);
    assert_eq!(changed, []);
    assert!(deleted.contains(&"kept".to_owned()));
}

#[test]
fn a_host_is_told_that_all_is_gone_when_the_workspace_is() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let workspace = folder.path().join("workspace");
    fs::create_dir(&workspace).expect("a directory");
    let mut runner = Setup::at(&workspace).start();
    runner.save("file", whole("")).expect("saved");
    assert_eq!(runner.changes().changed.len(), 1);
    fs::remove_dir_all(&workspace).expect("removed");
    let expected = Changes { deleted: vec![ByteBuf::from("file")], ..Changes::default() };
    assert_eq!(runner.changes(), expected);
}

// The witness.

/// What a session with this witness is answered.
fn answer(prepare: impl FnOnce(&std::path::Path), witness: &str) -> Reply {
    let folder = tempfile::tempdir().expect("a temporary directory");
    prepare(folder.path());
    let mut setup = Setup::at(folder.path());
    setup.session.witness = Some(ByteBuf::from(witness));
    let session = setup.session.clone();
    let mut runner = setup.connect();
    assert_eq!(runner.reply(), Some(Reply::Hello { version: VERSION }));
    runner.send(&Request::Start(session));
    let reply = runner.reply().expect("an answer");
    if let Reply::StartFailed { .. } = reply {
        assert_eq!(runner.reply(), None);
        runner.exit();
    }
    reply
}

#[test]
fn a_session_starts_where_its_witness_is() {
    let ready = answer(|folder| fs::write(folder.join("witness"), "").expect("written"), "witness");
    assert!(matches!(ready, Reply::Ready { .. }), "{ready:?}");
    let below = |folder: &std::path::Path| {
        fs::create_dir(folder.join("a")).expect("a directory");
        fs::write(folder.join("a/witness"), "").expect("written");
    };
    let ready = answer(below, "a/witness");
    assert!(matches!(ready, Reply::Ready { .. }), "{ready:?}");
}

#[test]
fn a_session_does_not_start_where_its_witness_is_not() {
    let elsewhere = |witness: &str, why: &str, errno| Reply::StartFailed {
        refusal: Refusal::Elsewhere,
        failure: refused(&format!("find {witness}"), why, errno),
    };
    let missing = "No such file or directory (os error 2)";
    assert_eq!(answer(|_| {}, "witness"), elsewhere("witness", missing, Some(2)));
    assert_eq!(answer(|_| {}, "a/witness"), elsewhere("a/witness", missing, Some(2)));
    let linked =
        answer(|folder| symlink("/etc/hostname", folder.join("witness")).expect("linked"), "witness");
    let why = "Filename is not in the workspace: witness is a symbolic link";
    assert_eq!(linked, elsewhere("witness", why, None));
    let folder = answer(|folder| fs::create_dir(folder.join("witness")).expect("a directory"), "witness");
    assert_eq!(folder, elsewhere("witness", "witness is there and is not a regular file", None));
    let why = "Filename is not in the workspace: it is an absolute path, and only a relative one is taken";
    assert_eq!(answer(|_| {}, "/etc/hostname"), elsewhere("/etc/hostname", why, None));
}

// Blocks of Stockade's own.

#[test]
fn the_file_of_a_block_that_is_to_be_discarded_is_removed_though_the_session_keeps_them() {
    let mut runner = Runner::start();
    let discarded = RunSpec { discard_file: true, ..sh("echo 1; [ -k \"$0\" ]") };
    assert_eq!(runner.ran(discarded).status_and_stdout(), (exited(0), "1\n".into()));
    runner.round_trip();
    assert_eq!(runner.names(), [""; 0]);
    runner.ran(sh("echo 2"));
    assert_eq!(runner.names().len(), 1);
}

#[test]
fn a_file_that_is_to_be_discarded_stays_when_somebody_else_keeps_it_or_named_it() {
    let mut runner = Runner::start();
    runner.ran(sh("echo same"));
    let discarded = RunSpec { discard_file: true, ..sh("echo same") };
    assert_eq!(runner.ran(discarded).stdout(), "same\n");
    let named = RunSpec { discard_file: true, ..sh("# filename: named.sh\necho named") };
    assert_eq!(runner.ran(named).stdout(), "named\n");
    runner.round_trip();
    assert_eq!(runner.names().len(), 2);
    assert!(runner.names().contains(&"named.sh".to_owned()));
}
