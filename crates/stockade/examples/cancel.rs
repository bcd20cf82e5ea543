//! Cancels a call that takes too long, and keeps what it had printed.
//!
//! `cargo run -p stockade --example cancel`

use std::time::Duration;

use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor, Status};

#[tokio::main]
async fn main() -> stockade::Result<()> {
    let session = LocalCommandLineCodeExecutor::builder().build()?.start().await?;
    let blocks = [CodeBlock::new("sh", "echo working; sleep 600"), CodeBlock::new("sh", "echo never")];

    let token = CancellationToken::new();
    let patience = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        patience.cancel();
    });
    let result = session.execute_code_blocks(&blocks, &token).await?;

    assert_eq!(result.blocks.len(), 1);
    assert_eq!(result.blocks[0].status, Status::Cancelled);
    print!("exit code {}\n{}", result.exit_code, result.output);
    session.stop().await
}

#[test]
fn runs() -> stockade::Result<()> {
    main()
}
