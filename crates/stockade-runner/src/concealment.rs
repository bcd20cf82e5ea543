//! Whether blocks could look into this process. It can't be dumped, so its memory and descriptors are closed to
//! whoever has no right to trace; this is about who would have that right all the same. It changes nothing.

use std::{fs, io};

use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_ambient_set, capability_is_in_bounding_set,
};

use crate::os::process::Credentials;

/// How blocks could look into this process.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exposure {
    #[error("the code would run as root with the capability SYS_PTRACE, and could look into the runner")]
    Root,
    #[error("the code would be given the capability SYS_PTRACE, and could look into the runner")]
    Kept,
    #[error("fs.suid_dumpable is 1, by which the code could look into a process that is becoming its user's")]
    Becoming,
}

/// Finds how blocks could look into this process, when they are run with `credentials` or, without, as it runs.
///
/// # Errors
///
/// When the kernel doesn't tell what this process may do.
pub(crate) fn exposure(credentials: Option<&Credentials>) -> io::Result<Option<Exposure>> {
    let trace = CapabilitySet::SYS_PTRACE;
    let facts = Facts {
        is_root: credentials.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid) == 0,
        changes_user: credentials.is_some(),
        bounding: capability_is_in_bounding_set(trace)?,
        inheritable: capabilities(None)?.inheritable.contains(trace),
        // Kernels that have no such set refuse the question.
        ambient: capability_is_in_ambient_set(trace).unwrap_or(false),
        traced_while_becoming: fs::read("/proc/sys/fs/suid_dumpable").is_ok_and(|set| set.starts_with(b"1")),
    };
    Ok(facts.exposure())
}

/// What it depends on.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// Blocks have root's number.
    is_root: bool,
    /// They have another user than this process.
    changes_user: bool,
    /// Where this process has the right to trace. Its effective set is none of them: a program starts without it.
    bounding: bool,
    inheritable: bool,
    ambient: bool,
    /// A process that changes its user can be dumped, and so traced, until it has executed a program; a keeper's
    /// child shares the keeper's memory until then.
    traced_while_becoming: bool,
}

impl Facts {
    fn exposure(self) -> Option<Exposure> {
        match self {
            // What root executes gets all of the bounding set again.
            Self { is_root: true, bounding, inheritable, .. } if bounding || inheritable => {
                Some(Exposure::Root)
            }
            // It is cleared when the user changes.
            Self { is_root: false, changes_user: false, ambient: true, .. } => Some(Exposure::Kept),
            Self { changes_user: true, traced_while_becoming: true, .. } => Some(Exposure::Becoming),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Facts = Facts {
        is_root: true,
        changes_user: false,
        bounding: false,
        inheritable: false,
        ambient: false,
        traced_while_becoming: false,
    };

    #[test]
    fn root_gets_what_a_program_of_his_is_given() {
        assert_eq!(NONE.exposure(), None);
        assert_eq!(Facts { bounding: true, ..NONE }.exposure(), Some(Exposure::Root));
        assert_eq!(Facts { inheritable: true, ..NONE }.exposure(), Some(Exposure::Root));
        assert_eq!(Facts { bounding: true, is_root: false, ..NONE }.exposure(), None);
    }

    #[test]
    fn who_is_not_root_keeps_what_is_not_cleared() {
        let kept = Facts { is_root: false, ambient: true, ..NONE };
        assert_eq!(kept.exposure(), Some(Exposure::Kept));
        assert_eq!(Facts { changes_user: true, ..kept }.exposure(), None);
    }

    #[test]
    fn who_becomes_another_can_be_traced_where_the_kernel_was_told_so() {
        let told = Facts { is_root: false, traced_while_becoming: true, ..NONE };
        assert_eq!(told.exposure(), None);
        assert_eq!(Facts { changes_user: true, ..told }.exposure(), Some(Exposure::Becoming));
    }
}
