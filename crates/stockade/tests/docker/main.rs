//! What is particular to the Docker executor: its options, the work_dir's ways into a container, and faults of the
//! daemon, the container and the host program. What every executor promises is in `tests/conformance`.

mod concurrency;
mod copies;
mod daemon_death;
mod engine;
mod faults;
mod functions;
mod hardening;
mod host_death;
mod hostile;
mod leftovers;
mod lifecycle;
mod lockdown;
mod nested;
mod options;
mod pool;
mod preload;
#[path = "../conformance/support/mod.rs"]
mod support;
mod work_dir;
