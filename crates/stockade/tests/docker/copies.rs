//! A work_dir that is copied: what goes into the container at the start, what comes back after each block, what does
//! not, and single files that are put and got.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileTypeExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use stockade::{BlockOutcome, Change, DockerCommandLineCodeExecutorBuilder, Error, Session, WorkspaceMode};
use tempfile::TempDir;

use crate::{
    engine::{builder, start},
    leftovers::refusal,
    support::{outcome, output, python, sh, wait_for_file},
};

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

/// A builder whose sessions copy this directory.
fn copying(work_dir: &Path) -> Option<DockerCommandLineCodeExecutorBuilder> {
    Some(builder()?.workspace(WorkspaceMode::Copy).work_dir(work_dir))
}

/// A session that has copied a directory with what `fill` puts there; `None` when the test is to be skipped.
async fn copy(fill: impl FnOnce(&Path)) -> Option<(Session, TempDir)> {
    let directory = temporary();
    let builder = copying(directory.path())?;
    fill(directory.path());
    let session = start(builder.delete_tmp_files(true)).await;
    assert_eq!(session.info().container.as_ref().map(|info| info.workspace), Some(WorkspaceMode::Copy));
    Some((session, directory))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("it is there")
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// The files that a block changed, in order.
fn changes(outcome: &BlockOutcome) -> Vec<(&str, Change)> {
    let mut changes: Vec<_> =
        outcome.files.iter().map(|file| (file.path.to_str().expect("it is text"), file.change)).collect();
    changes.sort_by_key(|(path, _)| *path);
    changes
}

/// A block whose process must end well. Its notices are in its output.
async fn ran(session: &Session, code: &str) -> BlockOutcome {
    let ran = outcome(session, sh(code)).await;
    assert_eq!(ran.exit_code, 0, "{}", ran.output);
    ran
}

#[tokio::test]
async fn everything_that_can_be_copied_arrives() {
    let fill = |work_dir: &Path| {
        fs::create_dir_all(work_dir.join("deep/down")).expect("it is made");
        fs::create_dir_all(work_dir.join("empty/too")).expect("it is made");
        fs::write(work_dir.join("deep/down/ünï code"), "contents\n").expect("it is written");
        fs::write(work_dir.join("nothing"), "").expect("it is written");
        fs::write(work_dir.join("run"), "#!/bin/sh\necho I run\n").expect("it is written");
        fs::set_permissions(work_dir.join("run"), Permissions::from_mode(0o755)).expect("it is ours");
        symlink("deep/down", work_dir.join("link")).expect("it is made");
        symlink("/nowhere", work_dir.join("dangling")).expect("it is made");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            work_dir.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("it is made");
    };
    let Some((session, _directory)) = copy(fill).await else { return };
    let see = "./run; cat 'link/ünï code' nothing; ls -d empty/too; readlink link dangling; ls pipe 2>/dev/null; \
        [ -x nothing ] || echo plain";
    let expected = "I run\ncontents\nempty/too\ndeep/down\n/nowhere\nplain\n";
    assert_eq!(output(&session, sh(see)).await, expected);
}

#[tokio::test]
async fn what_blocks_create_and_change_comes_back_after_each() {
    let fill = |work_dir: &Path| {
        fs::write(work_dir.join("kept"), "as it was").expect("it is written");
        fs::write(work_dir.join("changed"), "before").expect("it is written");
    };
    let Some((session, directory)) = copy(fill).await else { return };
    let work_dir = directory.path();
    let first =
        ran(&session, "mkdir -p a/b; echo new > a/b/made; printf after > changed; cp /bin/true run").await;
    assert_eq!(
        changes(&first),
        [("a/b/made", Change::Created), ("changed", Change::Changed), ("run", Change::Created)]
    );
    assert!(!first.files_truncated);
    assert_eq!(
        (read(work_dir.join("a/b/made")), read(work_dir.join("changed"))),
        ("new\n".into(), "after".into())
    );
    assert_eq!((mode(work_dir.join("run")) & 0o100, mode(work_dir.join("changed")) & 0o100), (0o100, 0));
    // What the host changes later is not seen, and not overwritten as long as no block changes it.
    fs::write(work_dir.join("kept"), "mine").expect("it is written");
    ran(&session, "[ \"$(cat kept)\" = 'as it was' ]; echo more >> a/b/made").await;
    assert_eq!(
        (read(work_dir.join("a/b/made")), read(work_dir.join("kept"))),
        ("new\nmore\n".into(), "mine".into())
    );
    session.stop().await.expect("it stops");
    assert_eq!(read(work_dir.join("a/b/made")), "new\nmore\n");
}

#[tokio::test]
async fn what_a_background_process_makes_comes_back_with_the_next_block() {
    let Some((session, directory)) = copy(|_| {}).await else { return };
    ran(&session, &format!("({}echo late > late) & :", wait_for_file("go"))).await;
    assert!(!directory.path().join("late").exists());
    ran(&session, &format!("touch go; {}", wait_for_file("late"))).await;
    ran(&session, "until [ -s late ]; do sleep 0.02; done").await;
    assert_eq!(read(directory.path().join("late")), "late\n");
}

#[tokio::test]
async fn deletions_are_told_and_not_applied() {
    let fill = |work_dir: &Path| {
        fs::create_dir(work_dir.join("folder")).expect("it is made");
        fs::write(work_dir.join("folder/file"), "kept").expect("it is written");
        fs::write(work_dir.join("other"), "kept").expect("it is written");
    };
    let Some((session, directory)) = copy(fill).await else { return };
    let ran = ran(&session, "rm -r folder other; echo new > new").await;
    let expected = [("folder/file", Change::Deleted), ("new", Change::Created), ("other", Change::Deleted)];
    assert_eq!(changes(&ran), expected);
    assert_eq!(
        (read(directory.path().join("folder/file")), read(directory.path().join("other"))),
        ("kept".into(), "kept".into())
    );
}

#[tokio::test]
async fn a_block_that_fails_or_is_ended_brings_back_what_it_made() {
    let Some((session, directory)) = copy(|_| {}).await else { return };
    let failed = outcome(&session, sh("echo x > failed; exit 3")).await;
    assert_eq!((failed.exit_code, read(directory.path().join("failed"))), (3, "x\n".into()));
    let blocks = [sh("echo x > ended; sleep 600")];
    let call = session.call(&blocks[..]).timeout(std::time::Duration::from_secs(1));
    let ended = call.run().await.expect("Stockade does its part");
    assert_eq!((ended.exit_code, read(directory.path().join("ended"))), (124, "x\n".into()));
}

#[tokio::test]
async fn files_of_blocks_are_on_this_host_unless_they_are_cleaned_up() {
    for (clean, there) in [(false, true), (true, false)] {
        let directory = temporary();
        let Some(builder) = copying(directory.path()) else { return };
        let session = start(builder.delete_tmp_files(clean)).await;
        let generated = outcome(&session, sh("echo generated")).await.code_file.expect("it was saved");
        assert_eq!((generated.parent(), generated.exists()), (Some(directory.path()), there));
        let named = outcome(&session, sh("# filename: src/named.sh\necho named")).await;
        assert_eq!(named.code_file, Some(directory.path().join("src/named.sh")));
        assert_eq!(read(directory.path().join("src/named.sh")), "# filename: src/named.sh\necho named");
        session.stop().await.expect("it stops");
        assert_eq!(generated.exists(), there);
    }
}

#[tokio::test]
async fn a_work_dir_that_is_too_large_is_refused() {
    let directory = temporary();
    let Some(builder) = copying(directory.path()) else { return };
    let sparse = File::create(directory.path().join("sparse")).expect("it is made");
    sparse.set_len((256 << 20) + 1).expect("there is no need of space");
    let too_large = refusal(builder.clone()).await;
    fs::remove_file(directory.path().join("sparse")).expect("it is there");
    (0..10_001).for_each(|number| {
        drop(File::create(directory.path().join(number.to_string())).expect("it is made"))
    });
    let too_many = refusal(builder.clone()).await;
    for error in [too_large, too_many] {
        assert!(matches!(&error, Error::Copy { path, .. } if path == directory.path()), "{error:?}");
        assert!(error.to_string().contains("10000 files or 256 MiB"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("smaller work_dir")), "{:?}", error.hint());
    }
    fs::remove_file(directory.path().join("0")).expect("it is there");
    let session = start(builder).await;
    assert_eq!(output(&session, sh("ls | grep -c '^[0-9]*$'")).await, "10000\n");
}

#[tokio::test]
async fn what_comes_back_goes_through_no_link_of_this_host() {
    let outside = temporary();
    fs::write(outside.path().join("victim"), "safe").expect("it is written");
    let fill = |work_dir: &Path| {
        symlink(outside.path(), work_dir.join("out")).expect("it is made");
        symlink(outside.path().join("victim"), work_dir.join("file")).expect("it is made");
        fs::create_dir(work_dir.join("folder")).expect("it is made");
        fs::write(work_dir.join("plain"), "before").expect("it is written");
    };
    let Some((session, directory)) = copy(fill).await else { return };
    let code = "rm out file; mkdir out; echo evil > out/victim; echo evil > file; rmdir folder; echo evil > folder; \
        rm plain; mkdir plain; echo evil > plain/x; echo good > good";
    let told = ran(&session, code).await;
    assert!(told.files_truncated);
    assert!(told.output.text().contains("4 changed files were not copied back"), "{}", told.output);
    for name in ["out/victim", "file", "folder", "plain/x"] {
        assert!(told.output.text().contains(&format!("  {name}: ")), "{name} in {}", told.output);
    }
    assert_eq!(read(outside.path().join("victim")), "safe");
    assert_eq!(fs::read_dir(outside.path()).expect("it is there").count(), 1);
    let work_dir = directory.path();
    assert!(work_dir.join("out").is_symlink() && work_dir.join("file").is_symlink());
    assert!(work_dir.join("folder").is_dir());
    assert_eq!(
        (read(work_dir.join("plain")), read(work_dir.join("good"))),
        ("before".into(), "good\n".into())
    );
}

#[tokio::test]
async fn a_link_that_this_host_gets_later_is_not_followed_either() {
    let outside = temporary();
    let Some((session, directory)) = copy(|_| {}).await else { return };
    ran(&session, "mkdir folder; echo one > folder/file").await;
    fs::remove_dir_all(directory.path().join("folder")).expect("it is there");
    symlink(outside.path(), directory.path().join("folder")).expect("it is made");
    let told = ran(&session, "echo two > folder/file").await;
    assert!(told.files_truncated, "{}", told.output);
    assert_eq!(fs::read_dir(outside.path()).expect("it is there").count(), 0);
}

#[tokio::test]
async fn only_regular_files_come_back_and_without_special_bits() {
    let Some((session, directory)) = copy(|_| {}).await else { return };
    let code = "mkfifo pipe; mknod null c 1 3; ln -s /etc/passwd link; mkdir folder; \
        python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"; \
        cp /bin/sh shell; chmod 6755 shell; cp /bin/sh folder/sticky; chmod 1711 folder/sticky";
    ran(&session, code).await;
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory.path()).expect("it is there").flatten() {
        let kind = entry.file_type().expect("it is there");
        assert!(!kind.is_fifo() && !kind.is_char_device() && !kind.is_socket() && !kind.is_symlink());
        found.push(entry.file_name().into());
    }
    found.sort();
    assert_eq!(found, ["folder", "shell"].map(PathBuf::from));
    assert_eq!(mode(directory.path().join("shell")) & 0o7100, 0o100);
    assert_eq!(mode(directory.path().join("folder/sticky")) & 0o7100, 0o100);
}

#[tokio::test]
async fn a_large_file_is_the_same_after_the_way_there_and_back() {
    let contents: Vec<u8> =
        (0..20_000_003_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let Some((session, directory)) =
        copy(|work_dir| fs::write(work_dir.join("there"), &contents).expect("it fits")).await
    else {
        return;
    };
    ran(&session, "cp there back; rm there").await;
    assert!(fs::read(directory.path().join("back")).expect("it is there") == contents);
}

#[tokio::test]
async fn more_than_the_limits_does_not_come_back_and_that_is_told() {
    let Some((session, directory)) = copy(|_| {}).await else { return };
    let large = ran(&session, "truncate -s 257M huge; echo small > small").await;
    assert!(large.files_truncated);
    assert!(
        large.output.text().contains("huge: the limit of 256 MiB a block is reached"),
        "{}",
        large.output
    );
    assert!(!directory.path().join("huge").exists());
    assert_eq!(read(directory.path().join("small")), "small\n");
    let many = "import os\nos.remove('huge')\nos.mkdir('many')\nfor number in range(10_500):\n    \
        open(f'many/{number}', 'w').close()";
    let many = outcome(&session, python(many)).await;
    assert!(many.files_truncated);
    let told = many.output.text();
    assert!(told.contains("changed files were not copied back to the work_dir\n  many/"), "{told}");
    assert!(told.contains(": the limit of 10000 files a block is reached\n"), "{told}");
    // What was changed just before may be told once more.
    let came = fs::read_dir(directory.path().join("many")).expect("it is there").count();
    assert!((9_990..=10_000).contains(&came), "{came}");
    // And the session goes on as ever.
    let after = ran(&session, "echo goes on > small").await;
    assert!(after.output.is_empty(), "{}", after.output);
    assert_eq!(read(directory.path().join("small")), "goes on\n");
}

#[tokio::test]
async fn calls_at_the_same_time_find_their_files_when_they_return() {
    let Some((session, directory)) = copy(|_| {}).await else { return };
    let call = async |number: usize| {
        for round in 0..10 {
            let name = format!("made-{number}-{round}");
            output(&session, sh(format!("echo {name} > {name}; echo {number} {round} > latest-{number}")))
                .await;
            assert_eq!(read(directory.path().join(&name)), format!("{name}\n"));
            assert_eq!(
                read(directory.path().join(format!("latest-{number}"))),
                format!("{number} {round}\n")
            );
        }
    };
    tokio::join!(call(0), call(1), call(2), call(3));
}

#[tokio::test]
async fn two_sessions_copy_one_work_dir_each_for_itself() {
    let directory = temporary();
    let Some(builder) = copying(directory.path()) else { return };
    fs::write(directory.path().join("given"), "given\n").expect("it is written");
    let (one, two) = tokio::join!(start(builder.clone()), start(builder));
    output(&one, sh("echo one > from-one; rm given")).await;
    assert_eq!(
        output(&two, sh("cat given; [ -e from-one ] || echo unseen; echo two > from-two")).await,
        "given\nunseen\n"
    );
    assert_eq!(read(directory.path().join("from-one")), "one\n");
    assert_eq!(read(directory.path().join("from-two")), "two\n");
}

#[tokio::test]
async fn a_copy_belongs_to_the_user_that_was_asked_for() {
    let directory = temporary();
    let Some(builder) = copying(directory.path()) else { return };
    fs::create_dir(directory.path().join("folder")).expect("it is made");
    fs::write(directory.path().join("folder/given"), "given\n").expect("it is written");
    for builder in [builder.clone().user("nobody"), builder.user("nobody").cap_drop("ALL").read_only(true)] {
        let session = start(builder).await;
        let code = "id -u; cat folder/given; echo changed > folder/given; echo made > folder/made; touch top";
        assert_eq!(output(&session, sh(code)).await, "65534\ngiven\n");
        assert_eq!(read(directory.path().join("folder/given")), "changed\n");
        fs::write(directory.path().join("folder/given"), "given\n").expect("it is written");
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn files_are_put_and_got_in_either_mode() {
    let Some(builder) = builder() else { return };
    let large: Vec<u8> = (0..3_500_000_u32).map(|number| (number % 251) as u8).collect();
    for mode in [WorkspaceMode::Bind, WorkspaceMode::Copy] {
        let directory = temporary();
        let session = start(builder.clone().workspace(mode).work_dir(directory.path())).await;
        for (name, contents) in [("deep/down/large", &large[..]), ("small", b"small"), ("nothing", b"")] {
            session.put_file(name, contents).await.expect("it is put");
            assert!(session.get_file(name).await.expect("it is got") == contents, "{name}");
        }
        assert_eq!(
            output(&session, sh("wc -c < deep/down/large; echo more >> small; ln -s small link")).await,
            "3500000\n"
        );
        assert_eq!(session.get_file("small").await.expect("it is got"), b"smallmore\n");
        assert!(fs::read(directory.path().join("deep/down/large")).expect("it is there") == large);
        for name in ["link", "../outside", "/etc/passwd", "deep", "missing", ""] {
            let error = session.get_file(name).await.expect_err("it is not to be got");
            assert!(matches!(error, Error::Runner { .. }), "{name}: {error:?}");
        }
        for name in ["../outside", "/tmp/outside", "small/below", ""] {
            let error = session.put_file(name, "x").await.expect_err("it is not to be put");
            assert!(matches!(error, Error::Runner { .. }), "{name}: {error:?}");
        }
        assert_eq!(output(&session, sh("cat small")).await, "smallmore\n", "the session goes on");
    }
}
