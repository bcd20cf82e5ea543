//! `stockade languages`: what can be written in a block, and what would run it on this machine or in a
//! container. Asks a runner there, for it is the one that looks.

use anstyle::Style;
use stockade::{DockerCommandLineCodeExecutor, LanguageReport, LocalCommandLineCodeExecutor};

use crate::{
    args::LanguagesArgs,
    error::Error,
    render::{self, BAD, BOLD, DIM, PLAIN},
    runtime, signals, start,
    table::Table,
    terminal::visible,
};

/// Prints the languages; the exit status.
pub(crate) fn languages(args: &LanguagesArgs) -> u8 {
    let reported = runtime::block_on(ask(args)).and_then(|reports| reports);
    render::status(reported.and_then(|reports| {
        if args.json { render::print_json(&reports) } else { render::print_text(&table(&reports)) }
    }))
}

async fn ask(args: &LanguagesArgs) -> Result<Vec<LanguageReport>, Error> {
    let session = if args.docker.is_asked_for() {
        let token = signals::cancelled_by_signals()?;
        let executor = DockerCommandLineCodeExecutor::builder();
        start::container(executor, &args.docker, !args.json, &token).await?
    } else {
        LocalCommandLineCodeExecutor::builder().build()?.start().await?
    };
    let reports = session.languages().await;
    session.stop().await?;
    Ok(reports?)
}

fn table(reports: &[LanguageReport]) -> String {
    let mut table = Table::default();
    table.row(["LANGUAGE", "ALSO", "ENDING", "RUN BY"].map(|title| (BOLD, title.to_owned())).into());
    for report in reports {
        table.row(vec![
            (PLAIN, report.name.clone()),
            (DIM, report.aliases.join(", ")),
            (DIM, format!(".{}", report.extension)),
            run_by(report),
        ]);
    }
    table.to_string()
}

fn run_by(report: &LanguageReport) -> (Style, String) {
    match &report.interpreter {
        Some(path) => (PLAIN, visible(&path.to_string_lossy()).into_owned()),
        None if report.runs => (BAD, "not found".to_owned()),
        None => (DIM, "saved, not run".to_owned()),
    }
}
