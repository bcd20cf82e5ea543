//! Where the blocks of a sandbox can change files. Owns whether it is up to them what a path leads to; what follows from
//! that is its callers' part.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use super::Sandbox;

/// The places that blocks can change.
#[derive(Debug)]
pub(crate) struct Writable {
    /// Absolute, and free of links.
    roots: Vec<PathBuf>,
}

impl Writable {
    /// Those of a sandbox with a work_dir that is there.
    pub(crate) fn new(sandbox: &Sandbox, work_dir: &Path) -> Self {
        let paths = [work_dir].into_iter().chain(sandbox.read_write.iter().map(PathBuf::as_path));
        // What is not there makes the start fail.
        Self { roots: paths.filter_map(|path| path.canonicalize().ok()).collect() }
    }

    /// The place in which a path free of links lies.
    pub(crate) fn root_of(&self, path: &Path) -> Option<&Path> {
        self.roots.iter().find(|root| path.starts_with(root)).map(PathBuf::as_path)
    }

    /// The first place whose blocks can change what an absolute path leads to: it lies there, or a name on its way does,
    /// which may be a link by now.
    pub(crate) fn decides(&self, path: &Path) -> Option<&Path> {
        let mut way = PathBuf::new();
        for part in path.components() {
            way.push(part);
            let folder = match part {
                Component::Normal(_) => way.parent().unwrap_or(&way),
                // Where that leads is known when what is missing has been made.
                Component::ParentDir if !way.exists() => return self.roots.first().map(PathBuf::as_path),
                _ => continue,
            };
            // Beneath what is not there nothing can be changed.
            if let Some(root) = self.root_at(folder) {
                return Some(root);
            }
        }
        self.root_at(path)
    }

    fn root_at(&self, path: &Path) -> Option<&Path> {
        path.canonicalize().ok().and_then(|path| self.root_of(&path))
    }

    /// A search path without the folders whose programs blocks can change, and without those that depend on where one
    /// is.
    pub(crate) fn without(&self, path: &OsStr) -> OsString {
        let is_ours = |folder: &PathBuf| folder.is_absolute() && self.decides(folder).is_none();
        env::join_paths(env::split_paths(path).filter(is_ours)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A folder with a work_dir, a folder that is read_write and one that is neither.
    fn places() -> (tempfile::TempDir, PathBuf, Writable) {
        let folder = tempfile::tempdir().expect("a directory");
        let top = folder.path().canonicalize().expect("it is there");
        for name in ["work/sub", "data", "other/bin"] {
            fs::create_dir_all(top.join(name)).expect("made");
        }
        let sandbox = Sandbox::default().read_write(top.join("data"));
        let writable = Writable::new(&sandbox, &top.join("work"));
        (folder, top, writable)
    }

    #[test]
    fn what_lies_where_blocks_write_or_is_reached_through_it_is_theirs() {
        let (_folder, top, writable) = places();
        symlink(top.join("other"), top.join("work/link")).expect("linked");
        symlink(top.join("work"), top.join("way")).expect("linked");
        symlink("nowhere", top.join("work/dangling")).expect("linked");
        let work = top.join("work");
        for name in [
            "work",
            "work/.venv",
            "work/sub/deep/.venv",
            "work/link",
            "work/link/env",
            "work/dangling/env",
            "way/.venv",
            "other/../work/.venv",
            "work/sub/../../other/env",
            "missing/../work/env",
        ] {
            assert_eq!(writable.decides(&top.join(name)), Some(work.as_path()), "{name}");
        }
        assert_eq!(writable.decides(&top.join("data/env")), Some(top.join("data").as_path()));
    }

    #[test]
    fn what_lies_elsewhere_is_not() {
        let (_folder, top, writable) = places();
        symlink(top.join("other"), top.join("link")).expect("linked");
        for name in
            ["other", "other/env", "link/env", "workshop/env", "work/../other/env", "missing/deep/env"]
        {
            assert_eq!(writable.decides(&top.join(name)), None, "{name}");
        }
    }

    #[test]
    fn a_search_path_keeps_only_folders_that_blocks_can_not_change() {
        let (_folder, top, writable) = places();
        let folders = [top.join("work/sub"), PathBuf::from("bin"), top.join("other/bin"), top.join("data")];
        let path = env::join_paths(folders).expect("no colon in them");
        assert_eq!(writable.without(&path), top.join("other/bin").into_os_string());
        assert_eq!(writable.without(OsStr::new("")), "");
    }
}
