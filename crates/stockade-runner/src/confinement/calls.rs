//! The filters of system calls. Owns which calls code has no need of and could do harm with beyond its own processes:
//! what reaches deep into the kernel, changes the machine, or makes what Landlock doesn't see. All others are allowed.
//!
//! A filter sees the registers, not what they point to. The kernel takes most arguments as 32 bits; those are
//! compared as such, so that nothing in the upper half makes a difference here that it doesn't make there.

mod table;

use seccompiler::{BackendError, BpfProgram, apply_filter};

use crate::wire::message::Confinement;

/// The filters that together deny what is denied. None for an architecture that has no table.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(super) fn filters(wanted: &Confinement) -> Result<Vec<BpfProgram>, BackendError> {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    #[cfg(target_arch = "x86_64")]
    const HERE: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    const HERE: TargetArch = TargetArch::aarch64;
    #[cfg(target_arch = "riscv64")]
    const HERE: TargetArch = TargetArch::riscv64;

    let mut refused = table::refused()?;
    if !wanted.own_namespaces {
        refused.extend(table::shared()?);
    }
    let mut tables = vec![
        (refused, libc::EPERM),
        // As an older kernel has it: libraries then use what came before.
        (table::unknown(), libc::ENOSYS),
        (table::sockets(wanted.sockets)?, libc::EACCES),
    ];
    if !wanted.own_namespaces {
        // As a file system has it that keeps no attributes: tools then do without.
        tables.push((table::attributes(), libc::ENOTSUP));
    }
    let compile = |(rules, errno): (table::Rules, i32)| {
        let (allow, deny) = (SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()));
        SeccompFilter::new(rules, allow, deny, HERE)?.try_into()
    };
    let compiled = tables.into_iter().map(compile);
    compiled.chain(table::other_numbers().map(Ok)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) fn filters(_: &Confinement) -> Result<Vec<BpfProgram>, BackendError> {
    Ok(Vec::new())
}

/// Installs the filters for this thread and what it will start. False where there are none, or where the kernel
/// has no such thing.
pub(super) fn install(filters: &[BpfProgram]) -> Result<bool, seccompiler::Error> {
    if filters.is_empty() || rustix::thread::secure_computing_mode() == Err(rustix::io::Errno::INVAL) {
        return Ok(false);
    }
    filters.iter().try_for_each(|filter| apply_filter(filter))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
