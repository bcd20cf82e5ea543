//! A control group of a session's own: limits that the kernel holds all its processes to, taken together. Owns
//! finding out which limits can be had, making the group and removing it with all that is left in it. Never puts a
//! process in: whoever is to enter does it himself. Changes no limit of a group that it has not made.
//!
//! Both versions of control groups are used, and both at once where the controllers are divided between them.

mod directory;
mod error;
mod kernel;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::{
    fmt,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

pub(crate) use self::error::ControlGroupError;
use self::{
    directory::Directory,
    kernel::{Hierarchies, Kernel, Place},
};

/// How long the end of a session may wait for the end of what was left in its group.
const REMOVAL: Duration = Duration::from_millis(200);
/// Where programs look for their control groups.
const MOUNTED: &str = "/sys/fs/cgroup";

/// Limits of all processes of a session together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct GroupLimits {
    /// Bytes, swapped out ones included where the kernel counts them.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u32>,
    /// Processors; fractions are parts of their time. At least 0.01.
    pub(crate) cpus: Option<f64>,
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Memory,
    Pids,
    Cpus,
}

/// How a group is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
    /// Some of its controllers are the first version's, some the second's.
    Both,
}

/// Which controls can be had, and why others can't and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Availability {
    pub(crate) memory: Result<Version, Unavailable>,
    pub(crate) pids: Result<Version, Unavailable>,
    pub(crate) cpus: Result<Version, Unavailable>,
    /// Whether what is swapped out is held to the limit of memory, where that can be had.
    pub(crate) counts_swap: bool,
}

/// Why a control can't be had, and what to do about it where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) why: String,
    pub(crate) fix: Option<&'static str>,
}

/// A group with limits. When it is dropped, all that is left in it is killed and it is removed, which takes 0.2 s at
/// most; one whose owner was killed is removed when the next is made.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    parts: Vec<Part>,
    /// A process that was forked has a copy of this, which must end nothing.
    owner: u32,
}

/// The group in one hierarchy.
#[derive(Debug)]
struct Part {
    directory: Directory,
    place: Place,
    controls: Vec<Control>,
}

impl ControlGroup {
    /// Makes one. Only the controllers that these limits need must be there.
    pub(crate) fn create(limits: &GroupLimits) -> Result<Self, ControlGroupError> {
        Self::create_by(&Kernel::this(), limits)
    }

    fn create_by(kernel: &Kernel, limits: &GroupLimits) -> Result<Self, ControlGroupError> {
        let controls = limits.controls();
        if controls.is_empty() {
            return Err(ControlGroupError::NoLimits);
        }
        let hierarchies = Hierarchies::read(kernel)?;
        let mut wanted: Vec<(Place, Vec<Control>)> = Vec::new();
        for control in controls {
            let place = hierarchies.place(control)?;
            match wanted.iter_mut().find(|(other, _)| *other == place) {
                Some((_, controls)) => controls.push(control),
                None => wanted.push((place, vec![control])),
            }
        }
        // From here on what was made is removed when the rest fails.
        let mut group = Self { parts: Vec::new(), owner: process::id() };
        for (place, controls) in wanted {
            let directory =
                if place.unified { v2::make(kernel, &place, &controls)? } else { v1::make(kernel, &place)? };
            group.parts.push(Part { directory, place, controls });
        }
        group.parts.iter().try_for_each(|part| part.limit(limits))?;
        Ok(group)
    }

    /// Files to write a "0" to, by the process that is to enter, before it executes anything.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.parts.iter().map(Part::entrance).collect()
    }

    /// Where its directories (first) are to be mounted (second), read-only, in a view of the file system of its
    /// own, for the runner to find the kernel's count of those it killed, and for programs to find their limits.
    pub(crate) fn views(&self) -> Vec<(PathBuf, PathBuf)> {
        // The second version's place is above those of the first: whoever counts the memory has it.
        let unified = match self.memory() {
            Some(part) => part.place.unified,
            None => self.version() != Version::V1,
        };
        let shown = self.parts.iter().filter(|part| part.place.unified == unified);
        let targets = |part: &Part| match unified {
            true => vec![PathBuf::from(MOUNTED)],
            false => part.controls.iter().map(|c| Path::new(MOUNTED).join(c.controller())).collect(),
        };
        shown.flat_map(|part| targets(part).into_iter().map(|target| (part.path(), target))).collect()
    }

    /// How it is enforced.
    pub(crate) fn version(&self) -> Version {
        let any = |unified| self.parts.iter().any(|part| part.place.unified == unified);
        match (any(false), any(true)) {
            (true, true) => Version::Both,
            (true, false) => Version::V1,
            (false, _) => Version::V2,
        }
    }

    /// Whether what is swapped out is held to the limit of memory. Where the kernel does not count swap for each
    /// group it is beside the limit, if the machine has any.
    pub(crate) fn counts_swap(&self) -> bool {
        self.memory().is_some_and(|part| match part.place.unified {
            false => v1::counts_swap(&part.directory),
            true => v2::counts_swap(&part.directory),
        })
    }

    /// What limits the memory.
    fn memory(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.controls.contains(&Control::Memory))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        if process::id() != self.owner {
            return;
        }
        let deadline = deadline();
        for part in self.parts.drain(..) {
            part.directory.remove(deadline);
        }
    }
}

impl Part {
    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn entrance(&self) -> PathBuf {
        let group = if self.place.unified { self.directory.processes() } else { self.path() };
        group.join("cgroup.procs")
    }

    fn limit(&self, limits: &GroupLimits) -> Result<(), ControlGroupError> {
        self.controls.iter().try_for_each(|control| match self.place.unified {
            false => v1::limit(&self.directory, &self.place, *control, limits),
            true => v2::limit(&self.directory, *control, limits),
        })
    }
}

impl GroupLimits {
    /// What is to be limited.
    fn controls(&self) -> Vec<Control> {
        let asked = [
            self.memory.map(|_| Control::Memory),
            self.pids.map(|_| Control::Pids),
            self.cpus.map(|_| Control::Cpus),
        ];
        asked.into_iter().flatten().collect()
    }
}

impl Control {
    /// The kernel's word for what does it.
    fn controller(self) -> &'static str {
        match self {
            Control::Memory => "memory",
            Control::Pids => "pids",
            Control::Cpus => "cpu",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Control::Memory => "memory",
            Control::Pids => "processes",
            Control::Cpus => "processors",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Version::V1 => "cgroup v1",
            Version::V2 => "cgroup v2",
            Version::Both => "cgroup v1 and v2",
        })
    }
}

/// The time on the processors that a group has, in microseconds in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTime {
    quota: u64,
    period: u64,
}

impl CpuTime {
    /// The kernel's own period.
    const PERIOD: u64 = 100_000;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn of(cpus: f64) -> Self {
        Self { quota: (cpus * Self::PERIOD as f64).round() as u64, period: Self::PERIOD }
    }
}

/// Which controls can be had, found out by making a group with each and removing it.
pub(crate) fn available() -> Availability {
    available_by(&Kernel::this())
}

fn available_by(kernel: &Kernel) -> Availability {
    let mut counts_swap = false;
    let mut of = |limits: &GroupLimits| {
        let made = ControlGroup::create_by(kernel, limits);
        let made = made.inspect(|group| counts_swap |= group.counts_swap()).map(|group| group.version());
        made.map_err(|error| Unavailable { why: format!("failed to {error}"), fix: error.hint() })
    };
    // Limits that any group above allows.
    let none = GroupLimits::default();
    let memory = of(&GroupLimits { memory: Some(1 << 20), ..none });
    let pids = of(&GroupLimits { pids: Some(1), ..none });
    let cpus = of(&GroupLimits { cpus: Some(0.01), ..none });
    Availability { memory, pids, cpus, counts_swap }
}

fn deadline() -> Instant {
    Instant::now() + REMOVAL
}
