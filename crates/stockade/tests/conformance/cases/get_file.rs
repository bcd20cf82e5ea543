//! Files that the caller takes from the workspace, wherever that is.

use stockade::{Error, Session};

use crate::{
    harness::{Place, start},
    support::{Running, output, python, sh, wait_for_file},
};

every_place!(
    a_file_that_a_block_made_is_given_as_it_is,
    a_file_that_was_put_is_given_back,
    a_file_is_given_beside_a_block_that_runs,
    a_file_outside_the_workspace_is_not_given,
    what_is_no_regular_file_is_not_given,
    a_file_that_is_too_large_is_not_given,
);

async fn a_file_that_a_block_made_is_given_as_it_is(place: &dyn Place) {
    let session = start(place).await;
    let code = "import os\nos.makedirs('data/deep')\n\
        open('data/deep/all.bin', 'wb').write(bytes(range(256)) * 10_000)\nopen('empty', 'w').close()";
    output(&session, python(code)).await;
    let all = session.get_file("data/deep/all.bin").await.expect("it is there");
    assert!(all == (0..=255).collect::<Vec<u8>>().repeat(10_000), "{} bytes", all.len());
    assert_eq!(session.get_file("empty").await.expect("it is there"), b"");
}

async fn a_file_that_was_put_is_given_back(place: &dyn Place) {
    let session = start(place).await;
    for contents in ["long contents", "short", ""] {
        session.put_file("a/file", contents).await.expect("it is saved");
        assert_eq!(session.get_file("a/file").await.expect("it is there"), contents.as_bytes());
    }
}

async fn a_file_is_given_beside_a_block_that_runs(place: &dyn Place) {
    let session = start(place).await;
    let code = format!("echo half > file; echo ready\n{}echo done", wait_for_file("go"));
    let running = Running::until(session.call(vec![sh(code)]), "ready").await;
    assert_eq!(session.get_file("file").await.expect("it is there"), b"half\n");
    session.put_file("go", "").await.expect("it is saved");
    assert_eq!(running.result().await.output, "ready\ndone\n");
}

async fn assert_refused(session: &Session, path: &str) {
    let error = session.get_file(path).await.expect_err(path);
    assert!(matches!(error, Error::Runner { .. }), "{path}: {error:?}");
    assert!(error.to_string().starts_with(&format!("failed to read {path}")), "{path}: {error}");
}

async fn a_file_outside_the_workspace_is_not_given(place: &dyn Place) {
    let session = start(place).await;
    output(&session, sh("ln -s / root; ln -s /etc/passwd link; mkdir sub; echo mine > sub/file")).await;
    for path in ["../out", "/etc/passwd", "sub/../../out", "root/etc/passwd", "link"] {
        assert_refused(&session, path).await;
    }
    assert_eq!(session.get_file("sub/file").await.expect("it is there"), b"mine\n");
}

async fn what_is_no_regular_file_is_not_given(place: &dyn Place) {
    let session = start(place).await;
    output(&session, sh("mkfifo fifo; mkdir directory; echo mine > file")).await;
    for path in ["", ".", "directory", "fifo", "none", "file/below"] {
        assert_refused(&session, path).await;
    }
    assert_eq!(session.get_file("file").await.expect("it is there"), b"mine\n");
}

async fn a_file_that_is_too_large_is_not_given(place: &dyn Place) {
    let session = start(place).await;
    output(&session, python("open('large', 'w').truncate(2 << 30)\nopen('small', 'w').truncate(2 << 20)"))
        .await;
    let error = session.get_file("large").await.expect_err("it is too large");
    assert!(error.to_string().contains("2147483648 bytes"), "{error}");
    assert_eq!(session.get_file("small").await.expect("it is there"), [0; 2 << 20]);
}
