//! `languages`, on this machine.

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
