//! What the host asks for. Owns the answers that take no run; starting runs is `admission`'s part.

use std::{path::Path, time::Duration};

use super::{
    End, Engine, Handled, Session,
    admission::{FIRST_OWN_RUN, Waiting},
    failed, failure,
    run::to_bytes,
    session::Refused,
};
use crate::{
    confinement::{ConfinementError, Confiner},
    interpreter,
    manifest::Scanner,
    source::RelativePath,
    wire::message::{Confined, Entry, Failure, LanguageReport, Refusal, Reply, Request, RunId, SessionSpec},
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
            Request::Preload { modules, env, timeout_ms } => {
                self.preload(modules, &env, Duration::from_millis(timeout_ms))
            }
            Request::Write { id, path, entry } => self.write(id, &path, entry),
            Request::Read { id, path, offset, length } => self.read(id, &path, offset, length),
            Request::Changes { id } => self.report_changes(id),
            Request::WatchBackground => {
                self.session.iter_mut().for_each(|session| session.watch_background = true);
                Ok(())
            }
        }
    }

    fn knows(&self, run: RunId) -> bool {
        let waits = || self.waiting.iter().any(|waiting| waiting.spec.run == run);
        run >= FIRST_OWN_RUN || self.runs.contains_key(&run) || waits()
    }

    fn start(&mut self, spec: SessionSpec) -> Handled {
        match self.open_session(spec) {
            Ok(confined) => Ok(self.link.send(&Reply::Ready { pid: std::process::id(), confined })?),
            Err((refusal, failure)) => {
                self.link.send(&Reply::StartFailed { refusal, failure })?;
                self.flush()?;
                Err(End::NotStarted)
            }
        }
    }

    /// Gives what confines the session's code.
    fn open_session(&mut self, spec: SessionSpec) -> Result<Option<Confined>, Refused> {
        let confiner = spec.confinement.as_ref().map(|wanted| Confiner::new(wanted, spec.memory_limit));
        let session = Session::open(spec, self.descriptor_limits)?;
        let confined = confiner.map(|confiner| self.keepers.confine(confiner?)).transpose();
        let refused = |error: ConfinementError| failure("confine the code", error.to_string());
        let confined = confined.map_err(|error| (Refusal::Confinement, refused(error)))?;
        self.session = Some(session);
        Ok(confined)
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

    fn write(&mut self, id: u64, path: &[u8], entry: Entry) -> Handled {
        let result = self.in_workspace("write", path, |workspace, scanner, path| {
            match entry {
                Entry::Directory => workspace.make_directory(path)?,
                Entry::Symlink { target } => workspace.make_symlink(path, &target)?,
                Entry::File { offset, executable, contents } => {
                    let saved = workspace.save_part(path, offset, executable, &contents)?;
                    scanner.remember(saved.name(), saved.stamp);
                }
            }
            Ok(to_bytes(&workspace.path().join(path)))
        });
        Ok(self.link.send(&Reply::Written { id, result })?)
    }

    fn read(&mut self, id: u64, path: &[u8], offset: u64, length: u64) -> Handled {
        let read = |workspace: &Workspace, _: &mut _, path: &_| workspace.read_part(path, offset, length);
        let result = self.in_workspace("read", path, read);
        Ok(self.link.send(&Reply::Read { id, result })?)
    }

    fn report_changes(&mut self, id: u64) -> Handled {
        let Some(session) = &mut self.session else { return Ok(()) };
        // Of one that is gone, what was there is told as deleted.
        let _ = session.workspace.refresh();
        let changes = self.snapshot.changes(session.workspace.directory());
        Ok(self.link.send(&Reply::Changes { id, changes })?)
    }

    /// Does something with a path of the host's in the workspace, as it is there now.
    fn in_workspace<T>(
        &mut self,
        verb: &str,
        path: &[u8],
        what: impl FnOnce(&Workspace, &mut Scanner, &Path) -> Result<T, SaveError>,
    ) -> Result<T, Failure> {
        let doing = format!("{verb} {} in the workspace", String::from_utf8_lossy(path));
        let session =
            self.session.as_mut().ok_or_else(|| failure(&doing, "there is no session".to_owned()))?;
        let path = RelativePath::new(path).map_err(|error| failure(&doing, error.to_string()))?;
        session.workspace.refresh().map_err(|error| failed(&doing, &error))?;
        what(&session.workspace, &mut self.scanner, path.as_path()).map_err(|error| refused(&doing, error))
    }
}

pub(super) fn refused(doing: &str, error: SaveError) -> Failure {
    match error {
        SaveError::Io(error) => failed(doing, &error),
        SaveError::Refused { errno, .. } => failed(doing, &errno.into()),
        error => failure(doing, error.to_string()),
    }
}
