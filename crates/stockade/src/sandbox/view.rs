//! Which files the code sees, and what it may do with them. Owns the list of the system's folders, what is hidden of
//! them, what is private to a session, and which work_dirs make no sense; it mounts nothing and forbids nothing itself.

use std::{
    collections::HashSet,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Component, Path, PathBuf},
    thread::{self, JoinHandle},
};

use super::{
    Sandbox, SandboxNetwork, Writable,
    installation::{self, Homes, Shown},
    place_of, secrets,
};
use crate::error::{Error, Result};

/// Programs, libraries and what they look up. All of it is the same for every user, but for what [`secrets`] hides.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    // What a program asks the processors and the memory for.
    "/sys/devices/system",
    "/sys/kernel/mm/transparent_hugepage",
];
const ETC: &str = "/etc";
/// What of `/etc` a strict sandbox shows: what libraries look up names, places and certificates with.
const ETC_STRICT: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "passwd",
    "group",
    "nsswitch.conf",
    "host.conf",
    "hosts",
    "services",
    "protocols",
    "localtime",
    "timezone",
    "locale.alias",
    "mime.types",
    "alternatives",
    "ssl/openssl.cnf",
    "ssl/certs",
    "pki/tls/certs",
    "ca-certificates",
    "fonts",
    "matplotlibrc",
];
/// The list of users, and of their homes.
const USERS: &str = "/etc/passwd";
/// Nothing in there is the code's to change.
const SYSTEMS_OWN: &[&str] = &[
    "/etc",
    "/boot",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
];
/// The kernel's own, none of which is a place for files.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev"];
/// A home for who has none that could be made private.
const NO_HOME: &str = "/home/stockade";

/// Variables that name more places which programs need.
const LIBRARIES: &str = "LD_LIBRARY_PATH";
const CERTIFICATES: &[&str] = &[
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
];

/// What a view depends on beside what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    home: Option<PathBuf>,
    rustup: Option<PathBuf>,
    /// The folders in which programs are looked for.
    path: Vec<PathBuf>,
    /// The programs that run blocks.
    programs: Vec<String>,
    /// Further places that are known by variables.
    named: Vec<PathBuf>,
}

/// What the code sees. All else is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) workspace: PathBuf,
    /// Seen and executed, never changed.
    pub(crate) read_only: Vec<PathBuf>,
    /// Links that lead there from folders that are not seen.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Beneath what is seen, and hidden all the same.
    pub(crate) hidden: Vec<PathBuf>,
    /// Changed too, the workspace included.
    pub(crate) read_write: Vec<PathBuf>,
    /// The bytes of a workspace that is not shared with this host, where namespaces allow that.
    pub(crate) workspace_size: Option<u64>,
    /// Where the code's own home is.
    pub(crate) home: PathBuf,
}

impl Surroundings {
    /// Of this process, for a search path and the programs that run blocks.
    pub(crate) fn new(path: &OsStr, programs: Vec<String>) -> Self {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let rustup = folder("RUSTUP_HOME").or_else(|| Some(home.as_ref()?.join(".rustup")));
        let libraries = env::var_os(LIBRARIES).unwrap_or_default();
        let certificates = CERTIFICATES.iter().filter_map(|name| folder(name));
        Self {
            path: env::split_paths(path).filter(|folder| folder.is_absolute()).collect(),
            programs,
            named: env::split_paths(&libraries).chain(certificates).collect(),
            rustup: rustup.filter(|folder| folder.is_dir()),
            home,
        }
    }
}

impl View {
    /// What the code sees of this host in a sandbox, with a workspace that is there.
    pub(crate) fn new(sandbox: &Sandbox, workspace: &Path, surroundings: &Surroundings) -> Result<Self> {
        // The longest part, and independent of the others.
        let hidden = thread::Builder::new().spawn(|| secrets::beneath(Path::new(ETC)));
        let home = surroundings.home.clone().filter(|home| can_be_private(home));
        let users = fs::read_to_string(USERS).unwrap_or_default();
        let homes = Homes::new(surroundings.home.as_deref(), &users);
        check_workspace(workspace, &homes)?;
        let mut shown = Shown::default();
        let mut read_only = system(sandbox);
        let mut system = read_only.clone();
        system.extend(sandbox.read_only.iter().cloned());
        // What blocks may have put there leads to whatever they want to see.
        let writable = Writable::new(sandbox, workspace);
        let is_ours = |folder: &&PathBuf| writable.decides(folder).is_none();
        let folders: Vec<PathBuf> = surroundings.path.iter().filter(is_ours).cloned().collect();
        let rustup = surroundings.rustup.as_ref().filter(is_ours).map(PathBuf::as_path);
        for program in &surroundings.programs {
            let Some(found) = installation::find(program, &folders) else { continue };
            let Ok(real) = found.canonicalize() else { continue };
            if writable.decides(&found).is_none() {
                shown.add(&found, &real, &homes, rustup, &system);
            }
        }
        read_only.extend(shown.paths);
        if !sandbox.is_strict {
            let is_fine = |path: &&PathBuf| is_plain(path) && (path.is_file() || homes.allow(path));
            for named in surroundings.named.iter().filter(is_fine).filter(is_ours) {
                show_where_it_lies(named, &mut read_only, &mut shown.links);
            }
        }
        if sandbox.network == SandboxNetwork::Host {
            read_only.extend(resolver());
        }
        for path in sandbox.read_only.iter().chain(&sandbox.read_write) {
            require(path)?;
        }
        refuse_what_is_theirs(sandbox, &writable)?;
        for path in &sandbox.read_only {
            show_where_it_lies(path, &mut read_only, &mut shown.links);
        }
        let mut read_write: Vec<PathBuf> = sandbox.read_write.iter().map(|path| plain(path)).collect();
        read_write.push(workspace.to_owned());
        Ok(Self {
            workspace: workspace.to_owned(),
            read_only: without_repetition(read_only),
            links: shown.links,
            // Where there is no thread to be had it is done here.
            hidden: match hidden.map(JoinHandle::join) {
                Ok(Ok(hidden)) => hidden,
                _ => secrets::beneath(Path::new(ETC)),
            },
            read_write: without_repetition(read_write),
            workspace_size: sandbox.limits.workspace_size,
            home: home.unwrap_or_else(|| NO_HOME.into()),
        })
    }

    /// Shows a file or directory, read-only. What blocks can change must not decide where it lies.
    pub(crate) fn show(&mut self, path: &Path) {
        show_where_it_lies(path, &mut self.read_only, &mut self.links);
    }

    /// What is seen of a path of [`read_only`](Self::read_only) or beneath it: the path itself, or, where something
    /// beneath it is hidden, those of its entries of which nothing is.
    pub(super) fn visible_parts(&self, path: &Path) -> Vec<PathBuf> {
        if self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Vec::new();
        }
        if !self.hidden.iter().any(|hidden| hidden.starts_with(path)) {
            return vec![path.to_owned()];
        }
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        // What a link leads to is judged where that lies.
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        entries.flat_map(|entry| self.visible_parts(&entry.path())).collect()
    }
}

fn system(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folders = SYSTEM.iter().map(PathBuf::from);
    let etc = match sandbox.is_strict {
        true => ETC_STRICT.iter().map(|name| Path::new(ETC).join(name)).collect(),
        false => vec![PathBuf::from(ETC)],
    };
    folders.chain(etc).filter(|path| path.exists()).collect()
}

/// Where the file lies that names are resolved with, if it is not where it is looked for.
fn resolver() -> Option<PathBuf> {
    let file = Path::new("/etc/resolv.conf").canonicalize().ok()?;
    (!file.starts_with(ETC)).then_some(file)
}

fn can_be_private(home: &Path) -> bool {
    let within = |folders: &[&str]| folders.iter().any(|folder| home.starts_with(folder));
    home.components().count() > 1 && !within(SYSTEM) && !within(KERNEL) && !home.starts_with(ETC)
}

/// Shows a path where it lies, for what is hidden is hidden there, and by its name, if that is another.
fn show_where_it_lies(named: &Path, read_only: &mut Vec<PathBuf>, links: &mut Vec<(PathBuf, PathBuf)>) {
    let Ok(real) = named.canonicalize() else { return };
    let is_seen = |path: &Path| read_only.iter().any(|shown| path.starts_with(shown));
    if real != named && is_plain(named) && !is_seen(named) {
        links.push((named.to_owned(), real.clone()));
    }
    if !is_seen(&real) {
        read_only.push(real);
    }
}

/// A workspace can be changed by the code, so it is nothing that the code must not change or see.
fn check_workspace(workspace: &Path, homes: &Homes) -> Result<()> {
    let refused = |why: String| Err(Error::InvalidOption { option: "work_dir", why });
    let shown = workspace.display();
    let parts = |above: &str| workspace.strip_prefix(above).map(|rest| rest.components().count());
    if let Some(folder) = SYSTEMS_OWN.iter().find(|folder| workspace.starts_with(folder)) {
        return refused(format!("can't be {shown}, for {folder} is the system's: choose a folder for files"));
    }
    // Sockets of daemons lie there, and those of a user's.
    if parts("/run").is_ok_and(|parts| parts < 2) || parts("/run/user").is_ok_and(|parts| parts < 2) {
        return refused(format!("can't be {shown}, where daemons listen: choose a folder for files"));
    }
    if KERNEL.iter().any(|folder| workspace.starts_with(folder)) && !workspace.starts_with("/dev/shm/") {
        return refused(format!("can't be {shown}, which is the kernel's: choose a folder for files"));
    }
    if let Some(home) = homes.beneath(workspace) {
        return refused(format!(
            "can't be {shown}, for the sandbox hides what is in the home {}: choose a folder in it, or run without a \
             sandbox",
            home.display()
        ));
    }
    let system = SYSTEM.iter().chain(SYSTEMS_OWN).chain(&["/var/lib", "/tmp", "/home"]).map(Path::new);
    // Private homes lie there, and what is run before there is a sandbox.
    let temporary = env::temp_dir().canonicalize().unwrap_or_default();
    match system.chain([temporary.as_path()]).find(|folder| folder.starts_with(workspace)) {
        Some(folder) => refused(format!(
            "can't be {shown}, for the code may change all that is in it, and {} is: choose another folder",
            folder.display()
        )),
        None => Ok(()),
    }
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let real = || path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if is_plain(path) { path.to_owned() } else { real() }
}

fn require(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let why = format!("is to show {}, and nothing is there", path.display());
    Err(Error::InvalidOption { option: "sandbox", why })
}

/// Refuses to show, or to open for changes, what lies where blocks can change files. They may have put a link there to
/// whatever they want to see, and would have it put back by the time it is looked at; and no read-only part of what they
/// can change is one at every level.
fn refuse_what_is_theirs(sandbox: &Sandbox, writable: &Writable) -> Result<()> {
    let shown = sandbox.read_only.iter().map(|path| (path, writable.decides(path)));
    let opened = sandbox.read_write.iter().map(|path| (path, writable.decides_way_to(path)));
    let theirs = shown.chain(opened).find_map(|(path, root)| Some((path, root?)));
    theirs.map_or(Ok(()), |(path, root)| {
        let why = format!(
            "is to show {}, and blocks can change what that is, for they can change what is in {}: leave it out, or choose \
             one that lies elsewhere",
            path.display(),
            root.display()
        );
        Err(Error::InvalidOption { option: "sandbox", why })
    })
}

/// Refuses a work_dir, which need not be there yet, whose place blocks can change: it is theirs whatever it leads to.
pub(crate) fn check_way_to_work_dir(sandbox: &Sandbox, work_dir: &Path) -> Result<()> {
    let work_dir =
        place_of(work_dir).map_err(|source| Error::WorkDir { path: work_dir.to_owned(), source })?;
    Writable::new(sandbox, &work_dir).decides_way_to(&work_dir).map_or(Ok(()), |root| {
        let why = format!(
            "can't be {}, for blocks can change what that is, as they can what is in {}: take that as the work_dir, or \
             choose one that lies elsewhere",
            work_dir.display(),
            root.display()
        );
        Err(Error::InvalidOption { option: "work_dir", why })
    })
}

fn without_repetition(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    paths.into_iter().filter(|path| seen.insert(OsString::from(path))).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn surroundings(home: &Path) -> Surroundings {
        Surroundings {
            home: Some(home.to_owned()),
            rustup: None,
            path: vec![home.join("tool/bin"), "/usr/bin".into()],
            programs: vec!["tool".to_owned(), "env".to_owned()],
            named: Vec::new(),
        }
    }

    fn refused(workspace: &str, home: &str) -> String {
        let homes = Homes::new(Some(Path::new(home)), "bob:x:1002:1002::/home/bob:/bin/sh");
        check_workspace(Path::new(workspace), &homes).expect_err(workspace).to_string()
    }

    #[test]
    fn a_view_has_the_system_the_workspace_and_what_programs_on_path_need() {
        let home = tempfile::tempdir().expect("a directory");
        let (tool, workspace) = (home.path().join("tool"), home.path().join("project"));
        fs::create_dir_all(tool.join("bin")).expect("made");
        fs::create_dir_all(&workspace).expect("made");
        fs::write(tool.join("bin/tool"), "").expect("written");
        fs::set_permissions(tool.join("bin/tool"), PermissionsExt::from_mode(0o755)).expect("ours");
        let view =
            View::new(&Sandbox::default(), &workspace, &surroundings(home.path())).expect("it makes sense");
        for shown in [Path::new("/usr"), Path::new("/etc"), &tool.canonicalize().expect("there")] {
            assert!(view.read_only.iter().any(|path| path == shown), "{} in {view:?}", shown.display());
        }
        assert!(!view.read_only.iter().any(|path| home.path().starts_with(path)), "{view:?}");
        assert_eq!((view.read_write, view.home.as_path()), (vec![workspace], home.path()));
    }

    #[test]
    fn what_the_code_can_change_does_not_choose_what_it_sees() {
        let folder = tempfile::tempdir().expect("a directory");
        let home = folder.path().canonicalize().expect("it is there");
        let (workspace, secrets) = (home.join("project"), home.join("secrets"));
        for made in [&workspace.join("bin"), &secrets] {
            fs::create_dir_all(made).expect("made");
        }
        fs::write(secrets.join("run"), "").expect("written");
        fs::set_permissions(secrets.join("run"), PermissionsExt::from_mode(0o755)).expect("ours");
        symlink(secrets.join("run"), workspace.join("bin/tool")).expect("linked");
        let shows = |path: PathBuf| {
            let surroundings = Surroundings { path: vec![path], ..surroundings(&home) };
            let view = View::new(&Sandbox::default(), &workspace, &surroundings).expect("it makes sense");
            view.read_only.contains(&secrets)
        };
        assert!(!shows(workspace.join("bin")));
        symlink(workspace.join("bin"), home.join("link")).expect("linked");
        assert!(!shows(home.join("link")), "a folder that leads there");
        fs::create_dir(home.join("hop")).expect("made");
        symlink(workspace.join("bin/tool"), home.join("hop/tool")).expect("linked");
        assert!(!shows(home.join("hop")), "a program that is found by way of there");
        fs::create_dir(home.join("rust")).expect("made");
        fs::write(home.join("rust/rustup"), "").expect("written");
        symlink(home.join("rust/rustup"), home.join("rust/tool")).expect("linked");
        fs::set_permissions(home.join("rust/rustup"), PermissionsExt::from_mode(0o755)).expect("ours");
        symlink(&secrets, workspace.join(".rustup")).expect("linked");
        let shows_toolchains = |folder: PathBuf| {
            let (path, rustup) = (vec![home.join("rust")], Some(folder.clone()));
            let surroundings = Surroundings { path, rustup, ..surroundings(&home) };
            let view = View::new(&Sandbox::default(), &workspace, &surroundings).expect("it makes sense");
            view.read_only.contains(&folder)
        };
        assert!(!shows_toolchains(workspace.join(".rustup")), "toolchains");
        assert!(shows_toolchains(home.join("secrets")), "toolchains of the user's");
        fs::create_dir(home.join("tools")).expect("made");
        symlink(secrets.join("run"), home.join("tools/tool")).expect("linked");
        assert!(shows(home.join("tools")), "what the user put there leads to an installation");
    }

    #[test]
    fn what_a_variable_names_is_not_shown_where_blocks_can_change_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let home = folder.path().canonicalize().expect("it is there");
        let (workspace, secret) = (home.join("project"), home.join("keys/secret"));
        for made in [&workspace, &home.join("keys")] {
            fs::create_dir_all(made).expect("made");
        }
        fs::write(&secret, "").expect("written");
        symlink(&secret, workspace.join("ca.pem")).expect("linked");
        symlink(workspace.join("ca.pem"), home.join("hop.pem")).expect("linked");
        symlink(&secret, home.join("ca.pem")).expect("linked");
        let shows = |named: PathBuf| {
            let surroundings = Surroundings { named: vec![named], ..surroundings(&home) };
            let view = View::new(&Sandbox::default(), &workspace, &surroundings).expect("it makes sense");
            view.read_only.contains(&secret)
        };
        assert!(!shows(workspace.join("ca.pem")) && !shows(home.join("hop.pem")));
        assert!(shows(home.join("ca.pem")), "what the user put there leads to the file");
    }

    #[test]
    fn what_a_variable_names_is_shown_where_it_lies() {
        let folder = tempfile::tempdir().expect("a directory");
        let home = folder.path().canonicalize().expect("it is there");
        fs::create_dir_all(home.join("project")).expect("made");
        symlink("/etc/ssl", home.join("ssl")).expect("linked");
        let named = ["relative/x", "/usr/lib/../../root"].map(PathBuf::from);
        let named = named.into_iter().chain([home.join("ssl")]).collect();
        let surroundings = Surroundings { named, ..surroundings(&home) };
        let view =
            View::new(&Sandbox::default(), &home.join("project"), &surroundings).expect("it makes sense");
        assert_eq!(view.links, [(home.join("ssl"), PathBuf::from("/etc/ssl"))]);
        for hidden in [home.join("ssl"), "/root".into(), "/usr/lib/../../root".into(), "relative/x".into()] {
            assert!(!view.read_only.contains(&hidden), "{}", hidden.display());
        }
    }

    #[test]
    fn a_strict_view_has_little_of_etc() {
        let home = tempfile::tempdir().expect("a directory");
        let workspace = home.path().join("project");
        let view =
            View::new(&Sandbox::strict(), &workspace, &surroundings(home.path())).expect("it makes sense");
        assert!(view.read_only.contains(&PathBuf::from("/etc/passwd")), "{view:?}");
        assert!(!view.read_only.contains(&PathBuf::from("/etc")), "{view:?}");
    }

    #[test]
    fn a_workspace_that_would_open_what_is_hidden_is_refused() {
        assert!(refused("/", "/home/ada").contains("/home/ada"));
        assert!(refused("/home/ada", "/home/ada").contains("choose a folder in it"));
        assert!(refused("/home", "/root").contains("/home"));
        assert!(refused("/usr", "/root").contains("change"));
        assert!(refused("/proc/self", "/root").contains("kernel"));
        assert!(refused("/home/bob", "/root").contains("home"), "another's");
        for socket in ["/run", "/run/docker", "/run/user", "/run/user/1000"] {
            assert!(refused(socket, "/root").contains("daemons"), "{socket}");
        }
        let temporary = env::temp_dir().canonicalize().expect("it is there");
        refused(temporary.to_str().expect("it is text"), "/root");
        for systems in [
            "/etc/cron.d",
            "/boot",
            "/usr/bin",
            "/usr/lib/python3",
            "/usr/local",
            "/usr/local/bin",
            "/var/lib",
            "/var",
        ] {
            refused(systems, "/root");
        }
        let homes = Homes::new(Some(Path::new("/home/ada")), "");
        for fine in [
            "/home/ada/project",
            "/srv/work",
            "/tmp/x",
            "/usr/local/src/x",
            "/dev/shm/x",
            "/run/user/1000/x",
            "/var/lib/app/work",
        ] {
            assert!(check_workspace(Path::new(fine), &homes).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_home_is_private_where_it_is_one() {
        assert!(can_be_private(Path::new("/root")) && can_be_private(Path::new("/home/ada")));
        for none in ["/", "/usr/sbin", "/proc", "/etc/x", "/bin"] {
            assert!(!can_be_private(Path::new(none)), "{none}");
        }
    }

    #[test]
    fn what_is_shown_must_be_there() {
        let home = tempfile::tempdir().expect("a directory");
        let asked = |path: &Path| {
            let sandbox = Sandbox::default().read_only(path);
            View::new(&sandbox, &home.path().join("project"), &surroundings(home.path()))
        };
        assert!(asked(&home.path().join("missing")).is_err());
        assert!(asked(home.path()).expect("it is there").read_only.contains(&home.path().to_owned()));
    }

    #[test]
    fn of_a_folder_with_something_hidden_the_other_entries_are_seen() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = |name: &str| folder.path().join(name);
        for name in ["one", "two", "deep/three", "deep/four"] {
            fs::create_dir_all(path(name).parent().expect("it has one")).expect("made");
            fs::write(path(name), "").expect("written");
        }
        symlink("two", path("link")).expect("linked");
        let view = View {
            workspace: PathBuf::new(),
            read_only: Vec::new(),
            links: Vec::new(),
            hidden: vec![path("two"), path("deep/three")],
            read_write: Vec::new(),
            workspace_size: None,
            home: PathBuf::new(),
        };
        let mut seen = view.visible_parts(folder.path());
        seen.sort();
        assert_eq!(seen, [path("deep/four"), path("one")]);
        assert_eq!(view.visible_parts(&path("one")), [path("one")]);
        assert!(view.visible_parts(&path("two")).is_empty());
    }
}
