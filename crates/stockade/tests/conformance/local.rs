//! The local executor as a place.

use stockade::{CodeExecutor, LocalCommandLineCodeExecutor, Result};

use crate::{
    harness::{Offers, Options, Place},
    support::need,
};

/// This host, without a sandbox.
pub(crate) struct Local;

impl Place for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn missing(&self) -> Option<(&'static str, String)> {
        (!need::works("python3", &["-c", ""])).then(|| ("python", "python3 does not run here".to_owned()))
    }

    fn offers(&self) -> Offers {
        Offers { files_on_host: true, shared_work_dir: true, deletions_told: false, processes_on_host: true }
    }

    fn executor(&self, options: Options) -> Result<Box<dyn CodeExecutor>> {
        let mut builder = LocalCommandLineCodeExecutor::builder().inherit_env(options.inherit_env);
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
