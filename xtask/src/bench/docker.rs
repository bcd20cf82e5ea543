//! Sessions in containers, beside the docker command doing the same: `docker exec` in the very container for a block,
//! `docker run` of the same image for a start. Owns what a daemon and an image are needed for: without a daemon these
//! rows say so, and are no failure.

use std::{
    env,
    io::Read,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use stockade::{CodeBlock, DockerCommandLineCodeExecutor, Session, session_containers};

use crate::{
    procfs,
    statistics::{by_turns, by_turns_of, median, time},
    table::{Row, format_time},
    workbench::{PAUSE, Result, Workbench, succeeded},
};

/// Blocks of one kind in a row: the daemon works on after a `docker exec` has returned.
const TURN: usize = 10;
/// Blocks at once, and how many each lane runs in a round.
const WIDTH: usize = 8;
const TURNS: usize = 50;
/// Sessions that are started at the same time.
const STARTING: usize = 4;

/// The image, by the variable that the tests are given too.
pub(crate) fn image() -> String {
    env::var("STOCKADE_TEST_IMAGE").unwrap_or_else(|_| "python:3-slim".to_owned())
}

/// The daemon's address, likewise; by default it is looked for.
fn daemon() -> Option<String> {
    env::var("STOCKADE_TEST_DOCKER").ok()
}

pub(crate) fn executor() -> Result<DockerCommandLineCodeExecutor> {
    let builder = DockerCommandLineCodeExecutor::builder().image(image()).delete_tmp_files(true);
    Ok(daemon().into_iter().fold(builder, |builder, daemon| builder.daemon(daemon)).build()?)
}

/// The docker command, for the same daemon.
pub(crate) fn docker() -> Command {
    let mut command = Command::new("docker");
    command.args(daemon().iter().flat_map(|daemon| ["--host", daemon]));
    command
}

/// The rows of `measure`, or one that says that there is no daemon.
pub(crate) fn where_there_is_a_daemon(
    workbench: &Workbench,
    what: &str,
    measure: impl FnOnce() -> Result<Vec<Row>>,
) -> Result<Vec<Row>> {
    match workbench.wait(session_containers(daemon().as_deref())) {
        Ok(_) => measure(),
        Err(stockade::Error::DaemonUnreachable { .. }) => {
            Ok(vec![Row::new(what, "not measured: no Docker daemon answers")])
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn blocks(workbench: &Workbench) -> Result<Vec<Row>> {
    where_there_is_a_daemon(workbench, "Docker: blocks", || {
        let session = workbench.wait(executor()?.start())?;
        let mut rows = Vec::new();
        for (language, code, most, times) in
            [("sh", "true", Some(Duration::from_millis(2)), 25.0), ("python", "pass", None, 4.0)]
        {
            let block = CodeBlock::new(language, code);
            let pair = by_turns_of(
                TURN,
                workbench.count(8, 2),
                || time(|| workbench.run(&session, &block)),
                || time(|| exec(&session, language, code)),
            )?;
            let row =
                Row::speeds(format!("Docker: `{language}` block of `{code}`; bare: `docker exec`"), &pair);
            let (target, fast) = match most {
                Some(most) => (format!("≤ {}, ≥ {times:.0} times", format_time(most)), pair.stockade <= most),
                None => (format!("≥ {times:.0} times"), true),
            };
            rows.push(row.target(target, fast && pair.rate_ratio() >= times));
        }
        rows.push(with_a_spare(workbench, &session)?);
        rows.push(at_once(workbench, &session)?);
        workbench.stop(session)?;
        Ok(rows)
    })
}

fn with_a_spare(workbench: &Workbench, session: &Session) -> Result<Row> {
    let block = CodeBlock::new("python", "pass");
    let pair = by_turns_of(
        TURN,
        workbench.count(6, 2),
        || {
            thread::sleep(PAUSE);
            time(|| workbench.run(session, &block))
        },
        || time(|| exec(session, "python", "pass")),
    )?;
    let row = Row::speeds("Docker: `python` block of `pass`, a spare ready; bare: `docker exec`", &pair);
    Ok(row.target("≤ 3 ms", pair.stockade <= Duration::from_millis(3)))
}

/// The same code in the session's own container, by the docker command.
fn exec(session: &Session, language: &str, code: &str) -> Result<()> {
    let container = session.info().container.as_ref().ok_or("the session has no container")?;
    let program = if language == "sh" { "sh" } else { "python3" };
    let mut command = docker();
    command.args(["exec", &container.id, program, "-c", code]).stdin(Stdio::null()).stdout(Stdio::null());
    crate::bare::succeed(&mut command)
}

fn at_once(workbench: &Workbench, session: &Session) -> Result<Row> {
    let mut rounds = Vec::new();
    for _ in 0..workbench.count(10, 3) {
        rounds.push(time(|| {
            let lanes = (0..WIDTH).map(|_| {
                let codes = (0..TURNS).map(|_| workbench.distinct_code());
                let calls: Vec<_> =
                    codes.map(|code| session.call(vec![CodeBlock::new("sh", code)])).collect();
                async move {
                    for call in calls {
                        succeeded(call.run().await?)?;
                    }
                    Ok(())
                }
            });
            workbench.wait_for_all(lanes).map(drop)
        })?);
    }
    let rate = (WIDTH * TURNS) as f64 / median(rounds).as_secs_f64();
    let what = format!("Docker: {WIDTH} `sh` blocks of `true` at once");
    Ok(Row::new(what, format!("{rate:.0} blocks/s")).target("≥ 500 blocks/s", rate >= 500.0))
}

pub(crate) fn start_and_stop(workbench: &Workbench) -> Result<Vec<Row>> {
    where_there_is_a_daemon(workbench, "Docker: start and stop", || {
        let executor = executor()?;
        let mut stops = Vec::new();
        let start = by_turns(
            workbench.count(20, 5),
            || {
                let mut session = None;
                let started = time(|| {
                    session = Some(workbench.wait(executor.start())?);
                    Ok(())
                })?;
                if let Some(session) = session {
                    stops.push(time(|| workbench.stop(session))?);
                }
                Ok(started)
            },
            first_output_of_docker_run,
        )?;
        let ratio = start.stockade.as_secs_f64() / start.bare.as_secs_f64();
        let stop = median(stops);
        Ok(vec![
            Row::new(
                "Docker: start of a session; bare: `docker run -i`, first output",
                format_time(start.stockade),
            )
            .bare(format_time(start.bare), format!("{ratio:.2} times the time"))
            .target("≤ 1.15 times", ratio <= 1.15),
            Row::new("Docker: stop of a session, its container gone", format_time(stop))
                .target("≤ 150 ms", stop <= Duration::from_millis(150)),
        ])
    })
}

fn first_output_of_docker_run() -> Result<Duration> {
    let mut child = None;
    let elapsed = time(|| {
        let mut command = docker();
        command.args(["run", "--rm", "--interactive", "--entrypoint", "sh", &image(), "-c", "echo; cat"]);
        let spawned = child.insert(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut first = [0];
        Ok(spawned.stdout.as_mut().ok_or("no stdout")?.read_exact(&mut first)?)
    })?;
    // Its stdin is closed by the wait.
    child.ok_or("no process")?.wait()?;
    Ok(elapsed)
}

pub(crate) fn many(workbench: &Workbench) -> Result<Vec<Row>> {
    where_there_is_a_daemon(workbench, "Docker: many sessions", || {
        let count = workbench.count(50, 8);
        let mut sessions = Vec::new();
        let started = time(|| {
            let lanes = (0..STARTING).map(|lane| {
                let executor = executor();
                async move {
                    let executor = executor?;
                    let mut sessions = Vec::new();
                    for _ in (lane..count).step_by(STARTING) {
                        sessions.push(executor.start().await?);
                    }
                    Ok(sessions)
                }
            });
            sessions.extend(workbench.wait_for_all(lanes)?.into_iter().flatten());
            Ok(())
        })?;
        let ran = time(|| {
            let calls = sessions.iter().map(|session| session.call(vec![CodeBlock::new("sh", "true")]));
            workbench.wait_for_all(calls.map(|call| async { succeeded(call.run().await?) })).map(drop)
        })?;
        let stopped = time(|| {
            let stops = sessions.into_iter().map(|session| async { Ok(session.stop().await?) });
            workbench.wait_for_all(stops).map(drop)
        })?;
        let each = |time: Duration| format!("{} each", format_time(time / count as u32));
        Ok(vec![
            Row::new(format!("Docker: {count} sessions at once: start"), each(started)),
            Row::new("… one `sh` block in each, all at once", format_time(ran)),
            Row::new("… stop, all at once", each(stopped)),
        ])
    })
}

pub(crate) fn cycles(workbench: &Workbench) -> Result<Vec<Row>> {
    where_there_is_a_daemon(workbench, "Docker: cycles", || {
        let executor = executor()?;
        let cycle = || -> Result<()> { workbench.stop(workbench.wait(executor.start())?) };
        // The first ones open the connections that stay.
        (0..3).try_for_each(|_| cycle())?;
        let before =
            (procfs::own_descriptors_at_rest()?, listed("ps", &["--all"])?, listed("volume", &["ls"])?);
        let count = workbench.count(1000, 20);
        let elapsed = time(|| (0..count).try_for_each(|_| cycle()))?;
        let after =
            (procfs::own_descriptors_at_rest()?, listed("ps", &["--all"])?, listed("volume", &["ls"])?);
        let left = [
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
            after.2.saturating_sub(before.2),
        ];
        let each = format!("{} each", format_time(elapsed / count as u32));
        let [descriptors, containers, volumes] = left;
        Ok(vec![
            Row::new(format!("Docker: {count} times start and stop"), each),
            Row::new(
                "… containers, volumes and descriptors of the host that stay",
                format!("{containers}, {volumes}, {descriptors}"),
            )
            .target("none", left == [0, 0, 0]),
        ])
    })
}

/// How many the docker command lists.
pub(crate) fn listed(what: &str, arguments: &[&str]) -> Result<usize> {
    let output = docker().arg(what).args(arguments).arg("--quiet").output()?;
    if !output.status.success() {
        return Err(format!("docker {what}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().count())
}
