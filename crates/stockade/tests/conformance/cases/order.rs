//! Line 2: blocks run in order and stop at the first that fails.

use stockade::CodeBlock;

use crate::{
    harness::{Options, Place, start, start_with},
    support::{run, sh},
};

every_place!(
    blocks_run_in_order,
    a_call_without_blocks_is_a_success,
    a_call_stops_at_the_first_block_that_fails,
    a_block_that_is_only_saved_does_not_stop_the_call,
    a_call_that_keeps_going_runs_all_blocks,
    whether_to_keep_going_can_be_said_for_one_call,
);

async fn blocks_run_in_order(place: &dyn Place) {
    let session = start(place).await;
    let blocks: Vec<CodeBlock> =
        (0..8).map(|number| sh(format!("echo {number} >> log; tail -n 1 log"))).collect();
    let result = run(&session, &blocks).await;
    assert_eq!(result.output, "0\n1\n2\n3\n4\n5\n6\n7\n");
    assert_eq!(result.blocks.iter().map(|block| block.index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
}

async fn a_call_without_blocks_is_a_success(place: &dyn Place) {
    let result = run(&start(place).await, &[]).await;
    assert_eq!((result.exit_code, result.output.as_str(), result.code_file), (0, "", None));
    assert!(result.blocks.is_empty());
}

/// Every way in which a block can fail by itself, with its exit code.
fn failures() -> [(CodeBlock, i32); 5] {
    [
        (sh("exit 3"), 3),
        (sh("kill -KILL $$"), 137),
        (sh("# filename: ../x.sh\n"), 1),
        (CodeBlock::new("no such language", ""), 1),
        (CodeBlock::new("python", "raise SystemExit(4)"), 4),
    ]
}

async fn a_call_stops_at_the_first_block_that_fails(place: &dyn Place) {
    let session = start(place).await;
    for (failure, exit_code) in failures() {
        let result = run(&session, &[sh("echo before"), failure.clone(), sh("touch it_ran")]).await;
        assert_eq!((result.exit_code, result.blocks.len()), (exit_code, 2), "{failure:?}");
        assert!(result.output.starts_with("before\n"));
    }
    assert_eq!(run(&session, &[sh("ls it_ran 2>/dev/null || echo none")]).await.output, "none\n");
}

async fn a_block_that_is_only_saved_does_not_stop_the_call(place: &dyn Place) {
    let session = start(place).await;
    let blocks = [CodeBlock::new("yaml", "# filename: data.yaml\na: 1\n"), sh("cat data.yaml")];
    let result = run(&session, &blocks).await;
    assert_eq!((result.exit_code, result.blocks.len()), (0, 2));
    assert_eq!(result.blocks[1].stdout.text(), "# filename: data.yaml\na: 1\n");
}

async fn a_call_that_keeps_going_runs_all_blocks(place: &dyn Place) {
    let session = start_with(place, Options { keep_going: Some(true), ..Options::default() }).await;
    for (failure, exit_code) in failures() {
        let result = run(&session, &[failure.clone(), sh("echo after")]).await;
        let exit_codes: Vec<i32> = result.blocks.iter().map(|block| block.exit_code).collect();
        assert_eq!(exit_codes, [exit_code, 0], "{failure:?}");
        assert_eq!(result.exit_code, 0, "it is the last block's");
        assert!(result.output.ends_with("after\n"));
    }
    let result = run(&session, &[sh("echo first"), sh("exit 5")]).await;
    assert_eq!(result.exit_code, 5);
}

async fn whether_to_keep_going_can_be_said_for_one_call(place: &dyn Place) {
    let blocks = [sh("exit 1"), sh("echo after")];
    for asked in [true, false] {
        let session = start_with(place, Options { keep_going: Some(!asked), ..Options::default() }).await;
        let result = session.call(&blocks[..]).keep_going(asked).run().await.expect("it runs");
        assert_eq!(result.blocks.len(), if asked { 2 } else { 1 });
        assert_eq!(run(&session, &blocks).await.blocks.len(), if asked { 1 } else { 2 });
    }
}
