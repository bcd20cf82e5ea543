//! `languages` and `doctor`, on this machine.

use serde_json::Value;

use crate::support::{Ended, Place};

fn language<'a>(listed: &'a Value, name: &str) -> &'a Value {
    let found = listed.as_array().expect("a list").iter().find(|language| language["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {listed}"))
}

#[test]
fn languages_are_listed_with_what_runs_them() {
    let ended = Place::new().stockade(["languages", "--json"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    let listed = ended.json();
    let python = language(&listed, "python");
    assert_eq!(python["runs"], true);
    assert_eq!(python["extension"], "py");
    assert!(python["interpreter"].as_str().is_some_and(|path| path.starts_with('/')), "{python}");
    assert!(python["aliases"].as_array().is_some_and(|aliases| aliases.contains(&"py".into())), "{python}");
    let json = language(&listed, "json");
    assert_eq!((&json["runs"], &json["interpreter"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn languages_are_a_table_for_people() {
    let ended = Place::new().stockade(["languages"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stdout.starts_with("LANGUAGE "), "{ended}");
    assert!(ended.stdout.lines().any(|line| line.starts_with("python ") && line.contains(".py")), "{ended}");
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("json ") && line.ends_with("saved, not run")),
        "{ended}"
    );
}

#[test]
fn language_whose_interpreter_is_missing_says_so() {
    let place = Place::new();
    let ended = Ended::new(
        place.command(["languages"]).env("PATH", "/nonexistent").output().expect("the command starts"),
    );
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("julia ") && line.ends_with("not found")),
        "{ended}"
    );
}

#[test]
fn doctor_tries_a_block_and_tells_what_is_absent() {
    let ended = Place::new().stockade(["doctor", "--json"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    let findings = ended.json();
    let checks = findings["checks"].as_array().expect("a list");
    let check =
        |name: &str| checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(check("runner")["state"], "enforced");
    assert_eq!(check("sandbox")["state"], "absent");
    assert!(check("sandbox")["fix"].is_string());
    let interpreters = findings["interpreters"].as_array().expect("a list");
    let python = interpreters.iter().find(|interpreter| interpreter["language"] == "python").expect("python");
    assert!(python["version"].as_str().is_some_and(|version| version.starts_with("Python 3")), "{python}");
}

#[test]
fn doctor_is_a_table_for_people() {
    let ended = Place::new().stockade(["doctor"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stdout.contains("Interpreters\n"), "{ended}");
    assert!(!ended.stdout.contains('\x1b'), "{ended}");
}

#[test]
fn doctor_says_that_nothing_runs_where_nothing_runs() {
    let place = Place::new();
    let ended = Ended::new(
        place.command(["doctor"]).env("PATH", "/nonexistent").output().expect("the command starts"),
    );
    assert_eq!(ended.status, Some(70), "{ended}");
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("runner ") && line.contains("absent")),
        "{ended}"
    );
}

#[test]
fn daemon_that_is_not_there_is_told_of_and_no_failure() {
    let place = Place::new();
    let mut command = place.command(["doctor"]);
    let ended =
        Ended::new(command.env("DOCKER_HOST", "unix:///no.sock").output().expect("the command starts"));
    assert_eq!(ended.status, Some(0), "{ended}");
    let mut lines = ended.stdout.lines().skip_while(|line| !line.starts_with("docker "));
    let mut next = || lines.next().unwrap_or_default();
    assert!(next().contains("absent"), "{ended}");
    assert!(next().ends_with("  unix:///no.sock: no such file"), "{ended}");
    assert!(next().trim_start().starts_with("fix "), "{ended}");
}
