//! The Docker executor as places: a work_dir that is mounted and one that is copied, at Docker and at Podman.
//! `cargo xtask test` sets the variables that name the daemons and the image.

use std::env;

use stockade::{CodeExecutor, DockerCommandLineCodeExecutor, Result, WorkspaceMode};

use crate::{
    harness::{Interpreters, Offers, Options, PRELOADED, Place},
    support::need,
};

/// An image with a shell and Python, by a name that all daemons have for it.
const IMAGE: &str = "STOCKADE_TEST_IMAGE";

/// Docker, with the work_dir mounted.
pub(crate) static DOCKER: Container = Container {
    name: "docker",
    daemon: "STOCKADE_TEST_DOCKER",
    need: "docker",
    workspace: WorkspaceMode::Bind,
    interpreters: Interpreters::Waiting,
};

/// Docker, with the work_dir copied.
pub(crate) static DOCKER_COPY: Container = Container {
    name: "docker_copy",
    workspace: WorkspaceMode::Copy,
    interpreters: Interpreters::Forked,
    ..DOCKER
};

/// Podman by its socket, with the work_dir mounted.
pub(crate) static PODMAN: Container = Container {
    name: "podman",
    daemon: "STOCKADE_TEST_PODMAN",
    need: "podman",
    interpreters: Interpreters::Fresh,
    ..DOCKER
};

/// Containers of one daemon.
pub(crate) struct Container {
    name: &'static str,
    /// The variable with its address.
    daemon: &'static str,
    need: &'static str,
    workspace: WorkspaceMode,
    interpreters: Interpreters,
}

impl Place for Container {
    fn name(&self) -> &'static str {
        self.name
    }

    fn missing(&self) -> Option<(&'static str, String)> {
        let unset = [self.daemon, IMAGE].into_iter().find(|variable| need::variable(variable).is_none())?;
        Some((self.need, format!("{unset} is not set: `cargo xtask test` sets it")))
    }

    fn offers(&self) -> Offers {
        let is_shared = self.workspace == WorkspaceMode::Bind;
        Offers {
            files_on_host: true,
            shared_work_dir: is_shared,
            deletions_told: !is_shared,
            // A daemon on this host starts them below this very process table; others' are open to root alone.
            processes_on_host: rustix::process::geteuid().is_root(),
        }
    }

    fn interpreters(&self) -> Interpreters {
        Interpreters::everywhere().unwrap_or(self.interpreters)
    }

    fn executor(&self, options: Options) -> Result<Box<dyn CodeExecutor>> {
        let mut builder = DockerCommandLineCodeExecutor::builder()
            .daemon(need::variable(self.daemon).unwrap_or_default())
            .image(need::variable(IMAGE).unwrap_or_default())
            .workspace(self.workspace);
        builder = match self.interpreters() {
            Interpreters::Fresh => builder.spares(0),
            Interpreters::Waiting => builder,
            Interpreters::Forked => builder.preload(PRELOADED),
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
        // A container inherits nothing: who wants a variable in it says its value.
        for name in options.inherit_env {
            builder = builder.env(&name, env::var_os(&name).unwrap_or_default());
        }
        if let Some(cleanup) = options.cleanup_temp_files {
            builder = builder.delete_tmp_files(cleanup);
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
