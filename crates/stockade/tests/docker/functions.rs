//! A Python module of the caller's, there for every block in the container.

use stockade::{DockerCommandLineCodeExecutorBuilder, Error, Functions, WorkspaceMode};

use crate::{
    engine::{builder, start},
    leftovers,
    support::{output, python, sh},
};

#[tokio::test]
async fn blocks_import_the_module() {
    let Some(builder) = builder() else { return };
    let functions = Functions::new("def double(x):\n    return 2 * x\n").module("helpers");
    for builder in [builder.clone(), builder.clone().workspace(WorkspaceMode::Copy), builder.user("nobody")] {
        let session = start(builder.functions(functions.clone())).await;
        let use_it = "from helpers import double\nprint(double(21))";
        assert_eq!(output(&session, python(use_it)).await, "42\n");
        let elsewhere = format!("# filename: deep/down/use.py\n{use_it}");
        assert_eq!(output(&session, python(elsewhere)).await, "42\n");
        let from_a_shell = sh("cd /; python3 -c 'import helpers; print(helpers.double(1))'");
        assert_eq!(output(&session, from_a_shell).await, "2\n");
        session.stop().await.expect("it stops");
    }
}

/// Why the functions can't be prepared.
async fn refusal(builder: DockerCommandLineCodeExecutorBuilder, functions: Functions) -> Error {
    // Without an index pip knows no package, with or without a network.
    let builder = builder.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", "/nonexistent").network("none");
    leftovers::refusal(builder.functions(functions)).await
}

#[tokio::test]
async fn a_module_that_fails_to_load_is_an_error_with_its_traceback() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder, Functions::new("raise ValueError('no way')")).await;
    assert!(matches!(error, Error::FunctionsLoad { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with("Functions failed to load: ") && said.contains("ValueError: no way"), "{said}");
}

#[tokio::test]
async fn a_package_that_can_not_be_installed_is_an_error_with_what_pip_said() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder, Functions::new("").packages(["stockade-no-such-package"])).await;
    assert!(matches!(error, Error::PipInstall { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with("Pip install failed. ") && said.contains("stockade-no-such-package"), "{said}");
    assert!(error.hint().is_some());
}
