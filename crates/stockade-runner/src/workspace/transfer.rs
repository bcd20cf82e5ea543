//! What the host puts into the workspace and takes from it: files in parts, directories, links. Nothing is kept
//! from one part to the next: the file itself says where the next one belongs.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Mode, OFlags, fchmod, fstat, ftruncate, openat, statat, symlinkat,
        unlinkat,
    },
    io::Errno,
};

use super::{Origin, Place, SaveError, SavedFile, Stamp, Workspace, enter, explain, follow, lock, overwrite};
use crate::wire::message::Part;

/// Bytes of a file that are read at once. A frame has room for many times as much, but the stream is shared.
const MAX_PART: u64 = 4 << 20;

impl Workspace {
    /// Makes or empties a file under a name that was asked for and saves `contents` in it, or adds them to the file
    /// when it is as long as `offset`.
    pub(crate) fn save_part(
        &self,
        name: &Path,
        offset: u64,
        executable: bool,
        contents: &[u8],
    ) -> Result<SavedFile, SaveError> {
        if offset > 0 {
            return self.append(name, offset, executable, contents);
        }
        self.save(name, Origin::Named, |saved| {
            lock(&saved.file, FlockOperation::NonBlockingLockExclusive)?;
            overwrite(&saved.file, contents)?;
            if executable { make_executable(&saved.file) } else { Ok(()) }
        })
    }

    fn append(
        &self,
        name: &Path,
        offset: u64,
        executable: bool,
        contents: &[u8],
    ) -> Result<SavedFile, SaveError> {
        let (place, file) = self.open_there(name, OFlags::RDWR)?;
        lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let size = fstat(&file)?.st_size as u64;
        if size != offset {
            return Err(SaveError::Misplaced { name: name.to_owned(), size, offset });
        }
        extend(&file, offset, contents)?;
        if executable {
            make_executable(&file)?;
        }
        let stat = fstat(&file)?;
        if !place.leads_to(&stat)? {
            return Err(SaveError::Held);
        }
        let (name, stamp) = (name.to_owned(), Stamp::of(&stat));
        Ok(SavedFile { name, place, file, made: false, origin: Origin::Named, stamp })
    }

    /// Makes a directory and its parents, as far as they are missing.
    pub(crate) fn make_directory(&self, name: &Path) -> Result<(), SaveError> {
        self.descend(name, enter).map(drop)
    }

    /// Makes a symbolic link, in the place of one that is there, and its parents.
    pub(crate) fn make_symlink(&self, name: &Path, target: &[u8]) -> Result<(), SaveError> {
        let Place { directory, name: link } = self.place(name, enter)?;
        let make = || symlinkat(target, &directory, &link).map(|()| self.give_entry(&directory, &link));
        let refused = |errno| explain(&directory, link.as_os_str(), errno, name);
        match make() {
            Err(Errno::EXIST) => {}
            made => return made.map_err(refused),
        }
        if kind_of(&directory, &link)? != FileType::Symlink {
            return Err(SaveError::NotSymlink(name.to_owned()));
        }
        unlinkat(&directory, &link, AtFlags::empty()).map_err(refused)?;
        make().map_err(refused)
    }

    /// Reads a part of a regular file: no more than `length` bytes, and no more than go into one answer.
    pub(crate) fn read_part(&self, name: &Path, offset: u64, length: u64) -> Result<Part, SaveError> {
        let (_, mut file) = self.open_there(name, OFlags::RDONLY)?;
        let stat = fstat(&file)?;
        let size = stat.st_size as u64;
        let expected = size.saturating_sub(offset).min(length).min(MAX_PART);
        let mut contents = Vec::with_capacity(expected as usize);
        file.seek(SeekFrom::Start(offset))?;
        file.take(length.min(MAX_PART)).read_to_end(&mut contents)?;
        let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        Ok(Part { contents: contents.into(), size, executable })
    }

    /// Makes sure that a regular file is there. It is not opened.
    pub(crate) fn find_file(&self, name: &Path) -> Result<(), SaveError> {
        let place = self.place(name, follow)?;
        match kind_of(&place.directory, &place.name)? {
            FileType::RegularFile => Ok(()),
            FileType::Symlink => Err(SaveError::Symlink(name.to_owned())),
            _ => Err(SaveError::NotRegular(name.to_owned())),
        }
    }

    /// Opens a regular file that is there.
    fn open_there(&self, name: &Path, access: OFlags) -> Result<(Place, File), SaveError> {
        let place = self.place(name, follow)?;
        // NONBLOCK: a FIFO must not make us wait for its other end, which may never come.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let refused = |errno| explain(&place.directory, place.name.as_os_str(), errno, name);
        let file = File::from(openat(&place.directory, &place.name, flags, Mode::empty()).map_err(refused)?);
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(SaveError::NotRegular(name.to_owned()));
        }
        Ok((place, file))
    }
}

fn kind_of(directory: &OwnedFd, name: &Path) -> Result<FileType, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Adds the part at the end, or nothing of it.
fn extend(file: &File, size: u64, contents: &[u8]) -> Result<(), SaveError> {
    file.write_all_at(contents, size).map_err(|error| {
        // What there was room for would keep a full disk full, and the part could not be sent again.
        let _ = ftruncate(file, size);
        error.into()
    })
}

/// Whoever may read the file may execute it.
fn make_executable(file: &File) -> Result<(), SaveError> {
    let mode = fstat(file)?.st_mode;
    let readable = mode & (Mode::RUSR | Mode::RGRP | Mode::ROTH).as_raw_mode();
    Ok(fchmod(file, Mode::from_raw_mode(mode | readable >> 2))?)
}
