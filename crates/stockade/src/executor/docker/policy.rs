//! What a container denies its code, as a session tells of it. Owns the type and how it follows from what the daemon
//! was told; it decides nothing.

use serde::{Deserialize, Serialize};

use super::{hardening::Hardening, options::Options, workspace::Identity};

/// What a container denies its code, and allows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContainerPolicy {
    /// No program gains rights, as by a setuid bit.
    pub no_new_privileges: bool,
    /// The network; `default` is the daemon's own choice, a bridge as a rule.
    pub network: String,
    /// The image's files can't be changed.
    pub read_only: bool,
    /// How the code's capabilities differ from those that the daemon gives to root. A user who is not root has none.
    pub capabilities: Capabilities,
    /// The most processes and threads.
    pub pids_limit: Option<u32>,
    /// The most memory of all processes together, in bytes.
    pub memory: Option<u64>,
    /// The most CPU time per time, in CPUs.
    pub cpus: Option<f64>,
    /// Whom the code runs as.
    pub user: String,
    /// What undoes all that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How capabilities differ from those that the daemon gives to root; `ALL` stands for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// What was taken.
    pub dropped: Vec<String>,
    /// What was given, also where `ALL` was taken.
    pub added: Vec<String>,
}

impl ContainerPolicy {
    pub(super) fn new(options: &Options, hardening: &Hardening, identity: &Identity) -> Self {
        Self {
            no_new_privileges: hardening.no_new_privileges,
            network: options.network.clone().unwrap_or_else(|| "default".to_owned()),
            read_only: options.read_only,
            capabilities: Capabilities {
                dropped: hardening.cap_drop.clone(),
                added: options.cap_add.clone(),
            },
            pids_limit: hardening.pids_limit,
            memory: options.memory,
            cpus: hardening.cpus,
            user: identity.blocks.as_ref().unwrap_or(&identity.runner).clone(),
            warnings: Vec::new(),
        }
    }

    /// With what was found out beside it.
    pub(super) fn with(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// As text that is kept with the container.
    pub(super) fn to_label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What was kept; `None` for what is none of it.
    pub(super) fn from_label(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use stockade_runner::wire::message::Ownership;

    use super::*;
    use crate::executor::docker::hardening::Engine;

    #[test]
    fn a_policy_is_kept_as_text() {
        let options = Options { memory: Some(1 << 30), cpus: Some(0.1), ..Options::default() };
        let identity =
            Identity { runner: "0:0".into(), blocks: Some("me".into()), ownership: Ownership::Maker };
        let policy = ContainerPolicy::new(&options, &Hardening::new(&options, Engine::default()), &identity);
        assert_eq!((policy.user.as_str(), policy.network.as_str()), ("me", "default"));
        assert_eq!(ContainerPolicy::from_label(&policy.to_label()), Some(policy));
        assert_eq!(ContainerPolicy::from_label(""), None);
    }
}
