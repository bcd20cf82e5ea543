//! What Python can't do sooner, whoever asks for it: the least that a process takes which is there already and waits for its
//! code over a pipe, and ends without the interpreter's own end. It has no limits, no streams of its own, and nobody who
//! would end what it starts.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    bare,
    statistics::{median, time},
    workbench::{PAUSE, Result},
};

const INTERPRETER: &str = "import os, sys; exec(sys.stdin.read()); os._exit(0)";

/// An interpreter that has started, and waits.
pub(crate) fn of_interpreter(python: &Path, code: &str, rounds: usize) -> Result<Duration> {
    let one = || {
        let mut command = Command::new(python);
        command.args(["-c", INTERPRETER]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        thread::sleep(PAUSE);
        let mut way = child.stdin.take().ok_or("it has no stdin")?;
        time(|| {
            way.write_all(code.as_bytes())?;
            drop(way);
            bare::finish(child)
        })
    };
    Ok(median((0..rounds).map(|_| one()).collect::<Result<_>>()?))
}

/// Tells how long each took, in seconds.
const FORKS: &str = r#"
import os, sys, time
rounds, pause, code = int(sys.argv[1]), float(sys.argv[2]), compile(sys.argv[3], "block", "exec")
exec(code, {})
for _ in range(rounds):
    way, tell = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.read(way, 1)
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    time.sleep(pause)
    begun = time.perf_counter()
    os.write(tell, b"!")
    os.waitpid(fork, 0)
    print(time.perf_counter() - begun, file=sys.stderr)
    os.close(way)
    os.close(tell)
"#;

/// A fork of an interpreter that has run the code once, and so has imported all that it needs.
pub(crate) fn of_fork(python: &Path, code: &str, rounds: usize) -> Result<Duration> {
    let mut command = Command::new(python);
    command.args(["-c", FORKS, &rounds.to_string(), &PAUSE.as_secs_f64().to_string(), code]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    let told = String::from_utf8(output.stderr)?;
    if !output.status.success() {
        return Err(format!("a bare fork ended with {}: {told}", output.status).into());
    }
    let times = told.lines().map(|line| Ok(Duration::from_secs_f64(line.parse()?)));
    Ok(median(times.collect::<Result<_>>()?))
}
