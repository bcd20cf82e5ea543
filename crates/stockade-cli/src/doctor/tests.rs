//! The table and the exit status, of findings that were made up.

use serde_json::{Value, json};

use super::*;

/// As the library tells it.
fn findings(found: Value) -> Findings {
    let found = serde_json::from_value(found).expect("they are findings");
    Findings { version: "0.1.0", ..Findings::new(found) }
}

fn runner(state: &str) -> Value {
    json!({ "subject": "local", "control": "runner", "state": state, "detail": "tried it" })
}

fn level(state: &str) -> Value {
    json!({
        "subject": "landlock", "control": "start", "state": state, "detail": "tried it too",
        "why": "the kernel has no Landlock, which is needed", "fix": "use another, by `apt-get install another`"
    })
}

#[test]
fn table_names_each_state_why_and_its_fix() {
    let docker = json!({
        "subject": "docker", "control": "daemon", "state": "absent", "detail": "no daemon answers",
        "why": "tried\n  /a: no\n  /b: \u{1b}[2Jno", "fix": "start one"
    });
    let second = json!({
        "subject": "landlock", "control": "files", "state": "absent", "detail": "not tried", "why": level("")["why"],
        "fix": level("")["fix"]
    });
    let text = text(&findings(json!([runner("enforced"), level("degraded"), second, docker])), 40);
    insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
    Stockade 0.1.0

    Local sessions
    runner  enforced  tried it

    Sandbox of Landlock alone
    start  degraded  tried it too
    files  absent    not tried
           why       the kernel has no Landlock,
                     which is needed
           fix       use another, by
                     `apt-get install another`

    Docker
    daemon  absent  no daemon answers
            why     tried
                      /a: no
                      /b: \u{1b}[2Jno
            fix     start one

    Code can be run here only without a sandbox. 1 enforced, 1 degraded, 2 absent; 0 of 0 languages run.
    ");
}

#[test]
fn exit_status_says_whether_code_can_be_held_and_whether_it_can_be_run() {
    let status = |runner: Value, level: Value| findings(json!([runner, level])).exit_status();
    assert_eq!(status(runner("enforced"), level("enforced")), 0);
    assert_eq!(status(runner("enforced"), level("absent")), 1);
    assert_eq!(status(runner("absent"), level("absent")), 70);
}
