//! What the host asks for. Owns the answers that take no run; starting runs is `admission`'s part.

use std::{io, time::Duration};

use super::{
    End, Engine, Handled, Session,
    admission::{FIRST_PROBE, Waiting},
    failed, failure,
    run::{to_bytes, to_path},
};
use crate::{
    environment::Environment,
    interpreter,
    language::Languages,
    source::RelativePath,
    wire::message::{LanguageReport, Reply, Request, RunId, SessionSpec},
    workspace::{SaveError, Workspace},
};

impl Engine {
    pub(super) fn obey(&mut self, request: Request) -> Handled {
        match request {
            Request::Start(spec) if self.session.is_none() => self.start(spec),
            Request::Heartbeat => Ok(self.link.send(&Reply::Heartbeat)?),
            Request::Stop => Err(End::Stop),
            _ if self.session.is_none() => Ok(()),
            Request::Run(spec) if !self.knows(spec.run) => {
                self.waiting.push_back(Waiting::new(spec));
                self.admit()
            }
            // No host of ours starts twice, or two runs of one number.
            Request::Start(_) | Request::Run(_) => Err(End::Link),
            Request::Cancel { run } => self.cancel(run),
            Request::Credit { run, bytes } => {
                self.take_credit(run, bytes);
                Ok(())
            }
            Request::Languages => self.report_languages(),
            Request::Write { id, path, contents } => self.write(id, &path, &contents),
            Request::WatchBackground => {
                self.session.iter_mut().for_each(|session| session.watch_background = true);
                Ok(())
            }
        }
    }

    fn knows(&self, run: RunId) -> bool {
        let waits = || self.waiting.iter().any(|waiting| waiting.spec.run == run);
        run >= FIRST_PROBE || self.runs.contains_key(&run) || waits()
    }

    fn start(&mut self, spec: SessionSpec) -> Handled {
        let path = to_path(&spec.workspace);
        let opened = match path.is_absolute() {
            true => Workspace::open(&path, spec.cleanup_temp_files),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is not absolute")),
        };
        let workspace = match opened {
            Ok(workspace) => workspace,
            Err(error) => {
                let failure = failed(&format!("use {} as the workspace", path.display()), &error);
                self.link.send(&Reply::StartFailed(failure))?;
                self.flush()?;
                return Err(End::NotStarted);
            }
        };
        self.session = Some(Session {
            workspace,
            environment: Environment::of_this_process().with(&spec.env).into(),
            languages: Languages::new(spec.languages),
            remove_workspace: spec.remove_workspace,
            heartbeat_timeout: spec.heartbeat_timeout_ms.map(Duration::from_millis),
            watch_background: false,
        });
        Ok(self.link.send(&Reply::Ready { pid: std::process::id() })?)
    }

    fn report_languages(&mut self) -> Handled {
        let Some(session) = &self.session else { return Ok(()) };
        let reports = session.languages.iter().map(|language| LanguageReport {
            name: language.name.clone(),
            aliases: language.aliases.clone(),
            extension: language.extension.clone(),
            runs: language.runs(),
            interpreter: interpreter::find(language, &session.environment)
                .ok()
                .map(|found| to_bytes(&found.program)),
        });
        Ok(self.link.send(&Reply::Languages(reports.collect()))?)
    }

    fn write(&mut self, id: u64, path: &[u8], contents: &[u8]) -> Handled {
        let Some(session) = &mut self.session else { return Ok(()) };
        let doing = format!("write {} in the workspace", String::from_utf8_lossy(path));
        let result =
            RelativePath::new(path).map_err(|error| failure(&doing, error.to_string())).and_then(|path| {
                session.workspace.refresh().map_err(|error| failed(&doing, &error))?;
                let saved = session.workspace.save_named(path.as_path(), contents);
                let saved = saved.map_err(|error| match error {
                    SaveError::Io(error) => failed(&doing, &error),
                    error => failure(&doing, error.to_string()),
                })?;
                self.scanner.remember(saved.name(), saved.stamp);
                Ok(to_bytes(&session.workspace.path().join(path.as_path())))
            });
        Ok(self.link.send(&Reply::Written { id, result })?)
    }
}
