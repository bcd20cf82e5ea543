//! Line 13: a language that is unknown, or whose interpreter is missing, is an outcome that says what would do.

use stockade::{CodeBlock, Language, Status};

use crate::{
    harness::{Options, Place, start, start_with},
    support::outcome,
};

every_place!(
    an_unknown_language_is_an_outcome_that_says_what_is_supported,
    a_missing_interpreter_is_an_outcome_that_says_what_was_looked_for,
    the_next_command_is_taken_where_the_first_is_missing,
    an_interpreter_that_dies_at_once_is_an_outcome,
    a_language_has_many_names,
    a_language_can_be_added,
    a_language_can_be_replaced,
    the_languages_of_a_session_can_be_listed,
);

async fn an_unknown_language_is_an_outcome_that_says_what_is_supported(place: &dyn Place) {
    let session = start(place).await;
    for name in ["brainfuck", "", "python\0", "pyth\u{f6}n", "a\nb", &"x".repeat(10_000)] {
        let outcome = outcome(&session, CodeBlock::new(name, "+")).await;
        assert_eq!((outcome.status, outcome.exit_code), (Status::NotRun, 1), "{name:?}");
        assert_eq!((outcome.language.as_str(), outcome.code_file), (name, None));
        let said = outcome.output.text();
        assert!(said.contains("unknown language") && said.contains("python, bash, sh"), "{said}");
    }
}

async fn with_language(place: &dyn Place, language: Language) -> stockade::Session {
    start_with(place, Options { languages: vec![language], ..Options::default() }).await
}

async fn a_missing_interpreter_is_an_outcome_that_says_what_was_looked_for(place: &dyn Place) {
    let language = Language::new("odd", "odd")
        .command("stockade-no-such-program", ["{file}"])
        .command("stockade-no-such-program-either", ["{file}"]);
    let outcome = outcome(&with_language(place, language).await, CodeBlock::new("odd", "x")).await;
    assert_eq!((outcome.status, outcome.exit_code), (Status::NotRun, 127));
    let said = outcome.output.text();
    for word in ["odd", "stockade-no-such-program,", "stockade-no-such-program-either", "PATH", "/bin"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

async fn the_next_command_is_taken_where_the_first_is_missing(place: &dyn Place) {
    let language = Language::new("odd", "odd")
        .command("stockade-no-such-program", ["{file}"])
        .command("cat", ["{file}"]);
    let outcome = outcome(&with_language(place, language).await, CodeBlock::new("odd", "hello")).await;
    assert_eq!((outcome.exit_code, outcome.stdout.text()), (0, "hello".into()));
}

async fn an_interpreter_that_dies_at_once_is_an_outcome(place: &dyn Place) {
    let language = Language::new("odd", "odd").command("false", ["{file}"]);
    let outcome = outcome(&with_language(place, language).await, CodeBlock::new("odd", "x")).await;
    assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, 1));
    assert!(outcome.code_file.is_some());
}

async fn a_language_has_many_names(place: &dyn Place) {
    let session = start(place).await;
    for (name, canonical) in [
        ("python", "python"),
        ("Python", "python"),
        ("PY", "python"),
        ("python3", "python"),
        ("sh", "sh"),
        ("shell", "sh"),
        (" Shell\n", "sh"),
    ] {
        let outcome = outcome(&session, CodeBlock::new(name, "# nothing")).await;
        assert_eq!((outcome.language.as_str(), outcome.exit_code), (canonical, 0), "{name:?}");
    }
}

async fn a_language_can_be_added(place: &dyn Place) {
    let language = Language::new("Upper", ".up")
        .alias("UP")
        .comment("%")
        .command("wc", ["-c", "{file}"])
        .add_command(stockade::Command::new("cat", ["{file}"]));
    let session = with_language(place, language).await;
    let named = outcome(&session, CodeBlock::new("up", "% filename: x/y.up\ntext")).await;
    assert_eq!((named.exit_code, named.language.as_str()), (0, "upper"));
    assert!(named.output.text().trim_start().starts_with("23 "), "{}", named.output.text());
    assert!(named.code_file.is_some_and(|file| file.ends_with("x/y.up")));
    let generated = outcome(&session, CodeBlock::new("upper", "text")).await;
    assert!(generated.code_file.is_some_and(|file| file.extension().is_some_and(|ending| ending == "up")));
}

async fn a_language_can_be_replaced(place: &dyn Place) {
    let session = with_language(place, Language::new("python", "py").command("cat", ["{file}"])).await;
    let outcome = outcome(&session, CodeBlock::new("py", "print(1)")).await;
    assert_eq!(outcome.stdout.text(), "print(1)");
}

async fn the_languages_of_a_session_can_be_listed(place: &dyn Place) {
    let session = with_language(place, Language::new("odd", "odd").command("cat", ["{file}"])).await;
    let languages = session.languages().await.expect("the session answers");
    let find = |name: &str| languages.iter().find(|language| language.name == name).expect(name);
    for name in ["python", "sh", "odd"] {
        let language = find(name);
        assert!(language.runs && language.interpreter.as_ref().is_some_and(|path| path.is_absolute()));
    }
    assert_eq!((find("json").runs, &find("json").interpreter), (false, &None));
    assert_eq!(find("python").extension, "py");
    assert!(find("python").aliases.contains(&"python3".to_owned()));
}
