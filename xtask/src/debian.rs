//! What a Debian gives: packages, and the mirror that they come from. Owns all use of apt; what is wanted, and why,
//! is the caller's affair. Installs as root only, and asks nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Once,
};

use crate::commands::{output, run, say, succeeds};

/// Where this machine's packages come from.
pub(crate) struct Mirror {
    pub(crate) address: String,
    pub(crate) codename: String,
    /// By which apt reaches it; other programs have to be told.
    pub(crate) proxy: Option<String>,
}

pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    if !is_root() {
        return Err("not root: nothing is installed".into());
    }
    expect_apt().map_err(|failure| format!("{failure}: nothing is installed"))?;
    update_lists();
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// Installs `packages` if `program` does not work.
pub(crate) fn provide_program(program: &str, packages: &[&str]) -> Result<(), String> {
    let works = || succeeds(Path::new(program), &["--version"]);
    if !works() {
        install(packages).map_err(|failure| format!("there is no {program} ({failure})"))?;
    }
    if works() { Ok(()) } else { Err(format!("{program} does not work")) }
}

/// Puts the file of a package into `folder`, and installs nothing.
pub(crate) fn download(package: &str, folder: &Path) -> Result<PathBuf, String> {
    expect_apt()?;
    let download = || {
        let mut command = Command::new("apt-get");
        // Root's apt downloads as a user who may not write there.
        command.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(folder);
        run(command.stdout(Stdio::null()), &format!("apt-get download {package}"))
    };
    download().or_else(|failure| {
        if !is_root() {
            return Err(failure);
        }
        update_lists();
        download()
    })?;
    let begin = format!("{package}_");
    let entries = fs::read_dir(folder).map_err(|error| format!("list {}: {error}", folder.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin)))
        .ok_or_else(|| format!("apt-get left no file of {package}"))
}

/// The mirror that apt takes this system's main packages from.
pub(crate) fn mirror() -> Result<Mirror, String> {
    expect_apt()?;
    let release =
        fs::read_to_string("/etc/os-release").map_err(|error| format!("read /etc/os-release: {error}"))?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.ok_or("/etc/os-release names no VERSION_CODENAME")?;
    let format = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)";
    let known = ["indextargets", "--format", format, "Created-By: Packages"];
    let targets = output(Command::new("apt-get").args(known))?;
    let address = main_repository(&targets, codename)
        .ok_or_else(|| format!("apt knows no mirror of Debian {codename}: is `apt-get update` to be run?"))?;
    let proxy =
        output(Command::new("apt-config").args(["dump", "--format", "%v%n", "Acquire::http::Proxy"]))?;
    let proxy = Some(proxy.trim().to_owned()).filter(|proxy| !proxy.is_empty());
    Ok(Mirror { address: address.to_owned(), codename: codename.to_owned(), proxy })
}

/// From lines of origin, component, code name and address.
fn main_repository<'a>(targets: &'a str, codename: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| line.strip_prefix(&format!("Debian main {codename} ")))
}

pub(crate) fn is_root() -> bool {
    // The effective user owns what this process shows of itself.
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

fn expect_apt() -> Result<(), String> {
    if succeeds(Path::new("apt-get"), &["--version"]) { Ok(()) } else { Err("there is no apt-get".into()) }
}

/// An old list may still do, so a failure is only told of.
fn update_lists() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(failure) = apt_get(&["update"]) {
            say(&failure);
        }
    });
}

/// Runs apt-get so that it asks nothing and waits for another one to finish.
fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    run(&mut command, &format!("apt-get {}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_mirror_is_told_from_that_of_updates_and_of_others() {
        let targets = "Elsewhere main trixie https://packages.example.com/\n\
                       Debian main trixie-updates http://updates.example.org/debian/\n\
                       Debian contrib trixie http://contrib.example.org/debian/\n\
                       Debian main trixie http://main.example.org/debian/\n";
        assert_eq!(main_repository(targets, "trixie"), Some("http://main.example.org/debian/"));
        assert_eq!(main_repository(targets, "bookworm"), None);
    }
}
