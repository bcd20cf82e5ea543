//! What Python adds to the library: a block of each in this one run, and the import of the package. The package is asked
//! in an interpreter of its own, which measures by itself: what it costs to ask it counts nowhere.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use stockade::CodeBlock;

use crate::{
    statistics::{by_turns, time},
    table::Row,
    workbench::{Result, Workbench},
};

/// By which `cargo xtask bench` tells of a Python with the package, and with AutoGen's.
pub(crate) const PYTHON: &str = "STOCKADE_BENCH_PYTHON";

/// Runs a block for each line that it reads, and says how many nanoseconds that took.
const BLOCKS: &str = r#"
import asyncio, sys, time
from stockade import CodeBlock, LocalCommandLineCodeExecutor
async def main():
    blocks = [CodeBlock("true", "sh")]
    async with LocalCommandLineCodeExecutor(sandbox=None) as executor:
        for _ in sys.stdin:
            start = time.perf_counter_ns()
            result = await executor.execute_code_blocks(blocks)
            taken = time.perf_counter_ns() - start
            assert result.exit_code == 0
            print(taken, flush=True)
asyncio.run(main())
"#;

pub(crate) fn block_and_import(workbench: &Workbench) -> Result<Vec<Row>> {
    let interpreter = interpreter()?;
    Ok(vec![block(workbench, &interpreter)?, import(workbench, &interpreter)?])
}

/// The one into which `cargo xtask bench` has installed the package.
pub(crate) fn interpreter() -> Result<PathBuf> {
    let why = || format!("{PYTHON} is not set: `cargo xtask bench` sets it");
    Ok(env::var_os(PYTHON).ok_or_else(why)?.into())
}

fn block(workbench: &Workbench, interpreter: &PathBuf) -> Result<Row> {
    let session = workbench.session()?;
    let mut python = Asked::start(Command::new(interpreter).args(["-I", "-c", BLOCKS]))?;
    let block = CodeBlock::new("sh", "true");
    let pair =
        by_turns(workbench.count(400, 100), || python.ask(), || time(|| workbench.run(&session, &block)))?;
    workbench.stop(session)?;
    let row = Row::times("`sh` block of `true`, from Python beside Rust", &pair);
    Ok(row.target("≤ +0.2 ms", pair.overhead_ms() <= 0.2))
}

fn import(workbench: &Workbench, interpreter: &PathBuf) -> Result<Row> {
    let run = |program: &str| -> Result<()> {
        let status = Command::new(interpreter).args(["-I", "-c", program]).status()?;
        if status.success() { Ok(()) } else { Err(format!("`{program}` ended with {status}").into()) }
    };
    let pair =
        by_turns(workbench.count(60, 15), || time(|| run("import stockade")), || time(|| run("pass")))?;
    let row = Row::times("`import stockade`, beside a bare interpreter", &pair);
    Ok(row.target("≤ +30 ms", pair.overhead_ms() <= 30.0))
}

/// A program that is asked for one measurement after another. It ends when nobody asks any more.
struct Asked {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Asked {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("it has no stdout")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self) -> Result<Duration> {
        self.child.stdin.as_mut().ok_or("it has no stdin")?.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(Duration::from_nanos(answer.trim().parse()?))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
