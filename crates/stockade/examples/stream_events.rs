//! Shows what a block prints while it runs.
//!
//! `cargo run -p stockade --example stream_events`

use stockade::{CodeBlock, Event, LocalCommandLineCodeExecutor};

const COUNT: &str = "import time\nfor n in range(3):\n    print('step', n)\n    time.sleep(0.2)\n";

#[tokio::main]
async fn main() -> stockade::Result<()> {
    let session = LocalCommandLineCodeExecutor::builder().build()?.start().await?;
    let blocks = [CodeBlock::new("python", COUNT), CodeBlock::new("sh", "echo oh no >&2; exit 3")];

    let mut events = session.call(&blocks[..]).events()?;
    while let Some(event) = events.next().await {
        match event? {
            Event::BlockStarted { index, language, .. } => println!("--- block {index}: {language}"),
            Event::Output { data, .. } => print!("{data}"),
            Event::BlockFinished(block) => println!("--- {} with {}", block.status, block.exit_code),
            Event::Finished(result) => println!("=== exit code {}", result.exit_code),
            _ => {}
        }
    }
    session.stop().await
}

#[test]
fn runs() -> stockade::Result<()> {
    main()
}
