//! How a session's work_dir gets into its container, and who the code is there. Owns the choice between mounting and
//! copying, the path by which the daemon knows the work_dir, and whose the files are.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use bollard::{Docker, query_parameters::InspectContainerOptions};
use serde_bytes::ByteBuf;
use stockade_runner::wire::message::Ownership;
use tempfile::NamedTempFile;

use super::{
    daemon::{Address, Daemon},
    hardening::capability,
    lockdown,
    options::Options,
};
use crate::{
    error::{Error, Result},
    executor::work_dir::WorkDir,
    session::WorkspaceMode,
};

/// Where the workspace is in a container.
pub(super) const WORKSPACE: &str = "/workspace";

/// What a runner needs to do its work as root: give files away, be somebody else, and signal him.
const OF_ROOT: &[&str] = &["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];

/// How the workspace is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The daemon mounts this path of its host.
    Bind(PathBuf),
    /// The work_dir is copied.
    Copy,
}

impl Source {
    pub(super) fn mode(&self) -> WorkspaceMode {
        match self {
            Source::Bind(_) => WorkspaceMode::Bind,
            Source::Copy => WorkspaceMode::Copy,
        }
    }
}

/// Who runs what in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The container's user: the runner's.
    pub(super) runner: String,
    /// The blocks' user, where it is another.
    pub(super) blocks: Option<String>,
    pub(super) ownership: Ownership,
}

/// The work_dir of a session.
pub(super) fn open(asked: Option<&Path>) -> Result<WorkDir> {
    WorkDir::open(asked, "docker", open_to_all)
}

/// A directory that every user of the container may write to, in one that no other user of this host may enter.
fn open_to_all(parent: PathBuf) -> io::Result<PathBuf> {
    let path = parent.join("workspace");
    fs::create_dir(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o777))?;
    Ok(path)
}

/// A file that whoever sees this very work_dir sees, too; it is gone when it is dropped.
pub(super) fn witness(work_dir: &WorkDir) -> Result<NamedTempFile> {
    let made = tempfile::Builder::new().prefix(".stockade-").tempfile_in(&work_dir.path);
    made.map_err(|source| Error::WorkDir { path: work_dir.path.clone(), source })
}

/// The name of a witness, for the runner.
pub(super) fn name(witness: &NamedTempFile) -> Option<ByteBuf> {
    let name = witness.path().file_name()?;
    Some(ByteBuf::from(name.as_encoded_bytes()))
}

impl Source {
    /// How the work_dir gets into a container of this daemon. Whether it is the same directory there, its witness
    /// tells.
    pub(super) async fn choose(options: &Options, daemon: &Daemon, work_dir: &Path) -> Result<Self> {
        if options.workspace == Some(WorkspaceMode::Copy) {
            return Ok(Source::Copy);
        }
        if let Some(bind_dir) = &options.bind_dir {
            return Ok(Source::Bind(bind_dir.clone()));
        }
        let asked = options.workspace == Some(WorkspaceMode::Bind);
        // A socket of this host may lead elsewhere, as Docker Desktop's does: the witness will tell.
        if !matches!(daemon.address, Address::Unix(_)) && !asked {
            return Ok(Source::Copy);
        }
        match path_of_daemon(&daemon.docker, work_dir).await {
            Some(path) => Ok(Source::Bind(path)),
            None if asked => Err(Error::InvalidOption {
                option: "workspace",
                why: format!(
                    "can't be mounted: this process runs in a container, and {} is not on a mount that the daemon \
                     knows; mount it there, or name its path on the daemon's host as bind_dir",
                    work_dir.display()
                ),
            }),
            None => Ok(Source::Copy),
        }
    }

    /// Who runs what. May turn a mount into a copy, where mounted files would be root's for a runner that can't give
    /// them away.
    pub(super) fn identify(
        self,
        options: &Options,
        maps_users: bool,
        work_dir: &WorkDir,
    ) -> Result<(Self, Identity)> {
        if options.lockdown {
            return self.identify_locked(options, maps_users, work_dir);
        }
        let root = |blocks, ownership| Identity { runner: "0:0".to_owned(), blocks, ownership };
        let user = options.user.clone();
        if can_be_root(&options.cap_add, &options.cap_drop) {
            let own = self == Source::Copy || work_dir.temporary.is_some();
            let ownership = match (&user, &self) {
                (Some(_), _) if own => Ownership::User,
                (None, Source::Copy) => Ownership::Maker,
                _ => Ownership::Workspace,
            };
            return Ok((self, root(user, ownership)));
        }
        if let Some(user) = user {
            return Ok((self, Identity { runner: user, blocks: None, ownership: Ownership::Maker }));
        }
        if self == Source::Copy {
            return Ok((self, root(None, Ownership::Maker)));
        }
        let refused = |source| Error::WorkDir { path: work_dir.path.clone(), source };
        let owner = fs::metadata(&work_dir.path).map_err(refused)?;
        match (owner.uid(), options.bind_dir.is_some() || options.workspace == Some(WorkspaceMode::Bind)) {
            (0, false) => Ok((Source::Copy, root(None, Ownership::Maker))),
            (0, true) => Err(Error::InvalidOption {
                option: "cap_drop",
                why: format!(
                    "takes from the container what it needs ({}) to keep root's files in the mounted work_dir in \
                     order; choose a `user`, a work_dir that is not root's, or have it copied",
                    OF_ROOT.join(", ")
                ),
            }),
            (uid, _) => {
                let runner = format!("{uid}:{}", owner.gid());
                Ok((self, Identity { runner, blocks: None, ownership: Ownership::Workspace }))
            }
        }
    }

    /// The same where the runner is the blocks' user himself, and never root. A directory that he could not write to is
    /// copied.
    fn identify_locked(
        self,
        options: &Options,
        maps_users: bool,
        work_dir: &WorkDir,
    ) -> Result<(Self, Identity)> {
        let refused = |source| Error::WorkDir { path: work_dir.path.clone(), source };
        let directory = fs::metadata(&work_dir.path).map_err(refused)?;
        let owner = Some(directory.uid()).filter(|uid| *uid != 0 && !maps_users);
        let runner = match (&options.user, owner) {
            (Some(user), _) => user.clone(),
            (None, Some(uid)) => format!("{uid}:{}", directory.gid()),
            (None, None) => lockdown::NOBODY.to_owned(),
        };
        let is_owner = owner.is_some_and(|uid| number_of(&runner) == Some(uid));
        let is_open = directory.mode() & 0o003 == 0o003;
        let is_asked = options.bind_dir.is_some() || options.workspace == Some(WorkspaceMode::Bind);
        let identity = |ownership| Identity { runner: runner.clone(), blocks: None, ownership };
        match self {
            // What is the owner's stays so, and loses its setuid bits.
            Source::Bind(_) if is_owner => Ok((self, identity(Ownership::Workspace))),
            Source::Bind(_) if is_open && !maps_users => Ok((self, identity(Ownership::Maker))),
            // Somebody who was named may have rights that can't be seen from here.
            Source::Bind(_) if is_asked && options.user.is_some() => Ok((self, identity(Ownership::Maker))),
            Source::Bind(_) if is_asked => Err(lockdown::contradiction(
                "workspace",
                &format!("{runner}, whom blocks would run as, can't write to {}", work_dir.path.display()),
            )),
            Source::Bind(_) | Source::Copy => Ok((Source::Copy, identity(Ownership::Maker))),
        }
    }
}

/// The number of a user that is given by it.
fn number_of(user: &str) -> Option<u32> {
    user.split(':').next()?.parse().ok()
}

/// Whether root has what it needs in a container with these capabilities; a container has it by default.
pub(super) fn can_be_root(added: &[String], dropped: &[String]) -> bool {
    let lists = |list: &[String], wanted: &str| list.iter().any(|name| capability(name) == wanted);
    OF_ROOT.iter().all(|needed| {
        let dropped_all = lists(dropped, "ALL") && !lists(added, needed);
        !(lists(dropped, needed) || dropped_all && !lists(added, "ALL"))
    })
}

/// The path by which the daemon's host knows a directory that this process sees. That is the same path, unless this
/// process runs in a container of that daemon: then it is what its mounts make of it, and none where the directory
/// is in the container's own layer.
async fn path_of_daemon(docker: &Docker, work_dir: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for id in own_containers(&mounts) {
        let Ok(found) = docker.inspect_container(&id, None::<InspectContainerOptions>).await else {
            continue;
        };
        let mounts = found.mounts.unwrap_or_default().into_iter();
        let mounts: Vec<(PathBuf, PathBuf)> =
            mounts.filter_map(|mount| Some((mount.destination?.into(), mount.source?.into()))).collect();
        return translate(&mounts, work_dir);
    }
    Some(work_dir.to_owned())
}

/// The ids of the containers that this process may be in: engines mount some files of `/etc` from a folder of the
/// container's id.
fn own_containers(mountinfo: &str) -> Vec<String> {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let of_line = |line: &str| {
        let mut fields = line.split(' ');
        let (root, place) = (fields.nth(3)?, fields.next()?);
        let ours = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"].contains(&place);
        if ours { root.split('/').find(is_id).map(str::to_owned) } else { None }
    };
    let mut ids: Vec<String> = mountinfo.lines().filter_map(of_line).collect();
    ids.dedup();
    ids
}

/// What a container's mounts (where, and from what of the host) make of a path in it.
fn translate(mounts: &[(PathBuf, PathBuf)], path: &Path) -> Option<PathBuf> {
    let beneath = mounts.iter().filter(|(destination, _)| path.starts_with(destination));
    let (destination, source) = beneath.max_by_key(|(destination, _)| destination.components().count())?;
    if !source.is_absolute() {
        return None;
    }
    let rest = path.strip_prefix(destination).ok()?;
    Some(if rest.as_os_str().is_empty() { source.clone() } else { source.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn root_needs_its_capabilities() {
        let can = |added: &[&str], dropped: &[&str]| can_be_root(&names(added), &names(dropped));
        assert!(can(&[], &[]));
        assert!(can(&[], &["NET_RAW", "cap_mknod"]));
        assert!(!can(&[], &["ALL"]));
        assert!(!can(&[], &["CAP_CHOWN"]));
        assert!(!can(&["CHOWN"], &["all"]));
        assert!(can(OF_ROOT, &["ALL"]));
        assert!(can(&["ALL"], &["ALL"]));
    }

    #[test]
    fn a_path_in_a_container_is_found_from_its_mounts() {
        let mounts = [("/data", "/host/data"), ("/data/deep", "/var/lib/volumes/v"), ("/odd", "tmpfs")];
        let mounts: Vec<(PathBuf, PathBuf)> =
            mounts.iter().map(|(to, from)| ((*to).into(), (*from).into())).collect();
        let of = |path: &str| translate(&mounts, Path::new(path));
        assert_eq!(of("/data"), Some("/host/data".into()));
        assert_eq!(of("/data/a/b"), Some("/host/data/a/b".into()));
        assert_eq!(of("/data/deep/x"), Some("/var/lib/volumes/v/x".into()));
        assert_eq!(of("/datafile"), None);
        assert_eq!(of("/odd/x"), None);
    }

    #[test]
    fn a_container_is_known_by_the_files_that_its_engine_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let inside = format!(
            "1 2 0:1 / / rw - overlay overlay rw\n\
             3 1 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda rw\n\
             4 1 8:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw - ext4 /dev/sda rw\n"
        );
        assert_eq!(own_containers(&inside), std::slice::from_ref(&id));
        let host = format!("5 1 0:9 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw\n");
        assert!(own_containers(&host).is_empty());
        assert!(own_containers("").is_empty());
    }
}
