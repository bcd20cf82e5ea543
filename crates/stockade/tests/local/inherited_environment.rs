//! Which of this process's variables reach the code. The variables that cargo sets for its tests stand for those
//! of a user.

use stockade::LocalCommandLineCodeExecutorBuilder;

use crate::{
    probe::{builder, start},
    support::{output, sh},
};

/// Which of three of cargo's variables the code sees.
async fn seen(builder: LocalCommandLineCodeExecutorBuilder) -> String {
    for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_DIR"] {
        assert!(std::env::var_os(name).is_some(), "the tests are run by cargo");
    }
    let look = "echo ${CARGO_PKG_NAME+name} ${CARGO_PKG_VERSION+version} ${CARGO_MANIFEST_DIR+directory}";
    output(&start(builder).await, sh(look)).await.trim().to_owned()
}

#[tokio::test]
async fn a_name_stands_for_itself() {
    assert_eq!(seen(builder().inherit_env(["CARGO_PKG_NAME"])).await, "name");
    assert_eq!(seen(builder().inherit_env(["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"])).await, "name directory");
    assert_eq!(seen(builder().inherit_env(["CARGO_PKG", "cargo_pkg_name", "", "PKG_NAME"])).await, "");
}

#[tokio::test]
async fn a_star_stands_for_every_end() {
    assert_eq!(seen(builder().inherit_env(["CARGO_PKG_*"])).await, "name version");
    assert_eq!(seen(builder().inherit_env(["*"])).await, "name version directory");
    assert_eq!(seen(builder().inherit_env(["*_NAME"])).await, "");
}

#[tokio::test]
async fn what_the_caller_sets_goes_before_what_is_inherited() {
    let session = start(builder().inherit_env(["CARGO_PKG_NAME"]).env("CARGO_PKG_NAME", "mine")).await;
    assert_eq!(output(&session, sh("echo $CARGO_PKG_NAME")).await, "mine\n");
}
