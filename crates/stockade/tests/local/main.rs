//! What is particular to the local executor: its options, this host's interpreters, and faults of the runner, the
//! host program and the machine. What every executor promises is in `tests/conformance`.

mod functions;
mod host_death;
mod inherited_environment;
mod interpreters;
mod planted;
mod pool;
mod preload;
mod probe;
mod runner_faults;
mod runtimes;
mod scale;
mod stopping;
#[path = "../conformance/support/mod.rs"]
mod support;
mod virtual_env;
mod work_dir;
mod workspace_size;
