//! The Landlock domain: which files can be used and how, that no port can, and that nobody outside of it is signaled.
//! Owns what each kind of place allows. What the kernel is too old for is left out, and its version told.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open},
    io::Errno,
};
use serde_bytes::ByteBuf;

use super::ConfinementError;
use crate::wire::message::{Confinement, Sockets};

/// The newest version that is asked for. All that it can deny is denied, where the kernel can.
const NEWEST: ABI = ABI::V10;
/// The first version with scopes.
const SCOPES_SINCE: u32 = ABI::V6 as u32;

/// Files can be read and executed.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
/// Names can be seen.
const LIST: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir});
/// All but devices: none can be made, and none that lies there gets commands.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    Execute | ReadFile | ReadDir | WriteFile | Truncate | Refer | RemoveDir | RemoveFile
        | MakeDir | MakeReg | MakeSock | MakeFifo | MakeSym | ResolveUnix
});
/// Devices can be used, and nothing be made beside them.
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | IoctlDev
});

/// Makes the domain; nobody is in it yet.
pub(super) fn prepare(wanted: &Confinement) -> Result<RulesetCreated, ConfinementError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
    if wanted.sockets == Sockets::Pairs {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut domain = rules.scope(Scope::from_all(NEWEST))?.create()?;
    let places = [
        (&wanted.readable, READ),
        (&wanted.listable, LIST),
        (&wanted.writable, WRITE),
        (&wanted.devices, DEVICE),
    ];
    for (paths, allowed) in places {
        for path in paths {
            domain = allow(domain, path, allowed)?;
        }
    }
    Ok(domain)
}

fn allow(
    domain: RulesetCreated,
    path: &ByteBuf,
    allowed: BitFlags<AccessFs>,
) -> Result<RulesetCreated, ConfinementError> {
    let Some((place, is_directory)) = find(Path::new(OsStr::from_bytes(path)))? else { return Ok(domain) };
    let allowed = of(allowed, is_directory);
    if allowed.is_empty() {
        return Ok(domain);
    }
    Ok(domain.add_rule(PathBeneath::new(place, allowed))?)
}

/// What can be allowed for a file is less than for a directory.
fn of(allowed: BitFlags<AccessFs>, is_directory: bool) -> BitFlags<AccessFs> {
    if is_directory { allowed } else { allowed & AccessFs::from_file(NEWEST) }
}

/// What lies at the path, and whether it is a directory; `None` when there is nothing.
fn find(path: &Path) -> Result<Option<(OwnedFd, bool)>, ConfinementError> {
    if !path.is_absolute() {
        return Err(ConfinementError::Relative(path.to_owned()));
    }
    let refused = |error: Errno| ConfinementError::Path { path: path.to_owned(), error: error.into() };
    let place = match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let stat = fstat(&place).map_err(refused)?;
    Ok(Some((place, FileType::from_raw_mode(stat.st_mode).is_dir())))
}

/// Takes this process into the domain. Gives the version that is in force; `None` where the kernel has no Landlock.
pub(super) fn enter(domain: &RulesetCreated) -> Result<Option<u32>, ConfinementError> {
    let status = domain.try_clone().map_err(ConfinementError::Share)?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(effective_abi as u32),
        (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => None,
    })
}

/// Whether this version keeps signals and abstract sockets within the domain.
pub(super) fn has_scopes(version: u32) -> bool {
    version >= SCOPES_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_allows_making_devices_and_only_devices_get_commands() {
        let making = AccessFs::MakeChar | AccessFs::MakeBlock;
        for allowed in [READ, LIST, WRITE, DEVICE] {
            assert!((allowed & making).is_empty(), "{allowed:?}");
            assert_eq!(allowed.contains(AccessFs::IoctlDev), allowed == DEVICE, "{allowed:?}");
        }
        assert_eq!(WRITE | making | AccessFs::IoctlDev, AccessFs::from_all(NEWEST), "nothing is forgotten");
    }

    #[test]
    fn a_file_is_given_no_right_that_only_a_directory_can_have() {
        assert_eq!(of(READ, false), AccessFs::Execute | AccessFs::ReadFile);
        assert_eq!(of(LIST, false), BitFlags::EMPTY);
        assert_eq!(
            of(DEVICE, false),
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
        );
        for allowed in [READ, LIST, WRITE, DEVICE] {
            assert_eq!(of(allowed, true), allowed);
        }
    }

    #[test]
    fn what_is_not_there_is_passed_over_and_what_is_relative_is_refused() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("the folder is writable");
        let kind =
            |path: &Path| find(path).expect("it can be looked for").map(|(_, is_directory)| is_directory);
        assert_eq!(kind(folder.path()), Some(true));
        assert_eq!(kind(&file), Some(false));
        assert_eq!(kind(&folder.path().join("missing/too")), None);
        assert_eq!(kind(&file.join("below")), None);
        let refused = find(Path::new("etc")).expect_err("it is relative");
        assert_eq!(refused.to_string(), "etc is not an absolute path");
    }

    #[test]
    fn scopes_came_with_the_sixth_version() {
        assert_eq!([5, 6, 10].map(has_scopes), [false, true, true]);
    }
}
