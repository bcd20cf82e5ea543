//! Groups of the first version: one below this process's own in each controller's hierarchy. Owns which files hold
//! which limit there.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Control, ControlGroupError, CpuTime, GroupLimits,
    directory::Directory,
    kernel::{self, Kernel, Place},
};

/// Sets the limit of one control in a group of its controller.
pub(super) fn limit(
    directory: &Directory,
    place: &Place,
    control: Control,
    limits: &GroupLimits,
) -> Result<(), ControlGroupError> {
    match control {
        Control::Memory => limits.memory.map_or(Ok(()), |bytes| limit_memory(directory, bytes)),
        Control::Pids => limits.pids.map_or(Ok(()), |pids| directory.write("pids.max", &pids.to_string())),
        Control::Cpus => limits.cpus.map_or(Ok(()), |cpus| limit_cpus(directory, place, cpus)),
    }
}

/// With swap, where the kernel counts it, which can't be less than without: that limit comes first.
fn limit_memory(directory: &Directory, bytes: u64) -> Result<(), ControlGroupError> {
    directory.write("memory.limit_in_bytes", &bytes.to_string())?;
    if counts_swap(directory) {
        directory.write("memory.memsw.limit_in_bytes", &bytes.to_string())?;
    }
    // Inherited; a process would stand still for ever where it should be killed.
    if directory.has("memory.oom_control") {
        directory.write("memory.oom_control", "0")?;
    }
    Ok(())
}

pub(super) fn counts_swap(directory: &Directory) -> bool {
    directory.has("memory.memsw.limit_in_bytes")
}

fn limit_cpus(directory: &Directory, place: &Place, cpus: f64) -> Result<(), ControlGroupError> {
    let time = CpuTime::of(cpus);
    directory.write("cpu.cfs_period_us", &time.period.to_string())?;
    match directory.write("cpu.cfs_quota_us", &time.quota.to_string()) {
        // A group can't have more here than those above it have, whose limit then holds.
        Err(ControlGroupError::File { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            let above = above(&place.own, &place.top);
            if above.into_iter().any(|group| allows(&group).is_some_and(|allowed| allowed <= cpus)) {
                Ok(())
            } else {
                let directory = directory.path().to_owned();
                Err(ControlGroupError::AllowedLess { control: Control::Cpus, directory })
            }
        }
        written => written,
    }
}

/// A group and those above it, as far as they can be seen.
fn above(own: &Path, top: &Path) -> Vec<PathBuf> {
    own.ancestors().take_while(|group| group.starts_with(top)).map(Path::to_owned).collect()
}

/// How many processors a group may use; `None` when it is not limited.
fn allows(group: &Path) -> Option<f64> {
    let number = |file| kernel::words(group, file).ok()?.first()?.parse::<f64>().ok();
    let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Makes the group of a hierarchy.
pub(super) fn make(kernel: &Kernel, place: &Place) -> Result<Directory, ControlGroupError> {
    Directory::make(kernel, &place.own).map_err(|error| ControlGroupError::First(Box::new(error)))
}
