//! The hint to a block that seems to have failed for something that its session denies it. Owns how programs say that
//! they have no network. A hint is a guess from what was printed: it changes nothing of the outcome.

use crate::{BlockOutcome, Policy, SandboxNetwork, Status};

/// Where programs say why they gave up: this many bytes at the end of what was printed.
const TAIL: usize = 64 << 10;

/// What a missing network makes the C library, Python, Node, Go, Rust, curl, git, apt, BusyBox and ping say. The last two
/// entries are what Python says of sockets that can't even be made.
const NO_NETWORK: [&str; 14] = [
    "Network is unreachable",
    "ENETUNREACH",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "getaddrinfo EAI_AGAIN",
    "getaddrinfo ENOTFOUND",
    "Could not resolve",
    "unable to resolve host",
    "failed to lookup address",
    "no such host",
    "wget: bad address",
    "_socket.socket.__init__",
    "urlopen error [Errno 13]",
];

/// What a session's blocks can be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    /// How to get the network that they are denied.
    network: Option<String>,
}

impl Hints {
    pub(crate) fn of(policy: &Policy) -> Self {
        let sandbox = policy.sandbox.as_ref().filter(|sandbox| sandbox.network == SandboxNetwork::None);
        let container = policy.container.as_ref().filter(|container| container.network == "none");
        let network = match (sandbox, container) {
            (Some(_), _) => Some((
                "sandbox",
                "`--network host` or `Sandbox::network(SandboxNetwork::Host)`",
                "this host's, its local ports included",
            )),
            (None, Some(_)) => Some((
                "container",
                "without lockdown, `--network bridge` or the builder's `network(\"bridge\")`",
                "one",
            )),
            (None, None) => None,
        };
        let network = network.map(|(place, remedy, which)| {
            format!("the {place} has no network, which this block seems to need: {remedy} gives it {which}")
        });
        Self { network }
    }

    /// The hint for a block that has ended like this.
    pub(crate) fn for_block(&self, outcome: &BlockOutcome) -> Option<String> {
        let hint = self.network.as_ref()?;
        let has_failed = outcome.status == Status::Exited && outcome.exit_code != 0;
        (has_failed && lacked_network(outcome.output.as_bytes())).then(|| hint.clone())
    }
}

fn lacked_network(output: &[u8]) -> bool {
    let tail = String::from_utf8_lossy(&output[output.len().saturating_sub(TAIL)..]);
    NO_NETWORK.iter().any(|words| tail.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_without_a_network_is_understood() {
        for said in [
            "curl: (6) Could not resolve host: example.com",
            "socket.gaierror: [Errno -3] Temporary failure in name resolution",
            "Error: getaddrinfo EAI_AGAIN example.com",
            "W: Failed to fetch http://deb.debian.org/…  Temporary failure resolving 'deb.debian.org'",
            "ping: connect: Network is unreachable",
            "dial tcp: lookup example.com: no such host",
            "urllib.error.URLError: <urlopen error [Errno 13] Permission denied>",
        ] {
            assert!(lacked_network(said.as_bytes()), "{said}");
        }
    }

    #[test]
    fn other_failures_are_not_put_down_to_the_network() {
        for said in [
            "",
            "ZeroDivisionError: division by zero",
            "No such file or directory",
            "<urlopen error [Errno 111] Connection refused>",
            "UnicodeError: label empty or too long, in getaddrinfo",
            "dial tcp 127.0.0.1:9: connect: connection refused",
            "\u{fffd}\0",
        ] {
            assert!(!lacked_network(said.as_bytes()), "{said}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_output_counts() {
        let long = |said: &str, rest: usize| [said.as_bytes(), &vec![b'x'; rest]].concat();
        assert!(lacked_network(&long("Network is unreachable", TAIL / 2)));
        assert!(!lacked_network(&long("Network is unreachable", TAIL)));
    }
}
