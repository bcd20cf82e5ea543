//! What the suites share: short ways to run a block, to follow one that runs, to find the processes that it left,
//! and to skip a test aloud.
#![allow(dead_code, reason = "each suite uses a part of this")]

pub(crate) mod mark;
pub(crate) mod need;
pub(crate) mod ordinary;
pub(crate) mod respawn;
pub(crate) mod running;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use stockade::{BlockOutcome, CancellationToken, CodeBlock, CommandLineCodeResult, Session};

pub(crate) use self::{mark::Mark, running::Running};

/// Long enough for a busy machine: what takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Python that makes `given-1.0-py3-none-any.whl`, with a module and a program that prints its name.
pub(crate) const MAKE_WHEEL: &str = r#"
import zipfile
info = 'given-1.0.dist-info'
files = {
    'given.py': 'def main():\n    print("given")\n',
    f'{info}/METADATA': 'Metadata-Version: 2.1\nName: given\nVersion: 1.0\n',
    f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    f'{info}/entry_points.txt': '[console_scripts]\ngiven = given:main\n',
}
names = [*files, f'{info}/RECORD']
files[f'{info}/RECORD'] = ''.join(f'{name},,\n' for name in names)
with zipfile.ZipFile('given-1.0-py3-none-any.whl', 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

pub(crate) fn python(code: impl Into<Vec<u8>>) -> CodeBlock {
    CodeBlock::new("python", code)
}

pub(crate) fn sh(code: impl Into<Vec<u8>>) -> CodeBlock {
    CodeBlock::new("sh", code)
}

/// Shell code that goes on when a file of this name is in its directory.
pub(crate) fn wait_for_file(name: &str) -> String {
    format!("until [ -e {name} ]; do sleep 0.02; done\n")
}

/// Runs blocks in a call that Stockade must not fail at.
pub(crate) async fn run(session: &Session, blocks: &[CodeBlock]) -> CommandLineCodeResult {
    session.execute_code_blocks(blocks, &CancellationToken::new()).await.expect("Stockade does its part")
}

/// Runs one block.
pub(crate) async fn outcome(session: &Session, block: CodeBlock) -> BlockOutcome {
    let mut result = run(session, &[block]).await;
    assert_eq!(result.blocks.len(), 1);
    result.blocks.remove(0)
}

/// Runs one block, which must succeed, and gives what it printed.
pub(crate) async fn output(session: &Session, block: CodeBlock) -> String {
    let outcome = outcome(session, block).await;
    assert_eq!(outcome.exit_code, 0, "{}", outcome.output);
    outcome.output.text().into_owned()
}

/// Waits for what must come.
pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Asks again and again for what nothing announces.
pub(crate) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
