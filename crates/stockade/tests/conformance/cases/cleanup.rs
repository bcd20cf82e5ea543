//! Line 12: what is cleaned up is what Stockade made, and nothing else.

use std::{fs, time::Duration};

use stockade::CodeBlock;

use crate::{
    harness::{Options, Place, start, start_with},
    support::{eventually, outcome, output, python, run, sh},
};

every_place!(
    a_generated_file_is_removed_after_its_run_however_that_ends,
    a_generated_file_is_kept_when_that_is_asked_for,
    a_file_that_a_block_named_is_kept,
    a_file_of_the_user_is_kept_even_under_a_generated_name,
    what_a_block_made_is_kept,
    a_temporary_workspace_is_removed_at_the_end,
    the_users_work_dir_is_kept_at_the_end,
);

/// Counts the files of that beginning but for its own.
const COUNT: &str = "# filename: count.sh\nls | grep -c ^tmp_code_ || :";

async fn a_generated_file_is_removed_after_its_run_however_that_ends(place: &dyn Place) {
    let session = start_with(place, Options::cleaning_up()).await;
    run(&session, &[sh("echo fine"), python("print('fine')"), sh("exit 3")]).await;
    run(&session, &[sh("kill -KILL $$")]).await;
    let late = session.call(vec![sh("sleep 600")]).timeout(Duration::from_millis(300)).run().await;
    assert_eq!(late.expect("it runs").exit_code, 124);
    assert_eq!(output(&session, sh(COUNT)).await, "0\n");
}

async fn a_generated_file_is_kept_when_that_is_asked_for(place: &dyn Place) {
    let session = start_with(place, Options { cleanup_temp_files: Some(false), ..Options::default() }).await;
    let kept = outcome(&session, sh("echo kept")).await.code_file.expect("it has a file");
    let name = kept.file_name().expect("it has a name").display().to_string();
    assert_eq!(output(&session, sh(format!("# filename: see.sh\ncat {name}"))).await, "echo kept");
}

async fn a_file_that_a_block_named_is_kept(place: &dyn Place) {
    let session = start_with(place, Options::cleaning_up()).await;
    run(&session, &[sh("# filename: named.sh\nexit 3")]).await;
    // One that is only saved has no other purpose, whoever chose its name.
    let saved = outcome(&session, CodeBlock::new("json", "{\"kept\": true}")).await;
    let saved = saved.code_file.expect("it has a file");
    let name = saved.file_name().expect("it has a name").display().to_string();
    let seen = output(&session, sh(format!("ls named.sh; cat {name}"))).await;
    assert_eq!(seen, "named.sh\n{\"kept\": true}");
}

async fn a_file_of_the_user_is_kept_even_under_a_generated_name(place: &dyn Place) {
    let session = start_with(place, Options::cleaning_up()).await;
    let code = "echo mine";
    let file = outcome(&session, sh(code)).await.code_file.expect("it has a file");
    let name = file.file_name().expect("it has a name");
    session.put_file(name, code).await.expect("it is saved");
    assert_eq!(output(&session, sh(code)).await, "mine\n");
    assert_eq!(output(&session, sh(format!("cat {}", name.display()))).await, code);
}

async fn what_a_block_made_is_kept(place: &dyn Place) {
    let session = start_with(place, Options::cleaning_up()).await;
    let blocks = [sh("echo made > tmp_code_of_mine; echo made > other"), sh("cat tmp_code_of_mine other")];
    assert_eq!(run(&session, &blocks).await.output, "made\nmade\n");
}

async fn a_temporary_workspace_is_removed_at_the_end(place: &dyn Place) {
    if !place.offers().files_on_host {
        return;
    }
    let (stopped, dropped) = (start(place).await, start(place).await);
    let directories = [&stopped, &dropped].map(|session| session.work_dir().to_owned());
    for session in [&stopped, &dropped] {
        // A directory that can't be written to can be removed all the same.
        output(session, sh("mkdir -p a/b; touch a/b/c; chmod 500 a/b; ln -s / root; chmod 500 .")).await;
    }
    assert!(directories.iter().all(|directory| directory.is_dir()));
    stopped.stop().await.expect("it stops");
    assert!(!directories[0].exists());
    drop(dropped);
    eventually("the end of the workspace", || (!directories[1].exists()).then_some(())).await;
}

async fn the_users_work_dir_is_kept_at_the_end(place: &dyn Place) {
    if !place.offers().files_on_host {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory can be made");
    fs::write(directory.path().join("users.txt"), "mine").expect("it is written");
    let work_dir = Some(directory.path().to_owned());
    let session = start_with(place, Options { work_dir, ..Options::cleaning_up() }).await;
    assert_eq!(output(&session, sh("cat users.txt; echo made > made.txt")).await, "mine");
    session.stop().await.expect("it stops");
    let mut names: Vec<_> =
        fs::read_dir(&directory).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["made.txt", "users.txt"]);
}
