//! Runs a few blocks in one workspace and looks at what came of them.
//!
//! `cargo run -p stockade --example run_blocks`

use std::time::Duration;

use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor};

#[tokio::main]
async fn main() -> stockade::Result<()> {
    let executor = LocalCommandLineCodeExecutor::builder().timeout(Duration::from_secs(30)).build()?;
    let session = executor.start().await?;

    let blocks = [
        CodeBlock::new("python", "# filename: squares.py\nsquares = [n * n for n in range(5)]\n"),
        CodeBlock::new("python", "import squares\nopen('squares.csv', 'w').write(str(squares.squares))\n"),
        CodeBlock::new("sh", "wc -c squares.csv"),
    ];
    let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;

    println!("exit code {}\n{}", result.exit_code, result.output);
    for block in &result.blocks {
        println!("{} {} in {:.1?}", block.language, block.status, block.duration);
        for file in &block.files {
            println!("  {} ({}, {} bytes)", file.path.display(), file.mime, file.size);
        }
    }
    session.stop().await
}

#[test]
fn runs() -> stockade::Result<()> {
    main()
}
