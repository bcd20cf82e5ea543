//! The images that tests start, and what is in each. Owns their names, and their making from Debian's packages
//! alone, so that no registry is needed: a folder is furnished and packed as an archive that every engine takes.

use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Scratch, engine::Engine, report_missing, run_with_log};
use crate::{
    commands::{output, say},
    debian,
};

struct Image {
    /// By which the tests are told of it.
    variable: &'static str,
    name: &'static str,
    architecture: fn() -> &'static str,
    /// What it runs when not told.
    command: &'static str,
    /// Fills its root folder, which is empty, in a workshop that may be used for more.
    furnish: fn(root: &Path, workshop: &Path) -> Result<(), String>,
}

const PYTHON_VARIABLE: &str = "STOCKADE_TEST_IMAGE";
const PYTHON: &str = "python:3-slim";
/// Podman takes any image whose name ends in the one asked for, our stand-in too, unless the registry is named.
const PYTHON_REPOSITORY: &str = "docker.io/library/python";
const PYTHON_TAG: &str = "3-slim";

/// What the tests use of [`PYTHON`]: sh, python and pip.
const STAND_IN: Image = Image {
    variable: PYTHON_VARIABLE,
    name: "stockade-test/python:3-slim",
    architecture: own_architecture,
    command: "python3",
    furnish: furnish_python,
};

const BASIC: &[Image] = &[
    // Nothing but a busybox and its names.
    Image {
        variable: "STOCKADE_TEST_BUSYBOX_IMAGE",
        name: "stockade-test/busybox",
        architecture: own_architecture,
        command: "sh",
        furnish: furnish_busybox,
    },
    // One program, and that is no shell.
    Image {
        variable: "STOCKADE_TEST_SHELLLESS_IMAGE",
        name: "stockade-test/shellless",
        architecture: own_architecture,
        command: "/true",
        furnish: furnish_shellless,
    },
    // Says that it is of another architecture, and its programs do too.
    Image {
        variable: "STOCKADE_TEST_FOREIGN_IMAGE",
        name: "stockade-test/foreign",
        architecture: foreign_architecture,
        command: "sh",
        furnish: furnish_foreign,
    },
];

/// Gives each engine the images that it lacks, and returns what to tell the tests of them.
pub(super) fn provide(engines: &[Engine], logs: &Path) -> Vec<(&'static str, OsString)> {
    let mut told = Vec::new();
    for image in BASIC {
        match load_where_missing(image, engines, logs) {
            Ok(()) => told.push((image.variable, image.name.into())),
            Err(failure) => report_missing(image.name, &failure),
        }
    }
    match provide_python(engines, logs) {
        Ok(name) => told.push((PYTHON_VARIABLE, name.into())),
        Err(failure) => report_missing(PYTHON, &failure),
    }
    told
}

/// What is there is taken first, the stand-in too: asking a registry that is out of reach can take its time.
fn provide_python(engines: &[Engine], logs: &Path) -> Result<&'static str, String> {
    let everywhere = |name| engines.iter().all(|engine| engine.api.has_image(name));
    let full_name = format!("{PYTHON_REPOSITORY}:{PYTHON_TAG}");
    if everywhere(&full_name) {
        return Ok(PYTHON);
    }
    if !everywhere(STAND_IN.name) {
        let mut lacking = engines.iter().filter(|engine| !engine.api.has_image(&full_name));
        say(&format!("pull {PYTHON}"));
        match lacking.try_for_each(|engine| engine.api.pull(PYTHON_REPOSITORY, PYTHON_TAG)) {
            Ok(()) => return Ok(PYTHON),
            Err(failure) => say(&format!("{PYTHON} can't be pulled: {failure}")),
        }
        load_where_missing(&STAND_IN, engines, logs)?;
    }
    say(&format!("{} stands in for {PYTHON}", STAND_IN.name));
    Ok(STAND_IN.name)
}

fn load_where_missing(image: &Image, engines: &[Engine], logs: &Path) -> Result<(), String> {
    let lacking: Vec<_> = engines.iter().filter(|engine| !engine.api.has_image(image.name)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    say(&format!("make the image {}", image.name));
    let workshop = Scratch::new(logs, "image")?;
    let root = workshop.0.join("root");
    make_folder(&root)?;
    (image.furnish)(&root, &workshop.0)?;
    let archive = pack(image, &root, &workshop.0)?;
    lacking.into_iter().try_for_each(|engine| engine.api.load(image.name, &archive))
}

/// Packs an image as `docker save` does: its one layer, and two files that describe it.
fn pack(image: &Image, root: &Path, workshop: &Path) -> Result<PathBuf, String> {
    let content = workshop.join("content");
    make_folder(&content)?;
    let layer = content.join("layer.tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--numeric-owner", "--one-file-system", "--exclude=./dev/*"]);
    if !debian::is_root() {
        // What is root's in the image could not be root's here.
        tar.args(["--owner=0", "--group=0"]);
    }
    output(tar.arg("--file").arg(&layer).arg("--directory").arg(root).arg("."))?;
    let digest = digest(&layer)?;
    write_file(&content.join("config.json"), &configuration(image, &digest))?;
    write_file(&content.join("manifest.json"), &manifest(image))?;
    let archive = workshop.join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&content);
    output(tar.args(["manifest.json", "config.json", "layer.tar"]))?;
    Ok(archive)
}

fn digest(file: &Path) -> Result<String, String> {
    let line = output(Command::new("sha256sum").arg("--binary").arg(file))?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

fn configuration(image: &Image, digest: &str) -> String {
    let Image { command, .. } = image;
    let architecture = (image.architecture)();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    format!(
        r#"{{
  "architecture": "{architecture}",
  "os": "linux",
  "config": {{"Env": ["PATH={path}"], "Cmd": ["{command}"]}},
  "rootfs": {{"type": "layers", "diff_ids": ["sha256:{digest}"]}}
}}
"#
    )
}

fn manifest(image: &Image) -> String {
    let tag = if image.name.contains(':') { "" } else { ":latest" };
    format!(
        r#"[{{"Config": "config.json", "RepoTags": ["{}{tag}"], "Layers": ["layer.tar"]}}]
"#,
        image.name
    )
}

fn furnish_busybox(root: &Path, workshop: &Path) -> Result<(), String> {
    let binaries = root.join("bin");
    make_folder(&binaries)?;
    let busybox = binaries.join("busybox");
    take_busybox(&busybox, workshop)?;
    for name in output(Command::new(&busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", binaries.join(name)).map_err(|error| format!("link {name}: {error}"))?;
    }
    make_folder(&root.join("etc"))?;
    let nobody = "nobody:x:65534:65534:nobody:/:/bin/false\n";
    write_file(&root.join("etc/passwd"), &format!("root:x:0:0:root:/root:/bin/sh\n{nobody}"))?;
    write_file(&root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    make_folder(&root.join("root"))?;
    let temporary = root.join("tmp");
    make_folder(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777))
        .map_err(|error| format!("open {} to all: {error}", temporary.display()))
}

/// busybox is what the name says by which it is started, and here it has but one.
fn furnish_shellless(root: &Path, workshop: &Path) -> Result<(), String> {
    take_busybox(&root.join("true"), workshop)
}

fn furnish_foreign(root: &Path, workshop: &Path) -> Result<(), String> {
    furnish_busybox(root, workshop)?;
    claim_foreign_machine(&root.join("bin/busybox")).map_err(|error| format!("alter busybox: {error}"))
}

/// Lets an executable say that it is for another machine: the kernel reads no further.
fn claim_foreign_machine(executable: &Path) -> io::Result<()> {
    // `e_machine` of an ELF file, and its values for arm64 and amd64; both are little-endian.
    const OFFSET: u64 = 18;
    const ARM64: u16 = 183;
    const AMD64: u16 = 62;
    let machine = if foreign_architecture() == "arm64" { ARM64 } else { AMD64 };
    OpenOptions::new().write(true).open(executable)?.write_all_at(&machine.to_le_bytes(), OFFSET)
}

/// Gets Debian's static busybox without installing it.
fn take_busybox(to: &Path, workshop: &Path) -> Result<(), String> {
    let package = debian::download("busybox-static", workshop)?;
    let unpacked = workshop.join("busybox-static");
    output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&unpacked))?;
    // Beneath /usr in newer Debians.
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.join(place));
    let found = places.iter().find(|place| place.exists()).ok_or("busybox-static holds no busybox")?;
    fs::copy(found, to).map(drop).map_err(|error| format!("copy busybox: {error}"))
}

/// A small Debian with Python, as [`PYTHON`] is one.
fn furnish_python(root: &Path, workshop: &Path) -> Result<(), String> {
    debian::provide_program("debootstrap", &["debootstrap", "debian-archive-keyring"])?;
    let mirror = debian::mirror()?;
    let log = workshop.with_file_name("debootstrap.log");
    let packages = "--include=python3,python3-pip,python3-venv";
    let place = root.to_string_lossy();
    let arguments = ["--variant=minbase", packages, &mirror.codename, &place, &mirror.address];
    let mut command = Command::new("debootstrap");
    command.args(arguments);
    if let Some(proxy) = mirror.proxy {
        command.env("http_proxy", proxy);
    }
    run_with_log(&mut command, &format!("debootstrap {}", arguments.join(" ")), &log)?;
    make_like_python_image(root).map_err(|error| format!("finish {}: {error}", root.display()))
}

/// In [`PYTHON`], `python` is there, pip may install for the whole system, and no package lists take up space.
fn make_like_python_image(root: &Path) -> io::Result<()> {
    symlink("python3", root.join("usr/bin/python"))?;
    for entry in fs::read_dir(root.join("usr/lib"))? {
        let marker = entry?.path().join("EXTERNALLY-MANAGED");
        if marker.exists() {
            fs::remove_file(marker)?;
        }
    }
    for folder in ["var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(folder))?;
        fs::create_dir(root.join(folder))?;
    }
    Ok(())
}

/// As images name it.
fn own_architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn foreign_architecture() -> &'static str {
    if own_architecture() == "arm64" { "amd64" } else { "arm64" }
}

fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir(folder).map_err(|error| format!("make {}: {error}", folder.display()))
}

fn write_file(file: &Path, content: &str) -> Result<(), String> {
    fs::write(file, content).map_err(|error| format!("write {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        assert!(manifest(&BASIC[0]).contains(r#"["stockade-test/busybox:latest"]"#));
        assert!(manifest(&STAND_IN).contains(r#"["stockade-test/python:3-slim"]"#));
    }

    #[test]
    fn a_foreign_image_is_foreign_in_what_it_says_and_in_its_programs() {
        let foreign = BASIC.iter().find(|image| image.name.ends_with("foreign")).unwrap();
        assert!(!configuration(foreign, "").contains(&format!(r#""{}""#, own_architecture())));
        let scratch = Scratch::new(&env::temp_dir(), "foreign").unwrap();
        let program = scratch.0.join("program");
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        claim_foreign_machine(&program).unwrap();
        assert!(Command::new(&program).arg("--list").output().is_err(), "a foreign program was started");
    }
}
