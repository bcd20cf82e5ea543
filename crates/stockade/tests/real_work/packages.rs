//! Python's packages and environments. The wheel that is installed is made by the code, for no registry is needed then.

use std::{fs, os::unix::fs::PermissionsExt};

use stockade::{Error, Functions};

use crate::{
    places::{LANDLOCK, Place, fails, prints, start},
    support::{MAKE_WHEEL, need, output, python, sh},
};

work! {
    [namespaces landlock docker]
    a_wheel_is_installed_into_a_virtual_environment_in_the_workspace
    a_wheel_is_installed_for_the_user_and_seen_by_later_blocks
    a_line_with_an_exclamation_mark_installs_a_wheel
}

work! {
    [namespaces landlock]
    the_sessions_virtual_environment_is_used_and_changed_only_where_that_is_allowed
    the_environment_that_uv_makes_is_used
    tools_are_found_where_the_user_has_installed_them
}

const NEEDED: &str = "venv, ensurepip, pip";

async fn a_wheel_is_installed_into_a_virtual_environment_in_the_workspace(place: Place) {
    if !place.has_python(NEEDED) {
        return;
    }
    let session = place.start().await;
    prints(&session, python(MAKE_WHEEL), "").await;
    let make = "set -e
python3 -m venv env
. env/bin/activate
pip install --quiet --no-index ./given-1.0-py3-none-any.whl
given
python -c 'import given, sys; print(given.__file__.startswith(sys.prefix), sys.prefix != sys.base_prefix)'";
    prints(&session, sh(make), "given\nTrue True\n").await;
    prints(&session, sh("env/bin/given"), "given\n").await;
}

async fn a_wheel_is_installed_for_the_user_and_seen_by_later_blocks(place: Place) {
    if !place.has_python(NEEDED) {
        return;
    }
    let session = place.start().await;
    prints(&session, python(MAKE_WHEEL), "").await;
    // Debian's pip asks for the variable; others don't know it. Not by a version manager's shim, which would have to
    // make others beside itself.
    let install = "PIP_BREAK_SYSTEM_PACKAGES=1 \"$(python3 -c 'import sys; print(sys.executable)')\" \
                   -m pip install --quiet --user --no-index ./given*.whl";
    prints(&session, sh(install), "").await;
    prints(&session, python("import given; given.main()"), "given\n").await;
}

async fn a_line_with_an_exclamation_mark_installs_a_wheel(place: Place) {
    if !place.has_python(NEEDED) {
        return;
    }
    let session = place.start().await;
    let install = "!PIP_BREAK_SYSTEM_PACKAGES=1 pip install --quiet --target lib --no-index ./given*.whl";
    let code =
        format!("{MAKE_WHEEL}\n{install}\nimport sys\nsys.path.append('lib')\nimport given\ngiven.main()");
    prints(&session, python(code), "given\n").await;
}

const INSTALL: &str = "pip install --quiet --no-index ./given-1.0-py3-none-any.whl";

/// A directory for an environment, beside the workspaces.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

async fn the_sessions_virtual_environment_is_used_and_changed_only_where_that_is_allowed(place: Place) {
    if !place.has_python(NEEDED) {
        return;
    }
    let folder = folder();
    let environment = folder.path().canonicalize().expect("it is there").join("env");
    let session = start(place.builder().virtual_env(&environment)).await;
    let expected = format!("{}\n", environment.display());
    prints(&session, python("import sys; print(sys.prefix)"), &expected).await;
    prints(&session, sh("command -v pip"), &format!("{}/bin/pip\n", environment.display())).await;
    prints(&session, python(MAKE_WHEEL), "").await;
    let denied = if place == LANDLOCK { "Permission denied" } else { "Read-only file system" };
    fails(&session, sh(INSTALL), denied).await;

    // Functions install their packages into it.
    let functions = Functions::new("import given\ndef run():\n    given.main()\n").packages(["given"]);
    let wheels = session.work_dir();
    let builder = place.builder().virtual_env(&environment).functions(functions);
    let builder = builder.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", wheels);
    let sandbox = place.sandbox().read_only(wheels);
    let refused = builder.clone().sandbox(sandbox.clone()).build().expect("valid").start().await;
    let refused = refused.expect_err("the environment is not to be changed");
    assert!(matches!(&refused, Error::PipInstall { output } if output.contains(denied)), "{refused}");
    let session = start(builder.sandbox(sandbox.read_write(&environment))).await;
    prints(&session, python("from functions import run\nrun()"), "given\n").await;
    prints(&session, sh("given"), "given\n").await;
}

async fn the_environment_that_uv_makes_is_used(place: Place) {
    // Not a part of Debian, and so nothing that is required.
    if !need::happens_to_have("uv", &["--version"]) {
        return;
    }
    let session = place.start().await;
    prints(&session, python(MAKE_WHEEL), "").await;
    let code = "set -e
uv venv --quiet --offline env
uv pip install --quiet --offline --python env/bin/python ./given-1.0-py3-none-any.whl
env/bin/given
cat >script.py <<'END'
# /// script
# requires-python = '>=3.8'
# ///
print('run')
END
uv run --quiet --offline --no-project script.py";
    assert_eq!(output(&session, sh(code)).await, "given\nrun\n");
}

/// Those that are no interpreters of any language too.
async fn tools_are_found_where_the_user_has_installed_them(place: Place) {
    let folder = folder();
    let path = folder.path().canonicalize().expect("it is there");
    fs::create_dir(path.join("bin")).expect("made");
    for tool in ["git", "uv"] {
        let program = path.join("bin").join(tool);
        fs::write(&program, format!("#!/bin/sh\nexec cat {}/share", path.display())).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    fs::write(path.join("share"), "ours\n").expect("written");
    let builder = place.builder().env("PATH", format!("{}/bin:/usr/bin:/bin", path.display()));
    prints(&start(builder).await, sh("git && uv"), "ours\nours\n").await;
}
