//! The formats for machines. Their shape is fixed: other programs read it.

use serde_json::{Value, json};

use crate::support::{Ended, Place};

fn run(args: &[&str]) -> Ended {
    Place::new().stockade([["run", "--no-sandbox"].as_slice(), args].concat())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn json_is_one_object_with_the_fixed_keys() {
    let ended = run(&["--json", "-l", "python", "-c", "print('out')\nopen('plot.png', 'w').write('x')"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    let result = ended.json();
    let mut expected = ["exit_code", "output", "code_file", "session", "blocks"];
    expected.sort_unstable();
    assert_eq!(keys(&result), expected);
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["output"], "out\n");
    assert_eq!(result["session"], json!({"executor": "local", "policy": {}}));
    let block = &result["blocks"][0];
    let mut expected = [
        "index",
        "language",
        "code_file",
        "status",
        "exit_code",
        "signal",
        "stdout",
        "stderr",
        "output",
        "dropped_bytes",
        "duration_ms",
        "cpu_ms",
        "max_rss_bytes",
        "files_truncated",
        "files",
    ];
    expected.sort_unstable();
    assert_eq!(keys(block), expected);
    assert_eq!(block["code_file"], result["code_file"]);
    assert_eq!(block["signal"], Value::Null);
    assert_eq!(
        block["files"],
        json!([{"path": "plot.png", "size": 1, "mime": "image/png", "change": "created"}])
    );
}

#[test]
fn json_is_one_line_and_nothing_else_is_on_either_stream() {
    let ended = run(&["--format", "json", "-l", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(ended.stdout.lines().count(), 1, "{ended}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn json_of_a_failed_block_has_the_status_of_the_command() {
    let ended = run(&["--json", "-l", "sh", "-c", "exit 7"]);
    assert_eq!((&ended.json()["exit_code"], ended.status), (&json!(7), Some(7)), "{ended}");
    let ended = run(&["--json", "--timeout", "200ms", "-l", "sh", "-c", "echo begun; sleep 60"]);
    assert_eq!((&ended.json()["exit_code"], ended.status), (&json!(124), Some(124)), "{ended}");
    assert_eq!(ended.json()["blocks"][0]["status"], "timed_out");
    assert_eq!(ended.json()["blocks"][0]["stdout"], "begun\n");
}

#[test]
fn json_of_a_failure_names_it_and_what_to_do() {
    let place = Place::with("work", "");
    let ended = place.stockade(["run", "--no-sandbox", "--json", "-w", "work", "-l", "sh", "-c", "true"]);
    assert_eq!(ended.status, Some(70), "{ended}");
    let failure = ended.json();
    assert_eq!(keys(&failure), ["blocks", "error"]);
    assert_eq!(keys(&failure["error"]), ["hint", "kind", "message"]);
    assert_eq!(failure["blocks"], json!([]));
    assert!(ended.stderr.starts_with("error: "), "{ended}");
}

#[test]
fn json_of_unreadable_input_is_an_error_object_too() {
    let ended = run(&["--json", "missing.md"]);
    assert_eq!(ended.status, Some(2), "{ended}");
    assert_eq!(ended.json()["error"]["kind"], "input_unreadable");
}

#[test]
fn jsonl_tells_each_event_and_the_result_last() {
    let place = Place::with("a.md", "```sh\necho one\n```\n```sh\necho two >&2; exit 3\n```\n");
    let ended = place.stockade(["run", "--no-sandbox", "--format", "jsonl", "a.md"]);
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(3)), "{ended}");
    let lines = ended.json_lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["event"].as_str().unwrap_or_default(), line["index"].as_u64()))
        .collect();
    let expected = [
        ("block_started", Some(0)),
        ("output", Some(0)),
        ("block_finished", Some(0)),
        ("block_started", Some(1)),
        ("output", Some(1)),
        ("block_finished", Some(1)),
        ("finished", None),
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[1]["stream"], "stdout");
    assert_eq!(lines[1]["data"], "one\n");
    assert_eq!(lines[4]["stream"], "stderr");
    assert_eq!(lines[6]["exit_code"], 3);
    assert_eq!(lines[6]["session"]["executor"], "local");
    assert_eq!(lines[6]["blocks"].as_array().map(Vec::len), Some(2));
}

#[test]
fn jsonl_of_a_failure_ends_with_the_error() {
    let ended = run(&["--format", "jsonl", "missing.md"]);
    let lines = ended.json_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["event"], "failed");
    assert_eq!(lines[0]["error"]["kind"], "input_unreadable");
}

#[test]
fn work_dir_that_is_not_text_is_shown_as_well_as_can_be() {
    use std::os::unix::ffi::OsStrExt;
    let work_dir = std::ffi::OsStr::from_bytes(b"caf\xe9");
    for format in ["json", "jsonl"] {
        let place = Place::new();
        let mut command =
            place.command(["run", "--no-sandbox", "--format", format, "-l", "sh", "-c", "true", "-w"]);
        let ended = Ended::new(command.arg(work_dir).output().expect("the command starts"));
        assert_eq!(ended.status, Some(0), "{ended}");
        for line in ended.json_lines() {
            let file = line["code_file"].as_str().expect("a path");
            assert!(file.contains("/caf\u{fffd}/"), "{file}");
        }
    }
}
