//! Groups of the second version. Owns the choice of their place: a group can't have processes and limited groups below
//! it at once, so ours is made beside this process's own, or below it after this process has left it. Takes no
//! place that nobody gave: where the files can't be written to, it refuses.

use std::{
    path::{Path, PathBuf},
    process,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{
    Control, ControlGroupError, CpuTime, GroupLimits,
    directory::{self, Directory},
    kernel::{self, Kernel, Place},
};

const PROCESSES: &str = "cgroup.procs";
const GIVEN: &str = "cgroup.controllers";
const PASSED_ON: &str = "cgroup.subtree_control";

/// Makes the group, with these controls, and one for the processes in it.
///
/// The group with the limits passes its controllers on to that of the processes: as long as it does, nobody can take
/// them from it, as systemd's manager else would, in a folder of its own, when no unit needs them any more.
pub(super) fn make(
    kernel: &Kernel,
    place: &Place,
    controls: &[Control],
) -> Result<Directory, ControlGroupError> {
    let group = Directory::make(kernel, &parent(kernel, place, controls)?)?;
    let prepared = pass_on(group.path(), &names(controls)).and_then(|()| group.make_processes());
    match prepared {
        Ok(()) => Ok(group),
        Err(error) => {
            group.remove(super::deadline());
            Err(error)
        }
    }
}

/// Sets the limit of one control.
pub(super) fn limit(
    directory: &Directory,
    control: Control,
    limits: &GroupLimits,
) -> Result<(), ControlGroupError> {
    match control {
        Control::Memory => limits.memory.map_or(Ok(()), |bytes| {
            if counts_swap(directory) {
                directory.write("memory.swap.max", "0")?;
            }
            directory.write("memory.max", &bytes.to_string())
        }),
        Control::Pids => limits.pids.map_or(Ok(()), |pids| directory.write("pids.max", &pids.to_string())),
        Control::Cpus => limits.cpus.map_or(Ok(()), |cpus| {
            let time = CpuTime::of(cpus);
            directory.write("cpu.max", &format!("{} {}", time.quota, time.period))
        }),
    }
}

pub(super) fn counts_swap(directory: &Directory) -> bool {
    directory.has("memory.swap.max")
}

/// The group below which ours can be.
fn parent(kernel: &Kernel, place: &Place, controls: &[Control]) -> Result<PathBuf, ControlGroupError> {
    let beside = place.own.parent().filter(|parent| parent.starts_with(&place.top));
    let first = match beside.map(|parent| prepare(parent, controls).map(|()| parent.to_owned())) {
        Some(Ok(parent)) => return Ok(parent),
        Some(Err(error)) => Some(error),
        None => None,
    };
    let below = match prepare(&place.own, controls) {
        Err(ControlGroupError::Occupied { directory }) if is_alone(&directory) => {
            step_aside(kernel, &directory, controls)
        }
        prepared => prepared,
    };
    below.map(|()| place.own.clone()).map_err(|second| match first {
        Some(first) => ControlGroupError::NoPlace { first: Box::new(first), second: Box::new(second) },
        None => second,
    })
}

/// Sees to it that groups below this one can have limits and take processes in.
fn prepare(parent: &Path, controls: &[Control]) -> Result<(), ControlGroupError> {
    may_write(parent)?;
    let given = kernel::words(parent, GIVEN)?;
    let missing: Vec<_> =
        names(controls).into_iter().filter(|name| !given.iter().any(|g| g == name)).collect();
    if !missing.is_empty() {
        return Err(ControlGroupError::NotDelegated { directory: parent.to_owned(), controllers: missing });
    }
    // Only the system's own topmost group, which has no type, can have both.
    if parent.join("cgroup.type").exists() && !kernel::words(parent, PROCESSES)?.is_empty() {
        return Err(ControlGroupError::Occupied { directory: parent.to_owned() });
    }
    let passed = kernel::words(parent, PASSED_ON)?;
    let not_passed: Vec<_> =
        names(controls).into_iter().filter(|name| !passed.iter().any(|p| p == name)).collect();
    pass_on(parent, &not_passed)
}

/// Making a group needs the directory; moving a process the list of the group that is above both its places.
fn may_write(group: &Path) -> Result<(), ControlGroupError> {
    for (path, access) in
        [(group.to_owned(), Access::WRITE_OK | Access::EXEC_OK), (group.join(PROCESSES), Access::WRITE_OK)]
    {
        accessat(CWD, &path, access, AtFlags::EACCESS).map_err(|errno| {
            let doing = "make a control group, which needs the right to write to";
            ControlGroupError::File { doing, path, source: errno.into() }
        })?;
    }
    Ok(())
}

fn pass_on(group: &Path, controllers: &[&str]) -> Result<(), ControlGroupError> {
    if controllers.is_empty() {
        return Ok(());
    }
    let added: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    kernel::write(group, PASSED_ON, &added.join(" "))
}

/// Whether nobody else is in the group; this process may have left it just now, on another thread.
fn is_alone(group: &Path) -> bool {
    let this = process::id().to_string();
    kernel::words(group, PROCESSES).is_ok_and(|processes| processes.iter().all(|process| *process == this))
}

/// Moves this process, which is alone in it, out of a group that was given to it, into one below: that is what
/// systemd expects of a service that has `Delegate=yes`.
fn step_aside(kernel: &Kernel, own: &Path, controls: &[Control]) -> Result<(), ControlGroupError> {
    let this = process::id().to_string();
    let aside = directory::make_host(kernel, own)?;
    let moved = kernel::write(&aside, PROCESSES, &this).and_then(|()| pass_on(own, &names(controls)));
    if moved.is_err() {
        let _ = kernel::write(own, PROCESSES, &this);
        let _ = (kernel.remove_directory)(&aside);
    }
    moved
}

fn names(controls: &[Control]) -> Vec<&'static str> {
    controls.iter().map(|control| control.controller()).collect()
}
