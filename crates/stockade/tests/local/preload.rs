//! Preloaded modules at each level of the sandbox: what a session tells of them, and what becomes of a start that can't
//! have them. How blocks fare with them is the runner's and the conformance suite's to show.

use stockade::{LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel};

use crate::{
    probe::start,
    support::{need, output, python, run},
};

const IS_THERE: &str = "import sys; print('decimal' in sys.modules)";

fn local() -> LocalCommandLineCodeExecutorBuilder {
    LocalCommandLineCodeExecutor::builder()
}

/// Without a sandbox, and at each level that can be had here.
fn everywhere() -> Vec<LocalCommandLineCodeExecutorBuilder> {
    let mut levels = vec![local().no_sandbox()];
    if need::has_program("bubblewrap", "bwrap", &["--version"]) {
        levels.push(local().sandbox(Sandbox::default().level(SandboxLevel::Namespaces)));
    }
    levels.push(local().sandbox(Sandbox::default().level(SandboxLevel::Landlock)));
    levels
}

#[tokio::test]
async fn every_level_has_them() {
    for builder in everywhere() {
        let session = start(builder.preload(["decimal", "json"])).await;
        let preload = session.info().preload.clone().expect("it is told");
        assert_eq!((preload.ready, preload.reason), (true, None));
        assert_eq!(preload.modules, ["decimal", "json"]);
        for _ in 0..3 {
            assert_eq!(output(&session, python(IS_THERE)).await, "True\n");
        }
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn none_are_told_of_where_none_were_asked_for() {
    let session = start(local().no_sandbox()).await;
    assert_eq!(session.info().preload, None);
    assert_eq!(output(&session, python(IS_THERE)).await, "False\n");
}

#[tokio::test]
async fn a_start_that_can_not_have_them_is_an_error_that_names_the_module_and_what_to_do() {
    for builder in everywhere() {
        let executor = builder.preload(["json", "no_such_module"]).build().expect("the names are names");
        let error = executor.start().await.expect_err("there is none");
        assert_eq!(error.kind(), "preload_failed");
        let said = "failed to preload the modules: no_such_module can't be imported: ModuleNotFoundError: \
                    No module named 'no_such_module'";
        assert_eq!(error.to_string(), said);
        assert!(error.hint().is_some_and(|hint| hint.contains("install the module")), "{error:?}");
    }
    let error = local().preload(["a-b"]).build().expect_err("it is no name");
    assert_eq!(error.kind(), "invalid_option");
}

#[tokio::test]
async fn what_can_not_be_forked_is_told_and_imported_by_each_block() {
    let folder = tempfile::tempdir().expect("a directory");
    let threads =
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n";
    std::fs::write(folder.path().join("threads.py"), threads).expect("written");
    let session = start(local().no_sandbox().work_dir(folder.path()).preload(["threads"])).await;
    let preload = session.info().preload.clone().expect("it is told");
    assert!(!preload.ready);
    assert!(preload.reason.is_some_and(|reason| reason.contains("1 thread running")));
    let ran = run(&session, &[python("import threads; print('imported')")]).await;
    assert_eq!((ran.exit_code, ran.output.as_str()), (0, "imported\n"));
}

#[tokio::test]
async fn functions_and_a_virtual_environment_are_there_for_what_is_preloaded() {
    let folder = tempfile::tempdir().expect("a directory");
    let environment = folder.path().join("venv");
    let session = start(
        local()
            .virtual_env(&environment)
            .functions(stockade::Functions::new("def f():\n    return 42\n").module("own"))
            .preload(["own"]),
    )
    .await;
    let code =
        "import sys; print('own' in sys.modules, sys.prefix != sys.base_prefix); import own; print(own.f())";
    assert_eq!(output(&session, python(code)).await, "True True\n42\n");
}
