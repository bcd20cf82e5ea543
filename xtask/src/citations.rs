//! Whether the tests that docs/security.md names exist: a promise whose proof was renamed or removed is none.

use std::{fs, path::Path};

/// Suites, and where their files are.
const SUITES: [(&str, &str); 7] = [
    ("escape", "crates/stockade/tests/escape"),
    ("conformance", "crates/stockade/tests/conformance"),
    ("docker", "crates/stockade/tests/docker"),
    ("local", "crates/stockade/tests/local"),
    ("real_work", "crates/stockade/tests/real_work"),
    ("it", "crates/stockade-runner/tests/it"),
    ("cli", "crates/stockade-cli/tests/it"),
];

/// Where the tests are that a text names, as `suite::file::name`: the file, and the name.
fn named(text: &str) -> Vec<(String, &str)> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter_map(|code| {
        let (path, name) = code.rsplit_once("::")?;
        let (suite, file) = path.split_once("::")?;
        let (_, folder) = SUITES.iter().find(|(known, _)| *known == suite)?;
        Some((format!("{folder}/{}.rs", file.replace("::", "/")), name))
    })
    .collect()
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the project");
    let page = fs::read_to_string(root.join("docs/security.md")).expect("there is one");
    let named = named(&page);
    assert!(named.len() > 60, "{} tests are named", named.len());
    let missing = named.iter().filter(|(file, name)| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        !words.clone().any(|word| word == *name)
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&(String, &str)>::new());
}

#[test]
fn a_name_leads_to_a_file() {
    let text = "see `conformance::cases::files::odd_names_are_names`, `it::tree::x` and `std::fs::read`";
    let expected = [
        ("crates/stockade/tests/conformance/cases/files.rs".to_owned(), "odd_names_are_names"),
        ("crates/stockade-runner/tests/it/tree.rs".to_owned(), "x"),
    ];
    assert_eq!(named(text), expected);
}
