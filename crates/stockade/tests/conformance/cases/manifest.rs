//! Line 16: which files a block created or changed.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use stockade::{BlockOutcome, Change};

use crate::{
    harness::{Place, start},
    support::{outcome, python, sh},
};

every_place!(
    created_and_changed_files_are_told_and_others_are_not,
    a_file_with_an_old_date_is_told_all_the_same,
    a_blocks_own_file_is_told_only_if_the_block_changed_it,
    what_tools_made_is_passed_over,
    only_regular_files_are_told,
    odd_names_are_told_as_they_are,
    too_many_files_are_told_in_part,
    files_are_told_however_the_block_ends,
);

/// The paths, each with what happened to it.
fn told(outcome: &BlockOutcome) -> Vec<(&str, Change)> {
    outcome.files.iter().map(|file| (file.path.to_str().expect("text"), file.change)).collect()
}

async fn created_and_changed_files_are_told_and_others_are_not(place: &dyn Place) {
    let session = start(place).await;
    let first = outcome(&session, sh("mkdir sub; echo 1 > sub/old; echo 1 > same; echo 1 > gone")).await;
    let created = Change::Created;
    assert_eq!(told(&first), [("gone", created), ("same", created), ("sub/old", created)]);
    let code =
        "echo more >> sub/old; mkdir -p a/b; printf 123 > a/b/plot.png; rm gone; cat same; touch x; rm x";
    let second = outcome(&session, sh(code)).await;
    let mut expected = vec![("a/b/plot.png", created), ("sub/old", Change::Changed)];
    if place.offers().deletions_told {
        expected.push(("gone", Change::Deleted));
    }
    assert_eq!(told(&second), expected);
    assert_eq!((second.files[0].size, second.files[0].mime.as_str()), (3, "image/png"));
    assert_eq!((second.files[1].size, second.files[1].mime.as_str()), (7, "application/octet-stream"));
    assert!(!second.files_truncated);
    assert_eq!(told(&outcome(&session, sh("cat sub/old")).await), []);
}

async fn a_file_with_an_old_date_is_told_all_the_same(place: &dyn Place) {
    let session = start(place).await;
    let code = "import os\nopen('old', 'w').write('x')\nos.utime('old', (0, 0))";
    assert_eq!(told(&outcome(&session, python(code)).await), [("old", Change::Created)]);
}

async fn a_blocks_own_file_is_told_only_if_the_block_changed_it(place: &dyn Place) {
    let session = start(place).await;
    assert_eq!(told(&outcome(&session, sh("# filename: own.sh\n:")).await), []);
    let changed = outcome(&session, sh("# filename: other.sh\nsleep 0.1; echo : >> other.sh")).await;
    assert_eq!(changed.files.len(), 1);
    assert_eq!(changed.files[0].path.to_str(), Some("other.sh"));
}

async fn what_tools_made_is_passed_over(place: &dyn Place) {
    let session = start(place).await;
    let code = "for directory in node_modules .git __pycache__ .venv mine deep/node_modules kept; do\n\
        mkdir -p $directory/below; echo x > $directory/below/file; done\n\
        touch mine/pyvenv.cfg";
    let outcome = outcome(&session, sh(code)).await;
    assert_eq!(told(&outcome), [("kept/below/file", Change::Created)]);
}

async fn only_regular_files_are_told(place: &dyn Place) {
    let session = start(place).await;
    let code = "mkdir directory; mkfifo fifo; ln -s /etc/passwd link; ln -s / root; echo x > file";
    assert_eq!(told(&outcome(&session, sh(code)).await), [("file", Change::Created)]);
}

async fn odd_names_are_told_as_they_are(place: &dyn Place) {
    let session = start(place).await;
    let code = "for name in (b'not \\xff text', b'two\\nlines', b' '): open(name, 'w').close()";
    let outcome = outcome(&session, python(code)).await;
    let names: Vec<&OsStr> = outcome.files.iter().map(|file| file.path.as_os_str()).collect();
    assert_eq!(names, [b" ".as_slice(), b"not \xff text", b"two\nlines"].map(OsStr::from_bytes));
    assert!(serde_json::to_string(&outcome).is_ok_and(|json| json.contains("not \u{fffd} text")));
}

async fn too_many_files_are_told_in_part(place: &dyn Place) {
    let session = start(place).await;
    let code = "for number in range(10_100): open(str(number), 'w').close()";
    let full = outcome(&session, python(code)).await;
    assert!(full.files_truncated && full.files.len() <= 10_000, "{}", full.files.len());
    assert_eq!(full.exit_code, 0);
    let few = outcome(&session, sh("find . -type f -name '[0-9]*' -delete; echo x > one")).await;
    assert!(!few.files_truncated);
}

async fn files_are_told_however_the_block_ends(place: &dyn Place) {
    let session = start(place).await;
    for (number, end) in ["exit 3", "kill -KILL $$"].into_iter().enumerate() {
        let outcome = outcome(&session, sh(format!("echo x > file_{number}; {end}"))).await;
        assert_eq!(told(&outcome), [(format!("file_{number}").as_str(), Change::Created)]);
    }
}
