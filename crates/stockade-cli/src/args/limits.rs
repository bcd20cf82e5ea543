//! The flags for what blocks may use, wherever they run: the network and limits. Owns the reading of their values, and
//! what each is to a container and to a sandbox on this machine.

use std::time::Duration;

use clap::Args;
use stockade::{DockerCommandLineCodeExecutorBuilder, Sandbox, SandboxNetwork, Ulimit};

/// What blocks may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network and limits")]
pub(crate) struct LimitArgs {
    /// The network: none or host; in a container also bridge or the name of one [default: none; bridge in a container]
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: Option<String>,

    /// The most memory of all processes together: bytes, or a number with k, m or g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    memory: Option<u64>,

    /// The most CPU time, in CPUs: 1.5
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    cpus: Option<f64>,

    /// The most processes and threads; 0 for no limit [default in a container: 4096]
    #[arg(long, value_name = "NUMBER", value_parser = parse_pids_limit, allow_negative_numbers = true)]
    pids_limit: Option<u32>,

    /// Limit every process: nofile=1024; on this machine nofile, fsize (bytes) and cpu (seconds); repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,
}

impl LimitArgs {
    /// The executor with what was asked for.
    pub(crate) fn apply(
        &self,
        mut executor: DockerCommandLineCodeExecutorBuilder,
    ) -> DockerCommandLineCodeExecutorBuilder {
        set_given!(self, executor, network, memory, cpus, pids_limit, ulimit);
        executor
    }

    /// The sandbox with what was asked for.
    pub(super) fn restrict(&self, mut sandbox: Sandbox) -> Result<Sandbox, String> {
        match self.network.as_deref() {
            None | Some("none") => {}
            Some("host") => sandbox = sandbox.network(SandboxNetwork::Host),
            Some(other) => {
                return Err(format!(
                    "'--network {other}' needs a container: add --docker, or choose none or host"
                ));
            }
        }
        sandbox = self.memory.into_iter().fold(sandbox, Sandbox::memory);
        sandbox = self.cpus.into_iter().fold(sandbox, Sandbox::cpus);
        sandbox = self.pids_limit.into_iter().filter(|count| *count > 0).fold(sandbox, Sandbox::pids_limit);
        self.ulimit.iter().try_fold(sandbox, limit)
    }

    /// A flag that nothing would enforce without a sandbox.
    pub(super) fn flag(&self) -> Option<&'static str> {
        let given = [
            (self.network.as_deref().is_some_and(|network| network != "host"), "network"),
            (self.memory.is_some(), "memory"),
            (self.cpus.is_some(), "cpus"),
            (self.pids_limit.is_some_and(|count| count > 0), "pids-limit"),
            (!self.ulimit.is_empty(), "ulimit"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }
}

/// Sets a limit of each process.
fn limit(sandbox: Sandbox, ulimit: &Ulimit) -> Result<Sandbox, String> {
    let Ok(most) = u64::try_from(ulimit.hard()) else { return Ok(sandbox) };
    match ulimit.name() {
        "nofile" => Ok(sandbox.open_files(most)),
        "fsize" => Ok(sandbox.file_size(most)),
        "cpu" => Ok(sandbox.cpu_time(Duration::from_secs(most))),
        other => Err(format!(
            "'--ulimit {other}' needs a container: add --docker; on this machine there are nofile, fsize and cpu"
        )),
    }
}

/// Reads `1048576`, `512k`, `512m`, `1.5g`, in powers of 1024 as docker does.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let refused = || "give bytes, or a number with b, k, m or g, such as 512m".to_owned();
    let text = text.trim().to_ascii_lowercase();
    let unit_at = text.find(|sign: char| sign.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let power = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(refused()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| refused())?;
    let bytes = number * 1024_f64.powi(power);
    if !(bytes >= 1.0 && bytes < i64::MAX as f64) {
        return Err("it must be at least a byte, and less than 8 EiB".to_owned());
    }
    Ok(bytes as u64)
}

/// Reads a number of processes; as for docker, -1 is no limit too.
fn parse_pids_limit(text: &str) -> Result<u32, String> {
    match text.trim() {
        "-1" => Ok(0),
        text => text.parse().map_err(|_| "give a number of at least 16, or 0 for no limit".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("1048576b", 1 << 20),
            ("512k", 512 << 10),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("512MiB", 512 << 20),
            ("1.5g", 1536 << 20),
            (" 2 g ", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for text in ["", "m", "-1", "0", "0.5", "1x", "512 mm", "nan", "inf", "9e99g", "1,5g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_limit_of_processes_has_two_numbers() {
        assert_eq!(["0", "-1", "64"].map(parse_pids_limit), [Ok(0), Ok(0), Ok(64)]);
        for text in ["", "-2", "many", "1.5", "4294967296"] {
            assert!(parse_pids_limit(text).is_err(), "{text}");
        }
    }
}
