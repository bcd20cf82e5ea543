//! Removing a temporary workspace with everything in it, also directories that the code took its own rights to,
//! as some package managers do. Owns no decision to remove; follows no symbolic link.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, chmod, fstat, openat};

/// Each level of directories holds a descriptor.
const MAX_DEPTH: usize = 256;

/// Removes the directory and all below.
pub(crate) fn remove_all(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            take_rights(CWD, directory.as_os_str(), 0)?;
            fs::remove_dir_all(directory)
        }
        removed => removed,
    }
}

/// Takes the rights that a removal needs, to the directory `name` in `parent` and every one below.
fn take_rights(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Opened as a mere path, which takes no right to it, it is no other file by the time it is changed.
    let place = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&place)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), mode | Mode::RWXU)?;
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    let directory = openat(&place, ".", flags | OFlags::RDONLY, Mode::empty())?;
    for entry in Dir::read_from(&directory)?.flatten() {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            take_rights(directory.as_fd(), name, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn tree() -> (tempfile::TempDir, tempfile::TempDir) {
        let (parent, outside) =
            (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
        fs::create_dir(outside.path().join("kept")).expect("mkdir");
        set_mode(&outside.path().join("kept"), 0o500);
        fs::create_dir_all(parent.path().join("all/a/b")).expect("mkdir");
        fs::write(parent.path().join("all/a/b/file"), "x").expect("write");
        symlink(outside.path(), parent.path().join("all/a/link")).expect("symlink");
        set_mode(&parent.path().join("all/a/b"), 0o000);
        set_mode(&parent.path().join("all/a"), 0o500);
        (parent, outside)
    }

    #[test]
    fn removes_directories_without_rights_and_follows_no_link() {
        let (parent, outside) = tree();
        remove_all(&parent.path().join("all")).expect("removed");
        assert!(!parent.path().join("all").exists());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn takes_rights_below_and_nowhere_else() {
        let (parent, outside) = tree();
        take_rights(CWD, parent.path().as_os_str(), 0).expect("taken");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&parent.path().join("all/a/b")), 0o700);
        assert_eq!(mode(&parent.path().join("all/a")), 0o700);
        assert_eq!(mode(&outside.path().join("kept")), 0o500);
    }
}
