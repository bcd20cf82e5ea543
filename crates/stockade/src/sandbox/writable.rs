//! Where the blocks of a sandbox can change files. Owns whether it is up to them what a path leads to; what follows from
//! that is its callers' part.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::Sandbox;

/// Links that are followed on one way: as many as the kernel follows.
const MOST_LINKS: usize = 40;

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
        self.beneath(path).map(|(root, _)| root)
    }

    /// That place, and the path by its name there.
    pub(crate) fn beneath(&self, path: &Path) -> Option<(&Path, PathBuf)> {
        match self.walk(path) {
            Ok(end) => self.root_of(&end).map(|root| (root, end.clone())),
            Err(theirs) => Some(theirs),
        }
    }

    /// The place that decides about the way to a path, which may itself be such a place.
    pub(crate) fn decides_way_to(&self, path: &Path) -> Option<&Path> {
        self.walk(path).err().map(|(root, _)| root)
    }

    /// Goes the way of an absolute path by hand, link by link, for each name that is met may be the blocks'. Where it
    /// leads, or the first place on it, and the way from there.
    fn walk(&self, path: &Path) -> Result<PathBuf, (&Path, PathBuf)> {
        let nobody_knows = || match self.roots.first() {
            Some(root) => Err((root.as_path(), path.to_owned())),
            None => Ok(path.to_owned()),
        };
        // Free of links, and what is left of the way from there, its beginning last.
        let (mut here, mut left) = (PathBuf::new(), backwards(path));
        let mut links = 0;
        while let Some(part) = left.pop() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) if here.exists() => {
                    here.pop();
                    continue;
                }
                // Where that leads is known when what is missing has been made.
                Some(Component::ParentDir) => return nobody_knows(),
                Some(Component::RootDir) => {
                    here = "/".into();
                    continue;
                }
                _ => continue,
            }
            let folder = self.root_of(&here);
            here.push(part);
            if let Some(root) = folder {
                here.extend(left.iter().rev());
                return Err((root, here));
            }
            if let Ok(target) = fs::read_link(&here) {
                links += 1;
                if links > MOST_LINKS {
                    return nobody_knows();
                }
                here.pop();
                left.extend(backwards(&target));
            }
        }
        Ok(here)
    }

    /// A search path without the folders whose programs blocks can change, and without those that depend on where one
    /// is.
    pub(crate) fn without(&self, path: &OsStr) -> OsString {
        let is_ours = |folder: &PathBuf| folder.is_absolute() && self.decides(folder).is_none();
        env::join_paths(env::split_paths(path).filter(is_ours)).unwrap_or_default()
    }

    /// Whether a variable's value names something that is up to blocks.
    pub(crate) fn is_named_in(&self, value: &OsStr) -> bool {
        // Lists of paths are divided in more than one way.
        let divides = |byte: &u8| byte.is_ascii_whitespace() || b":,;=".contains(byte);
        let words = value.as_bytes().split(divides).map(|word| PathBuf::from(OsStr::from_bytes(word)));
        let mut paths = env::split_paths(value).chain(words).filter(|path| path.is_absolute());
        paths.any(|path| self.decides(&path).is_some())
    }
}

/// The absolute path of one that was named, without a slash at its end, which would follow a link. Upwards from the current
/// directory the way is known, whatever its name has become.
pub(crate) fn place_of(named: &Path) -> io::Result<PathBuf> {
    let is_up = |part: &Component<'_>| matches!(part, Component::ParentDir | Component::CurDir);
    let up: PathBuf = Path::new(".").components().chain(named.components().take_while(is_up)).collect();
    let rest: PathBuf = named.components().skip_while(is_up).collect();
    let place = if rest.is_absolute() { rest } else { up.canonicalize()?.join(rest) };
    Ok(place.components().collect())
}

fn backwards(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        symlink(top.join("work/link"), top.join("hop")).expect("linked");
        symlink("loop", top.join("loop")).expect("linked");
        let work = top.join("work");
        for name in [
            "work",
            "work/.venv",
            "work/sub/deep/.venv",
            "work/link",
            "work/link/env",
            "work/dangling/env",
            "way/.venv",
            "hop",
            "hop/env",
            "loop/env",
            "other/../work/.venv",
            "work/sub/../../other/env",
            "missing/../work/env",
        ] {
            assert_eq!(writable.decides(&top.join(name)), Some(work.as_path()), "{name}");
        }
        assert_eq!(writable.decides(&top.join("data/env")), Some(top.join("data").as_path()));
    }

    #[test]
    fn a_place_itself_is_not_theirs_to_put_elsewhere_and_what_lies_in_it_is() {
        let (_folder, top, writable) = places();
        symlink(top.join("work"), top.join("way")).expect("linked");
        for name in ["work", "way", "data", "other"] {
            assert_eq!(writable.decides_way_to(&top.join(name)), None, "{name}");
        }
        for name in ["work/sub", "way/sub", "work/missing"] {
            assert_eq!(writable.decides_way_to(&top.join(name)), Some(top.join("work").as_path()), "{name}");
        }
    }

    #[test]
    fn a_path_is_known_by_its_name_where_blocks_can_change_files() {
        let (_folder, top, writable) = places();
        symlink(top.join("work"), top.join("way")).expect("linked");
        symlink(top.join("other"), top.join("work/link")).expect("linked");
        for (path, expected) in
            [("way/.venv", "work/.venv"), ("way", "work"), ("way/link/env", "work/link/env")]
        {
            let found = writable.beneath(&top.join(path));
            assert_eq!(found, Some((top.join("work").as_path(), top.join(expected))), "{path}");
        }
        assert_eq!(writable.beneath(&top.join("other")), None);
    }

    #[test]
    fn the_place_of_what_is_named_has_no_slash_at_its_end_and_no_way_up_at_its_beginning() {
        let here = env::current_dir().and_then(|here| here.canonicalize()).expect("there is one");
        let parent = here.parent().expect("it has one");
        for (named, expected) in [
            ("a/", here.join("a")),
            (".", here.clone()),
            ("", here.clone()),
            ("..", parent.to_owned()),
            (".././a/../b", parent.join("a/../b")),
            ("/a/../b/", "/a/../b".into()),
        ] {
            assert_eq!(place_of(Path::new(named)).expect("it is found"), expected, "{named}");
        }
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

    #[test]
    fn a_value_that_names_what_blocks_can_change_is_known_however_it_lists_that() {
        let (_folder, top, writable) = places();
        let (work, other) = (top.join("work").display().to_string(), top.join("other").display().to_string());
        for value in [
            work.clone(),
            format!("{other}:{work}/lib"),
            format!("{other}/x.so {work}/x.so"),
            format!("file://{work}"),
            format!("--require={work}/x.js"),
        ] {
            assert!(writable.is_named_in(OsStr::new(&value)), "{value}");
        }
        for value in [other.clone(), format!("{work}shop"), "work".to_owned(), String::new()] {
            assert!(!writable.is_named_in(OsStr::new(&value)), "{value}");
        }
    }
}
