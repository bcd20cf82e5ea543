//! What a case gets: a place, which builds executors from options that mean the same everywhere and says what it
//! has to offer. Owns the conditions under which a case runs at all.

use std::{env, ffi::OsString, path::PathBuf, time::Duration};

use stockade::{CodeExecutor, Language, Result, Session};

use crate::support::{need, output, patiently, python};

/// A kind of executor, set up in one way.
pub(crate) trait Place: Sync {
    /// Also the name of its module in `every_place`.
    fn name(&self) -> &'static str;

    /// What it needs and does not find, in the word of `STOCKADE_TEST_REQUIRE`, and why it thinks so.
    fn missing(&self) -> Option<(&'static str, String)>;

    /// What it offers.
    fn offers(&self) -> Offers;

    /// Where its Python blocks get their interpreters from.
    fn interpreters(&self) -> Interpreters;

    /// An executor; fails as its builder does.
    fn executor(&self, options: Options) -> Result<Box<dyn CodeExecutor>>;
}

/// Where Python blocks get their interpreters from. Each kind of executor is a place with each of these, and
/// `STOCKADE_TEST_INTERPRETERS` has all places have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpreters {
    /// They are started for the block.
    Fresh,
    /// They have waited for it, as is the default: sessions have run a Python block before the case begins.
    Waiting,
    /// They are forked from one that has preloaded modules.
    Forked,
}

impl Interpreters {
    /// What this run of the suite has everywhere, if that was asked for.
    pub(crate) fn everywhere() -> Option<Self> {
        match env::var("STOCKADE_TEST_INTERPRETERS").ok()?.as_str() {
            "fresh" => Some(Self::Fresh),
            "waiting" => Some(Self::Waiting),
            "forked" => Some(Self::Forked),
            other => panic!("STOCKADE_TEST_INTERPRETERS is fresh, waiting or forked, not {other}"),
        }
    }
}

/// Modules that are preloaded: any image's Python has them, and no case asks whether they are imported.
pub(crate) const PRELOADED: [&str; 2] = ["json", "decimal"];

/// What a place offers beyond a shell and Python.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offers {
    /// After each block its files are in `Session::work_dir` of this host.
    pub(crate) files_on_host: bool,
    /// They are there at all times, and sessions with one work_dir see each other's.
    pub(crate) shared_work_dir: bool,
    /// The files that a block deleted are told, too.
    pub(crate) deletions_told: bool,
    /// Its processes are in this host's process table.
    pub(crate) processes_on_host: bool,
}

/// What an executor is built from. What is left out is left to the executor.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) work_dir: Option<PathBuf>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) inherit_env: Vec<String>,
    pub(crate) cleanup_temp_files: Option<bool>,
    pub(crate) output_limit: Option<u64>,
    pub(crate) keep_going: Option<bool>,
    pub(crate) merge_streams: Option<bool>,
    pub(crate) languages: Vec<Language>,
}

impl Options {
    /// With generated files removed after their runs, which is not every executor's default.
    pub(crate) fn cleaning_up() -> Self {
        Self { cleanup_temp_files: Some(true), ..Self::default() }
    }
}

/// Runs a case, unless the place is not to be had here.
pub(crate) async fn run_case(place: &'static dyn Place, case: impl AsyncFnOnce(&'static dyn Place)) {
    let missing = place.missing();
    let (word, why) = missing.clone().unwrap_or_default();
    if need::has(word, missing.is_none(), &why) {
        patiently("the end of the case", case(place)).await;
    }
}

/// A session with the defaults.
pub(crate) async fn start(place: &dyn Place) -> Session {
    start_with(place, Options::default()).await
}

pub(crate) async fn start_with(place: &dyn Place, options: Options) -> Session {
    let executor = place.executor(options).expect("the options are valid");
    let session = executor.start().await.expect("the session starts");
    if place.interpreters() == Interpreters::Waiting {
        output(&session, python("pass")).await;
    }
    session
}
