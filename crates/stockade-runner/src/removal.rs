//! Removing a directory with everything in it, whatever the code has made of it: directories nested deeper than any
//! stack or limit of descriptors, and such that it took its own rights to, as some package managers do. Follows no
//! symbolic link and decides nothing.
//!
//! A directory's subdirectories are moved up to the top before it is removed, so nothing here is ever deeper than
//! one level, and three descriptors are enough for any tree.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fstat, openat, renameat, unlinkat};

/// Removes the directory and all below.
///
/// # Errors
///
/// When something can't be removed, for it is somebody else's; the rest is removed as far as that goes.
pub fn remove_all(directory: &Path) -> io::Result<()> {
    let top = open(CWD, directory.as_os_str())?;
    let mut flattened = 0;
    loop {
        let mut progress = false;
        for (name, kind) in entries(&top)? {
            progress |= match kind {
                FileType::Directory => flatten(&top, &name, &mut flattened),
                _ => unlinkat(&top, &name, AtFlags::empty()).map_err(io::Error::from),
            }
            .is_ok();
        }
        if !progress {
            break;
        }
    }
    drop(top);
    std::fs::remove_dir(directory)
}

/// Removes the directory `name` of `top`, after its files were removed and its directories moved to `top`.
fn flatten(top: &OwnedFd, name: &OsStr, flattened: &mut u64) -> io::Result<()> {
    let directory = open(top, name)?;
    for (name, kind) in entries(&directory)? {
        if kind != FileType::Directory {
            unlinkat(&directory, &name, AtFlags::empty())?;
            continue;
        }
        // Its parent is written in it, so moving it takes rights to it.
        drop(open(&directory, &name)?);
        loop {
            *flattened += 1;
            let free = OsString::from(format!(".removed-{flattened}"));
            match renameat(&directory, &name, top, &free) {
                Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOTDIR) => {}
                renamed => break renamed?,
            }
        }
    }
    Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Opens a directory, and takes the rights that a removal needs.
fn open(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Opened as a mere path, which takes no right to it, it is no other file by the time it is changed.
    let place = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&place)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), mode | Mode::RWXU)?;
    }
    Ok(openat(&place, ".", flags | OFlags::RDONLY, Mode::empty())?)
}

fn entries(directory: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            let kind = match entry.file_type() {
                FileType::Unknown => kind_of(directory, name)?,
                kind => kind,
            };
            found.push((name.to_owned(), kind));
        }
    }
    Ok(found)
}

/// For file systems that don't tell it with the name.
fn kind_of(directory: &OwnedFd, name: &OsStr) -> io::Result<FileType> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

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
    fn removes_what_is_nested_deeper_than_any_limit() {
        let parent = tempfile::tempdir().expect("tempdir");
        let top = parent.path().join("all");
        fs::create_dir(&top).expect("mkdir");
        let mut directory = OwnedFd::from(fs::File::open(&top).expect("open"));
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&directory, "d", Mode::RWXU).expect("mkdir");
            directory = open(&directory, OsStr::new("d")).expect("open");
        }
        remove_all(&top).expect("removed");
        assert!(!top.exists());
    }

    #[test]
    fn says_so_when_there_is_nothing() {
        let parent = tempfile::tempdir().expect("tempdir");
        assert!(remove_all(&parent.path().join("none")).is_err());
        assert!(remove_all(parent.path()).is_ok());
    }
}
