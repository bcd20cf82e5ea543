//! Where the interpreters are that are found on PATH, outside of the system's own folders: in a version manager's, a
//! virtual environment's, an installation's of its own. Owns what has to be shown for one to work, and never shows a
//! home for it, nor what is around one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What has to be shown for programs to work.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Files and directories, read-only.
    pub(super) paths: Vec<PathBuf>,
    /// Links in folders that are not shown: where, and to what.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

/// Folders that hold what is private beside programs.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes(Vec<PathBuf>);

/// What a home has, and hardly anything else.
const MARKS: &[&str] = &[".ssh", ".gnupg", ".config", ".bashrc", ".profile"];
/// What of a home holds whatever programs keep.
const KEPT: &[&str] = &[".local", ".local/share", ".local/state", ".config", ".cache", ".cargo", "bin", "."];

impl Homes {
    /// The home that a variable names, and those of a list of users, each by the names it was given and where that leads.
    pub(super) fn new(home: Option<&Path>, users: &str) -> Self {
        let listed = users.lines().filter_map(|line| line.split(':').nth(5)).map(Path::new);
        let given = home.into_iter().chain(listed);
        let given = given.filter(|home| home.is_absolute() && home.parent().is_some());
        Self(given.flat_map(|home| [Some(home.to_owned()), home.canonicalize().ok()]).flatten().collect())
    }

    /// Whether a folder can be shown whole: it is no home, nothing around one, nor one of those in it that hold
    /// whatever programs keep.
    pub(super) fn allow(&self, folder: &Path) -> bool {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        [folder, &real].into_iter().all(|folder| {
            // `/opt`, `/home`, `/srv`.
            let is_top = folder.components().count() <= 2;
            let is_someones = folder.parent() == Some(Path::new("/home"));
            let keeps = |home: &PathBuf| KEPT.iter().any(|name| home.join(name) == folder);
            !is_top && !is_someones && self.beneath(folder).is_none() && !self.0.iter().any(keeps)
        }) && !MARKS.iter().any(|mark| real.join(mark).exists())
    }

    /// A home that is a folder or lies in it.
    pub(super) fn beneath(&self, folder: &Path) -> Option<&Path> {
        self.0.iter().map(PathBuf::as_path).find(|home| home.starts_with(folder))
    }
}

impl Shown {
    /// Adds what the program that is found as `found` and lies at `real` needs. What lies in `system` is shown anyway.
    pub(super) fn add(
        &mut self,
        found: &Path,
        real: &Path,
        homes: &Homes,
        rustup: Option<&Path>,
        system: &[PathBuf],
    ) {
        let is_system = |path: &Path| system.iter().any(|folder| path.starts_with(folder));
        if let Some(root) = version_manager(found).filter(|root| homes.allow(root)) {
            return self.show(root.to_owned());
        }
        if !is_system(real) {
            match (is_rustup(found, real), rustup) {
                (true, Some(toolchains)) => {
                    self.show(toolchains.to_owned());
                    self.show(real.to_owned());
                    self.names(found);
                }
                _ => self.show(installation(real, homes)),
            }
        }
        if !is_system(found) {
            match virtual_env(found).filter(|root| homes.allow(root)) {
                Some(root) => self.show(root.to_owned()),
                None if found != real => self.link(found, real),
                None => {}
            }
        }
    }

    fn show(&mut self, path: PathBuf) {
        if !self.is_shown(&path) {
            self.paths.retain(|shown| !shown.starts_with(&path));
            self.links.retain(|(link, _)| !link.starts_with(&path));
            self.paths.push(path);
        }
    }

    fn link(&mut self, link: &Path, to: &Path) {
        if !self.is_shown(link) && !self.links.iter().any(|(known, _)| known == link) {
            self.links.push((link.to_owned(), to.to_owned()));
        }
    }

    /// Shows a program by all names that it has in its folder: those of other tools, which it becomes.
    fn names(&mut self, program: &Path) {
        let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let (Some(folder), Ok(own)) = (program.parent(), identity(program)) else { return };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for name in entries.filter(|path| identity(path).is_ok_and(|other| other == own)) {
            match name.canonicalize() {
                Ok(real) if real != name => self.link(&name, &real),
                Ok(_) => self.show(name),
                Err(_) => {}
            }
        }
    }

    fn is_shown(&self, path: &Path) -> bool {
        self.paths.iter().any(|shown| path.starts_with(shown))
    }
}

/// The folder of the version manager whose shim this is: pyenv's, rbenv's, nodenv's, asdf's, mise's.
fn version_manager(found: &Path) -> Option<&Path> {
    let shims = found.parent().filter(|folder| folder.file_name() == Some(OsStr::new("shims")))?;
    let root = shims.parent()?;
    ["versions", "installs"].iter().any(|name| root.join(name).is_dir()).then_some(root)
}

/// Whether it is rustup, which goes by the name of each of its tools.
fn is_rustup(found: &Path, real: &Path) -> bool {
    real.file_name() == Some(OsStr::new("rustup"))
        || found
            .parent()
            .is_some_and(|folder| folder.join("rustup").is_file() && folder.ends_with(".cargo/bin"))
}

fn virtual_env(found: &Path) -> Option<&Path> {
    let root = found.parent()?.parent()?;
    root.join("pyvenv.cfg").is_file().then_some(root)
}

/// The folder of an installation that has a `bin`, or the one that the program lies in; the program alone, where that
/// folder may hold anything.
fn installation(real: &Path, homes: &Homes) -> PathBuf {
    let folder = real.parent().unwrap_or(real);
    let root = match folder.parent() {
        Some(root) if folder.file_name() == Some(OsStr::new("bin")) => root,
        _ => folder,
    };
    if homes.allow(root) { root.to_owned() } else { real.to_owned() }
}

/// The first program of this name in the folders of a search path.
pub(super) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let candidates = folders.iter().map(|folder| folder.join(program));
    let is_program = |found: fs::Metadata| found.is_file() && found.mode() & 0o111 != 0;
    candidates.into_iter().find(|candidate| fs::metadata(candidate).is_ok_and(is_program))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A home with programs in it.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().expect("it is there").join(name)
        }

        fn put(&self, name: &str) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(&path, "").expect("written");
            path
        }

        fn link(&self, name: &str, to: &Path) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            symlink(to, &path).expect("linked");
            path
        }

        fn shown(&self, found: &Path) -> Shown {
            let mut shown = Shown::default();
            let homes = Homes::new(Some(&self.path("")), "");
            let real = found.canonicalize().expect("it is there");
            shown.add(found, &real, &homes, Some(&self.path(".rustup")), &["/usr".into()]);
            shown
        }
    }

    fn only(path: PathBuf) -> Shown {
        Shown { paths: vec![path], links: vec![] }
    }

    #[test]
    fn what_is_the_systems_needs_nothing() {
        assert_eq!(Home::new().shown(Path::new("/usr/bin/env")), Shown::default());
    }

    #[test]
    fn a_shim_needs_its_version_manager() {
        let home = Home::new();
        let shim = home.put(".pyenv/shims/python3");
        home.put(".pyenv/versions/3.13.0/bin/python3");
        assert_eq!(home.shown(&shim), only(home.path(".pyenv")));
    }

    #[test]
    fn an_installation_is_shown_from_above_its_bin() {
        let home = Home::new();
        let node = home.put(".nvm/versions/node/v24/bin/node");
        assert_eq!(home.shown(&node), only(home.path(".nvm/versions/node/v24")));
        let conda = home.put("miniconda3/bin/python3");
        assert_eq!(home.shown(&conda), only(home.path("miniconda3")));
    }

    #[test]
    fn a_program_in_a_folder_of_everything_is_shown_alone() {
        let home = Home::new();
        for name in ["bin/tool", ".local/bin/tool", "tool"] {
            let tool = home.put(name);
            assert_eq!(home.shown(&tool), only(tool), "{name}");
        }
    }

    #[test]
    fn a_link_leads_to_an_installation_and_is_made_again() {
        let home = Home::new();
        let real = home.put(".local/share/uv/python/cpython-3.13/bin/python3.13");
        let link = home.link(".local/bin/python3", &real);
        let shown = home.shown(&link);
        assert_eq!(shown.paths, [home.path(".local/share/uv/python/cpython-3.13")]);
        assert_eq!(shown.links, [(link, real)]);
    }

    #[test]
    fn a_virtual_environment_is_shown_with_what_it_was_made_from() {
        let home = Home::new();
        let real = home.put("python/bin/python3");
        home.put("project/.venv/pyvenv.cfg");
        let link = home.link("project/.venv/bin/python3", &real);
        let shown = home.shown(&link);
        assert_eq!(shown.paths, [home.path("python"), home.path("project/.venv")]);
        assert_eq!(shown.links, []);
    }

    #[test]
    fn rustup_needs_its_toolchains_and_cargos_credentials_are_not_shown() {
        let home = Home::new();
        let rustup = home.put(".cargo/bin/rustup");
        let rustc = home.link(".cargo/bin/rustc", &rustup);
        let cargo = home.link(".cargo/bin/cargo", &rustup);
        home.put(".cargo/bin/another");
        home.put(".cargo/credentials.toml");
        let mut shown = home.shown(&rustc);
        assert_eq!(shown.paths, [home.path(".rustup"), rustup.clone()]);
        shown.links.sort();
        assert_eq!(
            shown.links,
            [(cargo, rustup.clone()), (rustc, rustup)],
            "all of its names, and no other program"
        );
    }

    #[test]
    fn a_home_is_known_by_each_of_its_names_and_by_what_is_in_it() {
        let folder = Home::new();
        folder.put("people/ada/bin/tool");
        folder.put("people/bob/.ssh/id");
        let link = folder.link("homes", &folder.path("people"));
        let homes = Homes::new(Some(&link.join("ada")), "");
        for home in [link.join("ada"), folder.path("people/ada"), folder.path("people/bob"), link.join("bob")]
        {
            assert!(!homes.allow(&home), "{}", home.display());
        }
        assert!(homes.allow(&folder.path("people/ada/tool")));
    }

    #[test]
    fn what_can_not_be_executed_is_no_program() {
        let home = Home::new();
        let tool = home.put("bin/tool");
        assert_eq!(find("tool", &[home.path("bin")]), None);
        fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
        assert_eq!(find("tool", &[home.path("bin")]), Some(tool));
    }

    #[test]
    fn no_home_nor_what_is_around_one_is_ever_shown_whole() {
        let users = "root:x:0:0::/root:/bin/sh\neve:x:1001:1001:Eve:/data/eve:/bin/sh\nodd\n";
        let homes = Homes::new(Some(Path::new("/srv/people/ada")), users);
        assert!(!homes.allow(Path::new("/data/eve")) && homes.allow(Path::new("/data/eve/tool")));
        for folder in
            ["/", "/opt", "/home", "/home/bob", "/srv/people", "/srv/people/ada", "/srv/people/ada/.local"]
        {
            assert!(!homes.allow(Path::new(folder)), "{folder}");
        }
        for folder in
            ["/opt/tool", "/home/bob/tool", "/srv/people/ada/.pyenv", "/srv/people/ada/.local/share/uv"]
        {
            assert!(homes.allow(Path::new(folder)), "{folder}");
        }
    }
}
