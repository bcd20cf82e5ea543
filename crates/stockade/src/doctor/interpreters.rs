//! What runs each language on this host, and what it says about its version. Owns the asking, in the strongest sandbox
//! that starts, and the packages that hold what is missing.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use super::{
    Finding, State, Subject, local,
    trial::{self, Refusal},
};
use crate::{CodeBlock, LanguageReport, SandboxLevel, Session, Status};

/// Longer than an interpreter takes to say its version, and not too long for who waits for the answer.
const VERSION: Duration = Duration::from_secs(5);

/// How each is installed, where it is not there.
const INSTALL: &[(&str, &str)] = &[
    ("python", "`apt-get install python3`"),
    ("bash", "`apt-get install bash`"),
    ("sh", "`apt-get install dash`"),
    ("zsh", "`apt-get install zsh`"),
    ("pwsh", "`snap install powershell --classic`, or take Microsoft's packages"),
    ("javascript", "`apt-get install nodejs`"),
    ("typescript", "`npm install --global tsx`"),
    ("ruby", "`apt-get install ruby`"),
    ("perl", "`apt-get install perl`"),
    ("php", "`apt-get install php-cli`"),
    ("lua", "`apt-get install lua5.4`"),
    ("r", "`apt-get install r-base-core`"),
    ("julia", "`snap install julia --classic`, or juliaup"),
    ("go", "`apt-get install golang-go`"),
    ("rust", "`apt-get install rustc`, or rustup"),
    ("c", "`apt-get install gcc libc6-dev`"),
    ("cpp", "`apt-get install g++`"),
    ("java", "`apt-get install default-jdk-headless`"),
];

/// What became of asking one.
enum Answer {
    /// The first line that it printed; `None` of sh, which need not know such a flag.
    Version(Option<String>),
    /// Why it could not be asked.
    Refused(String),
}

/// Of the languages that run, in a session at this level.
pub(super) async fn findings(level: Option<SandboxLevel>) -> Vec<Finding> {
    asked(level).await.unwrap_or_else(|refusal| vec![unknown(refusal)])
}

/// Versions are asked for all at once.
async fn asked(level: Option<SandboxLevel>) -> Result<Vec<Finding>, Refusal> {
    let session = local::start(level).await?;
    let late = |_| Refusal::slow("looking for interpreters", local::START);
    let reports = timeout(local::START, session.languages()).await.map_err(late)??;
    let session = Arc::new(session);
    let mut asked = JoinSet::new();
    let mut findings = BTreeMap::new();
    let runs = reports.into_iter().filter(|report| report.runs).enumerate();
    for (place, LanguageReport { name, interpreter, .. }) in runs {
        let Some(path) = interpreter else {
            findings.insert(place, missing(&name));
            continue;
        };
        let session = Arc::clone(&session);
        asked.spawn(async move {
            let answer = version(&session, &name, &path).await;
            (place, found(&name, &path, answer, level))
        });
    }
    while let Some(answered) = asked.join_next().await {
        findings.extend(answered.ok());
    }
    if let Some(session) = Arc::into_inner(session) {
        // What it found holds, however it ends.
        let _ = trial::stop(session).await;
    }
    Ok(findings.into_values().collect())
}

/// No session could be asked.
fn unknown(refusal: Refusal) -> Finding {
    let detail = "no session could be asked for interpreters";
    Finding::lacking(Subject::Interpreters, "all", State::Absent, detail, refusal.why, refusal.fix)
}

fn missing(language: &str) -> Finding {
    let install = INSTALL.iter().find(|(name, _)| *name == language);
    let fix = install.map_or("install it, in a folder on PATH", |(_, fix)| fix);
    let why = "none of the programs that run it is on PATH";
    Finding::lacking(Subject::Interpreters, language, State::Absent, "not found", why, fix)
}

fn found(language: &str, path: &Path, answer: Answer, level: Option<SandboxLevel>) -> Finding {
    let path = path.display();
    match answer {
        Answer::Version(Some(version)) => {
            Finding::enforced(Subject::Interpreters, language, format!("{path}, {version}"))
        }
        Answer::Version(None) => Finding::enforced(Subject::Interpreters, language, path.to_string()),
        Answer::Refused(why) => {
            let place = level.map_or("here".to_owned(), |level| format!("in the sandbox ({level})"));
            let why = format!("asked for its version {place}, {why}");
            let fix =
                format!("see whether a block of it works (`stockade run -l {language}`), or install it anew");
            Finding::lacking(Subject::Interpreters, language, State::Degraded, path.to_string(), why, fix)
        }
    }
}

async fn version(session: &Session, language: &str, path: &Path) -> Answer {
    let flag = match language {
        "go" => "version",
        "lua" => "-v",
        _ => "--version",
    };
    let quoted = path.to_string_lossy().replace('\'', r"'\''");
    let asking = vec![CodeBlock::new("sh", format!("exec '{quoted}' {flag} 2>&1"))];
    let ran = match session.call(asking).discard_file().timeout(VERSION).run().await {
        Ok(ran) => ran,
        Err(error) => return Answer::Refused(format!("the session failed: {error}")),
    };
    let line = ran.output.lines().map(str::trim).find(|line| !line.is_empty());
    match (ran.exit_code, ran.blocks.first().map(|block| block.status)) {
        (_, Some(Status::TimedOut)) => {
            Answer::Refused(format!("it did not end within {} s", VERSION.as_secs()))
        }
        (0, _) => Answer::Version(line.map(str::to_owned)),
        (126 | 127, _) => Answer::Refused(format!("it could not be executed: {}", line.unwrap_or_default())),
        (code, _) if language == "sh" && code < 128 => Answer::Version(None),
        (code, _) => Answer::Refused(format!(
            "it ended with exit code {code}: {}",
            line.unwrap_or("it printed nothing")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Languages;

    #[test]
    fn every_language_that_runs_can_be_installed() {
        let languages = Languages::default();
        for language in languages.iter().filter(|language| language.runs()) {
            assert!(INSTALL.iter().any(|(name, _)| *name == language.name), "{}", language.name);
        }
    }

    #[test]
    fn a_program_that_can_not_be_asked_is_not_simply_there() {
        let path = Path::new("/opt/it");
        let finding = |answer| found("zsh", path, answer, Some(SandboxLevel::Landlock));
        let refused = finding(Answer::Refused("it hung".to_owned()));
        assert_eq!(refused.state, State::Degraded);
        assert_eq!(refused.why.as_deref(), Some("asked for its version in the sandbox (landlock), it hung"));
        assert_eq!(finding(Answer::Version(None)).state, State::Enforced);
    }
}
