//! Where this process's own control groups are, as the kernel tells it in `/proc`. Owns the reading of `cgroup` and
//! `mountinfo`, and the few ways in which a control group's directories differ from others; makes no choice.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

use super::{Control, ControlGroupError};

/// How the kernel is spoken to; tests put trees of plain files in its place.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Where the `/proc` of this process is.
    pub(super) proc: PathBuf,
    pub(super) make_directory: fn(&Path) -> io::Result<()>,
    pub(super) remove_directory: fn(&Path) -> io::Result<()>,
}

/// Where a controller has its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// In the hierarchy of the second version, which all its controllers share.
    pub(super) unified: bool,
    /// The directory of this process's own group.
    pub(super) own: PathBuf,
    /// The highest directory that can be seen of the hierarchy.
    pub(super) top: PathBuf,
}

/// A line of `/proc/self/cgroup`: the group of this process in a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    /// None in the hierarchy of the second version.
    pub(super) controllers: Vec<String>,
    pub(super) group: PathBuf,
}

/// A line of `/proc/self/mountinfo` that is about control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Of the second version.
    pub(super) unified: bool,
    /// Of the first version: the controllers, among other options.
    pub(super) options: Vec<String>,
    /// The group that is mounted.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
}

/// All hierarchies that this process is in.
#[derive(Debug)]
pub(super) struct Hierarchies {
    memberships: Vec<Membership>,
    mounts: Vec<Mount>,
}

impl Kernel {
    pub(super) fn this() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            make_directory: |path| fs::create_dir(path),
            remove_directory: |path| fs::remove_dir(path),
        }
    }
}

impl Hierarchies {
    pub(super) fn read(kernel: &Kernel) -> Result<Self, ControlGroupError> {
        let read = |name: &str| {
            let path = kernel.proc.join("self").join(name);
            fs::read(&path).map_err(|source| ControlGroupError::File { doing: "read", path, source })
        };
        Ok(Self {
            memberships: parse_memberships(&read("cgroup")?),
            mounts: parse_mounts(&read("mountinfo")?),
        })
    }

    /// Where this controller has its groups. A controller is bound to one version; to which, the kernel says.
    pub(super) fn place(&self, control: Control) -> Result<Place, ControlGroupError> {
        let controller = control.controller();
        let bound = self.memberships.iter().find(|member| member.controllers.iter().any(|c| c == controller));
        if let Some(first) = bound {
            let is_its = |mount: &Mount| !mount.unified && mount.options.iter().any(|o| o == controller);
            return self.shown(first, is_its);
        }
        let place = self.unified().ok_or(ControlGroupError::NoController { control })??;
        // What the top has not, no group of it can have.
        if !words(&place.top, "cgroup.controllers")?.iter().any(|word| word == controller) {
            return Err(ControlGroupError::NoController { control });
        }
        Ok(place)
    }

    /// The place in the hierarchy of the second version; `None` where there is no such thing.
    pub(super) fn unified(&self) -> Option<Result<Place, ControlGroupError>> {
        let member = self.memberships.iter().find(|member| member.controllers.is_empty())?;
        Some(self.shown(member, |mount| mount.unified))
    }

    /// The directory of a group, on the newest mount that shows it.
    fn shown(
        &self,
        member: &Membership,
        is_its: impl Fn(&Mount) -> bool,
    ) -> Result<Place, ControlGroupError> {
        let of_mount = |mount: &Mount| {
            let below = member.group.strip_prefix(&mount.root).ok()?;
            let is_below = below.components().all(|part| matches!(part, Component::Normal(_)));
            let own = is_below.then(|| mount.point.join(below).components().collect::<PathBuf>())?;
            // Another mount may lie over this one.
            let place = || Place { unified: mount.unified, own: own.clone(), top: mount.point.clone() };
            own.join("cgroup.procs").exists().then(place)
        };
        let mut mounts = self.mounts.iter().rev().filter(|mount| is_its(mount));
        mounts.find_map(of_mount).ok_or_else(|| ControlGroupError::NotShown {
            hierarchy: if member.controllers.is_empty() {
                "cgroup v2".to_owned()
            } else {
                member.controllers.join(",")
            },
            group: member.group.clone(),
        })
    }
}

/// Writes to a file of a control group, which is never made.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> Result<(), ControlGroupError> {
    let path = directory.join(file);
    let opened = OpenOptions::new().write(true).truncate(true).open(&path);
    opened
        .and_then(|mut opened| opened.write_all(value.as_bytes()))
        .map_err(|source| ControlGroupError::File { doing: "write to", path, source })
}

/// The words in a file of a control group.
pub(super) fn words(directory: &Path, file: &str) -> Result<Vec<String>, ControlGroupError> {
    let path = directory.join(file);
    let text = fs::read_to_string(&path).map_err(|source| ControlGroupError::File {
        doing: "read",
        path,
        source,
    })?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

pub(super) fn parse_memberships(text: &[u8]) -> Vec<Membership> {
    let of_line = |line: &[u8]| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = list(controllers);
        // The second version's line names none, and a hierarchy without controllers has a name.
        group.starts_with(b"/").then(|| Membership { controllers, group: path(group.to_vec()) })
    };
    text.split(|byte| *byte == b'\n').filter_map(of_line).collect()
}

pub(super) fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    let of_line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A number of optional fields ends with a hyphen.
        fields.find(|field| *field == b"-")?;
        let unified = match fields.next()? {
            b"cgroup" => false,
            b"cgroup2" => true,
            _ => return None,
        };
        let options = list(fields.nth(1)?);
        Some(Mount { unified, options, root: path(unescape(root)), point: path(unescape(point)) })
    };
    text.split(|byte| *byte == b'\n').filter_map(of_line).collect()
}

fn list(text: &[u8]) -> Vec<String> {
    let words = text.split(|byte| *byte == b',').filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Blanks, line ends and backslashes are written as a backslash and three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            _ => (*first, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the kernel writes it (seq_path in fs/proc_namespace.c).
    fn escape(path: &[u8]) -> Vec<u8> {
        let escaped = path.iter().flat_map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            byte => vec![*byte],
        });
        escaped.collect()
    }

    #[test]
    fn groups_of_both_versions_are_read() {
        let member = |controllers: &[&str], group: &str| Membership {
            controllers: controllers.iter().map(|word| (*word).to_owned()).collect(),
            group: group.into(),
        };
        let text = b"9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/user.slice\nnonsense\n3:pids\n";
        let expected =
            [member(&["name=systemd"], "/"), member(&["cpu", "cpuacct"], "/a:b"), member(&[], "/user.slice")];
        assert_eq!(parse_memberships(text), expected);
    }

    #[test]
    fn mounts_of_control_groups_are_read_and_others_passed_over() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 /docker/1 /sys/fs/cgroup/mem\\040ory rw,nosuid shared:1 master:2 - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            42 31 0:38 / /torn - cgroup2\n";
        let mount = |unified, options: &[&str], root: &str, point: &str| Mount {
            unified,
            options: options.iter().map(|word| (*word).to_owned()).collect(),
            root: root.into(),
            point: point.into(),
        };
        let expected = [
            mount(false, &["rw", "memory"], "/docker/1", "/sys/fs/cgroup/mem ory"),
            mount(true, &["rw", "nsdelegate"], "/", "/sys/fs/cgroup/unified"),
        ];
        assert_eq!(parse_mounts(text), expected);
    }

    proptest! {
        #[test]
        fn a_mount_of_any_path_is_read_back(
            root in "/[^\0]{0,20}", point in "/[^\0]{0,20}", optional in "(shared:[0-9] ){0,2}",
        ) {
            let mut text = b"35 31 0:32 ".to_vec();
            text.extend(escape(root.as_bytes()));
            text.push(b' ');
            text.extend(escape(point.as_bytes()));
            text.extend(format!(" rw {optional}- cgroup cgroup rw,pids\n").bytes());
            let options = vec!["rw".to_owned(), "pids".to_owned()];
            let expected = Mount { unified: false, options, root: root.into(), point: point.into() };
            prop_assert_eq!(parse_mounts(&text), [expected]);
        }

        #[test]
        fn a_group_of_any_name_is_read_back(group in "/[^\0\n]{0,20}", controllers in "([a-z]{1,6}(,[a-z]{1,6}){0,2})?") {
            let text = format!("4:{controllers}:{group}\n");
            let controllers: Vec<String> = list(controllers.as_bytes());
            prop_assert_eq!(parse_memberships(text.as_bytes()), [Membership { controllers, group: group.into() }]);
        }

        #[test]
        fn no_text_makes_them_panic(text in proptest::collection::vec(any::<u8>(), 0..200), path in ".{0,40}") {
            let _ = (parse_mounts(&text), parse_memberships(&text), unescape(&text));
            let likely = format!("1 2 3:4 {path} {path} rw - cgroup cgroup {path}");
            let _ = (parse_mounts(likely.as_bytes()), parse_memberships(path.as_bytes()));
        }
    }
}
