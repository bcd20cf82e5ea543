//! The local executor as places: without a sandbox, and at each level of it.

use stockade::{CodeExecutor, LocalCommandLineCodeExecutor, Result, Sandbox, SandboxLevel};

use crate::{
    harness::{Interpreters, Offers, Options, PRELOADED, Place},
    support::need,
};

/// This host, without a sandbox.
pub(crate) static LOCAL: Local = Local { name: "local", level: None, interpreters: Interpreters::Fresh };

/// In namespaces.
pub(crate) static NAMESPACES: Local =
    Local { name: "namespaces", level: Some(SandboxLevel::Namespaces), interpreters: Interpreters::Waiting };

/// With Landlock and seccomp alone.
pub(crate) static LANDLOCK: Local =
    Local { name: "landlock", level: Some(SandboxLevel::Landlock), interpreters: Interpreters::Forked };

/// This host.
pub(crate) struct Local {
    name: &'static str,
    /// Of the sandbox, where there is one.
    level: Option<SandboxLevel>,
    interpreters: Interpreters,
}

impl Place for Local {
    fn name(&self) -> &'static str {
        self.name
    }

    fn missing(&self) -> Option<(&'static str, String)> {
        if !need::works("python3", &["-c", ""]) {
            return Some(("python", "python3 does not run here".to_owned()));
        }
        if self.level == Some(SandboxLevel::Namespaces) && !need::works("bwrap", &["--version"]) {
            return Some(("bubblewrap", "bwrap does not run here".to_owned()));
        }
        None
    }

    fn offers(&self) -> Offers {
        Offers { files_on_host: true, shared_work_dir: true, deletions_told: false, processes_on_host: true }
    }

    fn interpreters(&self) -> Interpreters {
        Interpreters::everywhere().unwrap_or(self.interpreters)
    }

    fn executor(&self, options: Options) -> Result<Box<dyn CodeExecutor>> {
        let mut builder = LocalCommandLineCodeExecutor::builder().inherit_env(options.inherit_env);
        builder = match self.interpreters() {
            Interpreters::Fresh => builder.spares(0),
            Interpreters::Waiting => builder,
            Interpreters::Forked => builder.preload(PRELOADED),
        };
        builder = match self.level {
            Some(level) => builder.sandbox(Sandbox::default().level(level)),
            None => builder.no_sandbox(),
        };
        if let Some(timeout) = options.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(work_dir) = options.work_dir {
            builder = builder.work_dir(work_dir);
        }
        for (name, value) in options.env {
            builder = builder.env(name, value);
        }
        if let Some(cleanup) = options.cleanup_temp_files {
            builder = builder.cleanup_temp_files(cleanup);
        }
        if let Some(bytes) = options.output_limit {
            builder = builder.output_limit(bytes);
        }
        if let Some(keep_going) = options.keep_going {
            builder = builder.keep_going(keep_going);
        }
        if let Some(merge_streams) = options.merge_streams {
            builder = builder.merge_streams(merge_streams);
        }
        for language in options.languages {
            builder = builder.language(language);
        }
        Ok(Box::new(builder.build()?))
    }
}
