//! A Python module of the caller's, there for every block.

use stockade::{Error, Functions};
use tempfile::TempDir;

use crate::{
    probe::{builder, start},
    support::{need, output, python, sh},
};

fn has_python() -> bool {
    need::has_program("python", "python3", &["-c", ""])
}

async fn refusal(functions: Functions) -> Error {
    // Without an index pip knows no package, with or without a network.
    let builder =
        builder().functions(functions).env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", "/nonexistent");
    builder.build().expect("the options are valid").start().await.expect_err("it can't be prepared")
}

#[tokio::test]
async fn blocks_import_the_module() {
    if !has_python() {
        return;
    }
    let source = "import os\nprint('loading')\ndef double(x):\n    return 2 * x\n";
    let session = start(builder().functions(Functions::new(source).module("helpers"))).await;
    let use_it = "from helpers import double\nprint(double(21))";
    assert_eq!(output(&session, python(use_it)).await, "loading\n42\n");
    let elsewhere = format!("# filename: deep/down/use.py\n{use_it}");
    assert_eq!(output(&session, python(elsewhere)).await, "loading\n42\n");
    let from_a_shell = sh("cd /; python3 -c 'import helpers; print(helpers.double(1))'");
    assert_eq!(output(&session, from_a_shell).await, "loading\n2\n");
}

#[tokio::test]
async fn a_module_that_fails_to_load_is_an_error_with_its_traceback() {
    if !has_python() {
        return;
    }
    for (source, expected) in
        [("raise ValueError('no way')", "ValueError: no way"), ("def f(:", "SyntaxError"), ("exit(3)", "")]
    {
        let error = refusal(Functions::new(source)).await;
        assert!(matches!(error, Error::FunctionsLoad { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.starts_with("Functions failed to load: ") && said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_package_that_can_not_be_installed_is_an_error_with_what_pip_said() {
    if !has_python() {
        return;
    }
    for package in ["stockade-no-such-package", "not a requirement!"] {
        let error = refusal(Functions::new("").packages([package])).await;
        assert!(matches!(error, Error::PipInstall { .. }), "{error:?}");
        assert!(error.to_string().starts_with("Pip install failed. "), "{error}");
        assert!(error.to_string().len() > 40, "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_module_that_could_not_be_imported_is_refused() {
    for functions in [
        Functions::new("").module("my-module"),
        Functions::new("").module("../up"),
        Functions::new("").module("class"),
        Functions::new("").packages(["--index-url=http://localhost"]),
        Functions::new("").packages([""]),
    ] {
        let refused = builder().functions(functions).build();
        assert!(matches!(refused, Err(Error::InvalidOption { option: "functions", .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_failed_start_leaves_no_temporary_workspace() {
    if !has_python() {
        return;
    }
    let parent = TempDir::new().expect("a directory can be made");
    let work_dir = parent.path().join("work");
    let functions = Functions::new(format!(
        "import os\nopen({:?}, 'w').write(os.getcwd())\nraise ValueError",
        work_dir.display().to_string()
    ));
    assert!(matches!(refusal(functions).await, Error::FunctionsLoad { .. }));
    let used = std::fs::read_to_string(&work_dir).expect("it ran");
    let gone = || (!std::path::Path::new(&used).exists()).then_some(());
    crate::support::eventually("the end of the workspace", gone).await;
}
