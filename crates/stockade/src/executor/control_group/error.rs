//! Why a control group can't be had, and what to do about it. Owns the sentences: fragments that follow "failed to",
//! and hints apart from them.

use std::{io, path::PathBuf};

use super::Control;

/// A control group can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ControlGroupError {
    #[error("make a control group: no limit was asked for")]
    NoLimits,
    #[error(
        "limit {control}: the kernel has no controller `{}` switched on, or gives it to no group here",
        control.controller()
    )]
    NoController { control: Control },
    #[error("find the control group {} of this process: no mount of {hierarchy} shows it", group.display())]
    NotShown { hierarchy: String, group: PathBuf },
    #[error(
        "make a control group in {}: the controller{} {} not delegated to it",
        directory.display(),
        names(controllers),
        if controllers.len() == 1 { "is" } else { "are" }
    )]
    NotDelegated { directory: PathBuf, controllers: Vec<&'static str> },
    #[error(
        "make a control group in {}: processes are in it, and the kernel limits no groups below such a one",
        directory.display()
    )]
    Occupied { directory: PathBuf },
    #[error("limit {control} in {}: a group above it allows less", directory.display())]
    AllowedLess { control: Control, directory: PathBuf },
    #[error("{doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// Of a group of the first version.
    #[error("{0}")]
    First(Box<ControlGroupError>),
    #[error("{first}; failed to {second}")]
    NoPlace { first: Box<ControlGroupError>, second: Box<ControlGroupError> },
}

/// The user's manager of systemd, or the system's, gives a group away only when it is asked to.
const DELEGATE: &str = "run it as root, or in a control group of its own that is given to its user: \
    `systemd-run --user --scope -p Delegate=yes …`, or `Delegate=yes` for a service";

impl ControlGroupError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::NoLimits | Self::AllowedLess { .. } => return None,
            Self::NoController { control: Control::Memory } => {
                "start the kernel with `cgroup_enable=memory`, or have the container or service given the controller"
            }
            Self::NoController { .. } => {
                "use a kernel that has the controller, or have the container or service given it"
            }
            Self::NotShown { .. } => {
                "mount control groups below /sys/fs/cgroup, those of this very namespace; a container has them \
                 with `--cgroupns private`"
            }
            Self::NotDelegated { .. } | Self::Occupied { .. } => DELEGATE,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    "control groups can only be read here, as in most containers: limit the container itself, or \
                     start it with ones that can be written to (`--privileged --cgroupns private`)"
                }
                io::ErrorKind::PermissionDenied => DELEGATE,
                _ => return None,
            },
            Self::First(error) => match &**error {
                Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                    "run it as root (`sudo`): control groups of the first version are nobody else's"
                }
                error => return error.hint(),
            },
            Self::NoPlace { first, second } => return first.hint().or_else(|| second.hint()),
        };
        Some(hint)
    }
}

fn names(controllers: &[&str]) -> String {
    let names = controllers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    if controllers.len() == 1 { format!(" {names}") } else { format!("s {names}") }
}
