//! The `filename:` line against hostile code: the name that comes out never leads out of the workspace.

#![no_main]

use std::{path::Component, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use stockade_runner::{
    language::{Language, builtin},
    source::{FileName, RelativePath},
};

static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(builtin);

fuzz_target!(|input: (u8, &[u8])| {
    let (language, code) = input;
    let language = &LANGUAGES[usize::from(language) % LANGUAGES.len()];
    match FileName::of(language, code) {
        FileName::Generated(name) => assert!(name.starts_with("tmp_code_") && !name.contains('/')),
        FileName::Named(path) => {
            assert!(path.as_path().components().all(|component| matches!(component, Component::Normal(_))));
            assert!(!path.as_bytes().contains(&0));
            assert_eq!(RelativePath::new(path.as_bytes()), Ok(path));
        }
        FileName::Refused(error) => assert!(!error.to_string().is_empty()),
    }
});
