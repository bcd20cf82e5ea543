//! Files that the caller puts into the workspace: under the rules of a block's own file.

use sha2::{Digest, Sha256};
use stockade::{Error, Session};

use crate::{
    harness::{Place, start},
    support::{output, python, sh},
};

every_place!(
    a_file_that_was_put_is_there_for_the_code,
    a_file_can_be_put_again,
    a_file_is_put_beside_a_block_that_runs,
    a_file_outside_the_workspace_is_refused,
    a_file_can_be_larger_than_any_message,
);

async fn a_file_that_was_put_is_there_for_the_code(place: &dyn Place) {
    let session = start(place).await;
    let bytes: Vec<u8> = (0..=255).collect();
    session.put_file("data/deep/all.bin", &bytes).await.expect("it is saved");
    session.put_file("empty", "").await.expect("it is saved");
    let code =
        "print(open('data/deep/all.bin', 'rb').read() == bytes(range(256)), open('empty').read() == '')";
    assert_eq!(output(&session, python(code)).await, "True True\n");
}

async fn a_file_can_be_put_again(place: &dyn Place) {
    let session = start(place).await;
    for contents in ["long contents", "short", ""] {
        session.put_file("file", contents).await.expect("it is saved");
        assert_eq!(output(&session, sh("cat file")).await, contents);
    }
}

async fn a_file_is_put_beside_a_block_that_runs(place: &dyn Place) {
    let session = start(place).await;
    let large = vec![b'x'; 8 << 20];
    let block = sh("until [ -e large ] && [ $(wc -c < large) -eq 8388608 ]; do sleep 0.02; done; echo seen");
    let blocks = [block];
    let (seen, put) = tokio::join!(session.call(&blocks[..]).run(), session.put_file("large", &large));
    put.expect("it is saved");
    assert_eq!(seen.expect("it runs").output, "seen\n");
}

async fn assert_refused(session: &Session, path: &str) {
    let error = session.put_file(path, "x").await.expect_err(path);
    assert!(matches!(error, Error::Runner { .. }), "{path}: {error:?}");
    assert!(error.to_string().starts_with(&format!("failed to write {path}")), "{path}: {error}");
}

async fn a_file_outside_the_workspace_is_refused(place: &dyn Place) {
    let session = start(place).await;
    let target = format!("/tmp/put-{}", std::process::id());
    output(&session, sh(format!("ln -s / root; ln -s {target} link; mkfifo fifo; mkdir directory"))).await;
    for path in ["../out", "/tmp/out", "a/../../out", "", ".", "directory", "fifo", "link"] {
        assert_refused(&session, path).await;
    }
    assert_refused(&session, &format!("root{target}")).await;
    assert_eq!(output(&session, sh(format!("ls {target} 2>/dev/null || echo none"))).await, "none\n");
}

async fn a_file_can_be_larger_than_any_message(place: &dyn Place) {
    let session = start(place).await;
    // The order of its parts shows, and it ends within one.
    let large: Vec<u8> = (0..(65 << 20) + 7_u32).map(|at| (at / 4099) as u8).collect();
    session.put_file("large", &large).await.expect("it is saved");
    let hash = python("import hashlib; print(hashlib.sha256(open('large', 'rb').read()).hexdigest())");
    let expected: String = Sha256::digest(&large).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(output(&session, hash).await.trim(), expected);
}
