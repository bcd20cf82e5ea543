//! Which files a block made or changed, as its outcome tells it.

use std::fs;

use stockade_runner::outcome::Change::{Changed, Created};

use crate::harness::{Runner, sh};

#[test]
fn an_outcome_tells_what_was_created_and_what_was_changed() {
    let mut runner = Runner::start();
    fs::write(runner.path("old.txt"), "old").expect("written");
    fs::write(runner.path("untouched.txt"), "old").expect("written");
    // The file system's clock ticks: what was written now is older than the block only once it has.
    runner.ran(sh("sleep 0.05"));
    let ran = runner.ran(sh("echo more >> old.txt; mkdir -p a/b; printf 12345 > a/b/new.bin; : > empty"));
    let expected = [("a/b/new.bin", 5, Created), ("empty", 0, Created), ("old.txt", 8, Changed)];
    assert_eq!(ran.files(), expected.map(|(path, size, change)| (path.to_owned(), size, change)));
    assert!(!ran.outcome().files_truncated);
    runner.ran(sh("sleep 0.05"));
    assert_eq!(runner.ran(sh("cat old.txt")).files(), [], "what is only read is not told");
}

#[test]
fn an_outcome_tells_nothing_of_what_tools_keep_for_themselves() {
    let mut runner = Runner::start();
    let code = "mkdir -p node_modules/x .git __pycache__ venv/lib kept; \
                touch node_modules/x/a .git/b __pycache__/c venv/pyvenv.cfg venv/lib/d kept/e";
    assert_eq!(runner.ran(sh(code)).files(), [("kept/e".to_owned(), 0, Created)]);
}

#[test]
fn an_outcome_tells_nothing_of_the_blocks_own_file_unless_it_changed_it() {
    let mut runner = Runner::start();
    assert_eq!(runner.ran(sh("# filename: own.sh\ntrue")).files(), []);
    let ran = runner.ran(sh("# filename: own.sh\nprintf '# more' >> own.sh"));
    let paths: Vec<String> = ran.files().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, ["own.sh"]);
}

#[test]
fn an_outcome_tells_the_files_of_a_block_that_was_ended() {
    let mut runner = Runner::start();
    let ran = runner.ran(crate::harness::soon_out_of_time(sh("echo > made; sleep 987")));
    assert_eq!(ran.files(), [("made".to_owned(), 1, Created)]);
}

#[test]
fn an_outcome_says_so_when_there_is_too_much_to_look_at() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("mkdir many; cd many; seq 10001 | xargs touch"));
    assert!(ran.outcome().files_truncated);
    fs::remove_dir_all(runner.path("many")).expect("removed");
    assert!(!runner.ran(sh("true")).outcome().files_truncated);
}
