//! Line 10: the code's environment is what programs need and what the caller sets.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt};

use stockade::Error;

use crate::{
    harness::{Options, Place, start, start_with},
    support::{output, python, sh},
};

every_place!(
    a_secret_of_the_host_does_not_reach_the_code,
    a_variable_of_the_host_that_is_asked_for_reaches_the_code,
    programs_find_what_they_need,
    the_callers_variables_reach_the_code,
    a_calls_variables_are_its_own,
    a_value_can_be_anything,
    a_variable_that_no_process_can_be_given_is_refused,
);

/// Cargo sets it for every test, and nothing needs it: it stands for a secret.
const SECRET: &str = "CARGO_PKG_NAME";

fn secret() -> String {
    env::var(SECRET).expect("the tests are run by cargo")
}

async fn a_secret_of_the_host_does_not_reach_the_code(place: &dyn Place) {
    assert!(!secret().is_empty());
    let session = start(place).await;
    let seen =
        output(&session, sh(format!("echo \"${{{SECRET}-unset}}\"; env | grep -c ^CARGO_PKG || :"))).await;
    assert_eq!(seen, "unset\n0\n");
}

async fn a_variable_of_the_host_that_is_asked_for_reaches_the_code(place: &dyn Place) {
    let inherit_env = vec![SECRET.to_owned()];
    let session = start_with(place, Options { inherit_env, ..Options::default() }).await;
    let seen = output(&session, sh(format!("echo \"${SECRET}\"; env | grep -c ^CARGO_PKG"))).await;
    assert_eq!(seen, format!("{}\n1\n", secret()));
}

async fn programs_find_what_they_need(place: &dyn Place) {
    let session = start(place).await;
    let look = "[ \"$PATH\" ] && cd \"$HOME\" && command -v python3 >/dev/null && echo found";
    assert_eq!(output(&session, sh(look)).await, "found\n");
}

async fn the_callers_variables_reach_the_code(place: &dyn Place) {
    let env = vec![("GREETING".into(), "hello".into()), ("LANG".into(), "x-mine".into())];
    let session = start_with(place, Options { env, ..Options::default() }).await;
    assert_eq!(output(&session, sh("echo $GREETING $LANG")).await, "hello x-mine\n");
}

async fn a_calls_variables_are_its_own(place: &dyn Place) {
    let env = vec![("ONE".into(), "session".into()), ("TWO".into(), "session".into())];
    let session = start_with(place, Options { env, ..Options::default() }).await;
    let block = sh("echo $ONE $TWO ${THREE-unset}");
    let call = session.call(vec![block.clone()]).env("TWO", "first").env("TWO", "call").env("THREE", "call");
    assert_eq!(call.run().await.expect("it runs").output, "session call call\n");
    assert_eq!(output(&session, block).await, "session session unset\n");
}

async fn a_value_can_be_anything(place: &dyn Place) {
    let values: [&[u8]; 5] = [b"", b"a=b", b"'\"$HOME`x`\\", b"two\nlines", b"not \xff text"];
    let session = start(place).await;
    for value in values {
        let call = session.call(vec![python("import os; os.write(1, os.environb[b'ODD'])")]);
        let result = call.env("ODD", OsString::from_vec(value.to_vec())).run().await.expect("it runs");
        assert_eq!(result.blocks[0].stdout.as_bytes(), value);
    }
    let large = "x".repeat(100 << 10);
    let call = session.call(vec![sh("echo ${#LARGE}")]).env("LARGE", &large);
    assert_eq!(call.run().await.expect("it runs").output, "102400\n");
}

async fn a_variable_that_no_process_can_be_given_is_refused(place: &dyn Place) {
    let session = start(place).await;
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
        let env = vec![(name.into(), value.into())];
        let refused = place.executor(Options { env, ..Options::default() });
        assert!(matches!(refused, Err(Error::InvalidOption { option: "env", .. })), "{name:?}: {refused:?}");
        let refused = session.call(vec![sh(":")]).env(name, value).run().await;
        assert!(matches!(refused, Err(Error::InvalidOption { option: "env", .. })), "{name:?}: {refused:?}");
    }
}
