//! Builds the static runner from the sources that `stockade-runner` hands over, and gives its bytes to the
//! library as `OUT_DIR/runners.rs`: a table of architecture and executable. Owns the choice of the target and
//! the nested build with its clean environment. Refuses what is no Linux executable of the right architecture,
//! and never falls back to a runner that is not static.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

type Result<T, E = String> = std::result::Result<T, E>;

/// Architectures that containers come in, as Rust names them, with the machine that their executables name in
/// the header (`e_machine` in elf.h).
const ARCHITECTURES: &[(&str, u16)] =
    &[("aarch64", 183), ("arm", 40), ("powerpc64", 21), ("riscv64", 243), ("s390x", 22), ("x86_64", 62)];

/// The runner is small, starts at once and copies pipes: the whole program is optimized as one. The empty
/// workspace keeps cargo from looking for one above OUT_DIR.
const ADDED_TO_MANIFEST: &str = r#"
[workspace]

[profile.release]
opt-level = 2
lto = "fat"
codegen-units = 1
panic = "abort"
strip = true
"#;

fn main() {
    // Cargo fails the build for these lines. An exit code besides would make it print all that this script said.
    for line in embed_runners().err().unwrap_or_default().lines() {
        println!("cargo::error={line}");
    }
}

fn embed_runners() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let own = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut runners = Vec::new();
    for &(architecture, machine) in ARCHITECTURES {
        if let Some(file) = prebuilt(architecture, architecture == own)? {
            runners.push((architecture, checked(&file, machine)?));
        }
    }
    if runners.iter().all(|&(architecture, _)| architecture != own) && env::var_os("DOCS_RS").is_none() {
        let &(architecture, machine) =
            ARCHITECTURES.iter().find(|(name, _)| *name == own).ok_or_else(|| {
                format!("there is no runner for the architecture {own}: Stockade does not know it")
            })?;
        runners.push((architecture, checked(&NestedBuild::new(&out, architecture)?.run()?, machine)?));
    }
    write_table(&out, &runners)
}

/// The runner that the builder of this crate has made beforehand: `STOCKADE_RUNNER_<ARCHITECTURE>`, and
/// `STOCKADE_RUNNER` for the architecture that is compiled for.
fn prebuilt(architecture: &str, own: bool) -> Result<Option<PathBuf>> {
    let specific = format!("STOCKADE_RUNNER_{}", architecture.to_uppercase());
    let names = if own { vec![specific, "STOCKADE_RUNNER".into()] } else { vec![specific] };
    let mut found = None;
    for name in names {
        println!("cargo::rerun-if-env-changed={name}");
        let Some(value) = env::var_os(&name).filter(|value| !value.is_empty()) else { continue };
        let file = PathBuf::from(value);
        if !file.is_absolute() {
            return Err(format!("{name} is {}: it must be an absolute path", file.display()));
        }
        println!("cargo::rerun-if-changed={}", file.display());
        found.get_or_insert(file);
    }
    Ok(found)
}

/// The bytes of `file`, which must be a Linux executable for `machine`.
fn checked(file: &Path, machine: u16) -> Result<Vec<u8>> {
    let bytes = fs::read(file).map_err(|error| format!("read the runner {}: {error}", file.display()))?;
    if bytes.len() < 64 || !bytes.starts_with(b"\x7fELF") {
        return Err(format!("the runner {} is not a Linux executable", file.display()));
    }
    // Byte 5 of the header says in which order the others stand: 2 is the big end first.
    let field = [bytes[18], bytes[19]];
    let found = if bytes[5] == 2 { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
    if found != machine {
        let names = |number| ARCHITECTURES.iter().find(|entry| entry.1 == number).map(|entry| entry.0);
        return Err(format!(
            "the runner {} is for {}, and one for {} is needed",
            file.display(),
            names(found).unwrap_or("another architecture"),
            names(machine).unwrap_or("this one"),
        ));
    }
    Ok(bytes)
}

/// Writes the runners and the table that includes them, for `src/runner_image.rs`.
fn write_table(out: &Path, runners: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut table = String::from(
        "/// The embedded runners: architecture, as Rust names it, and executable.\n\
         pub(crate) static RUNNERS: &[(&str, &[u8])] = &[\n",
    );
    for (architecture, bytes) in runners {
        let name = format!("stockade-runner-{architecture}");
        write_if_changed(&out.join(&name), bytes)?;
        table += &format!("    ({architecture:?}, include_bytes!({name:?})),\n");
    }
    table += "];\n";
    write_if_changed(&out.join("runners.rs"), table.as_bytes())
}

/// A build of the runner by a cargo of its own. Cargo can't build one crate for two targets in one go, and the
/// runner must be static whatever the library is linked into.
struct NestedBuild {
    /// The runner crate as it was handed over.
    source: PathBuf,
    /// Its copy, which is a workspace of its own.
    copy: PathBuf,
    target_dir: PathBuf,
    target: String,
    architecture: String,
}

impl NestedBuild {
    fn new(out: &Path, architecture: &str) -> Result<Self> {
        Ok(Self {
            source: variable("DEP_STOCKADE_RUNNER_SOURCE")?.into(),
            copy: out.join("runner-source"),
            target_dir: out.join("runner-target"),
            target: static_target(architecture)?,
            architecture: architecture.into(),
        })
    }

    /// Builds the runner and returns its path.
    fn run(&self) -> Result<PathBuf> {
        self.copy_sources()?;
        self.resolve()?;
        self.cargo(&["build", "--quiet", "--offline", "--release", "--bin", "stockade-runner"])?;
        Ok(self.target_dir.join(&self.target).join("release/stockade-runner"))
    }

    /// Brings the copy up to date. Files that have not changed keep their times, so that the nested cargo
    /// compiles only what it must.
    fn copy_sources(&self) -> Result<()> {
        fs::create_dir_all(&self.copy).map_err(failed("create", &self.copy))?;
        for name in ["build.rs", "README.md", "src"] {
            let from = self.source.join(name);
            // Cargo takes a watched file that is missing for one that has changed.
            if from.exists() {
                println!("cargo::rerun-if-changed={}", from.display());
            }
            mirror(&from, &self.copy.join(name))?;
        }
        let manifest = self.source.join("Cargo.toml");
        println!("cargo::rerun-if-changed={}", manifest.display());
        let text = fs::read_to_string(&manifest).map_err(failed("read", &manifest))?;
        write_if_changed(&self.copy.join("Cargo.toml"), standalone_manifest(&text).as_bytes())
    }

    /// Fixes the versions of the runner's dependencies: those of the lock file if they are on this machine,
    /// else what is (the outer build has just fetched versions that fit, perhaps newer ones or from a vendored
    /// directory), else those of the lock file from the network.
    fn resolve(&self) -> Result<()> {
        let lock = self.copy.join("Cargo.lock");
        let locked = self.lock_file();
        let take_lock = || match &locked {
            Some(file) => mirror(file, &lock),
            None => remove(&lock),
        };
        take_lock()?;
        let offline = || self.cargo(&["fetch", "--offline"]);
        if offline().is_ok() || remove(&lock).and_then(|()| offline()).is_ok() {
            return Ok(());
        }
        take_lock()?;
        self.cargo(&["fetch"])
    }

    /// The lock file of the published crate, or of the workspace that it is developed in.
    fn lock_file(&self) -> Option<PathBuf> {
        let file = ["Cargo.lock", "../../Cargo.lock"].map(|name| self.source.join(name));
        let file = file.into_iter().find(|file| file.is_file())?;
        println!("cargo::rerun-if-changed={}", file.display());
        Some(file)
    }

    fn cargo(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(variable("CARGO")?);
        command.args(arguments).args(["--target", &self.target]).current_dir(&self.copy);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_of_the_outer_build) {
                command.env_remove(name);
            }
        }
        // In the form that wins over every other way to give flags. The runner's messages should name its
        // sources, not the directory of this build.
        let flags = format!(
            "-Ctarget-feature=+crt-static\u{1f}--remap-path-prefix={}=stockade-runner",
            self.copy.display()
        );
        command.env("CARGO_ENCODED_RUSTFLAGS", flags);
        // A compiler that is told to be incremental refuses to optimize the whole program.
        command.env("CARGO_INCREMENTAL", "0");
        // Also a configured wrapper or build directory would do here, so it takes a value to be rid of them.
        command.env("RUSTC_WORKSPACE_WRAPPER", "");
        command.env("CARGO_TARGET_DIR", &self.target_dir);
        command.env("CARGO_BUILD_BUILD_DIR", &self.target_dir);
        self.choose_linker(&mut command)?;
        let output = command.output().map_err(|error| format!("start cargo to build the runner: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.explain(&String::from_utf8_lossy(&output.stderr)))
    }

    /// The C compiler of this machine links for this machine only. Rust's own linker does for every musl target,
    /// as these bring their C library along.
    fn choose_linker(&self, command: &mut Command) -> Result<()> {
        let name = format!("CARGO_TARGET_{}_LINKER", self.target.to_uppercase().replace('-', "_"));
        println!("cargo::rerun-if-env-changed={name}");
        let host = variable("HOST")?;
        let foreign = !(host.contains("linux") && host.starts_with(&self.architecture));
        if foreign && self.target.contains("musl") && env::var_os(&name).is_none() {
            command.env(name, "rust-lld");
        }
        Ok(())
    }

    /// What is missing, judged by what the nested cargo wrote.
    fn explain(&self, log: &str) -> String {
        let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
        let musl = musl_target(&self.target);
        let hint = if says(&["cannot find -lc", "library -lc", "libc.a", "cannot find -lgcc_eh"]) {
            format!(
                "the static C library (libc.a) is missing: install it (libc6-dev on Debian, glibc-static on \
                 Fedora), or add Rust's own with `rustup target add {musl}`"
            )
        } else if log.contains("linker `") && log.contains("not found") {
            "there is no linker: install a C compiler (gcc and libc6-dev on Debian)".into()
        } else if says(&["--offline", "failed to download", "Could not resolve host", "failed to get"]) {
            format!(
                "a crate that it needs is neither on this machine nor to be had from the registry:\n{log}"
            )
        } else {
            format!("cargo says\n{log}")
        };
        format!(
            "build the static runner for {}: {hint}\n\
             A runner that was built elsewhere can be given as STOCKADE_RUNNER=/path/to/stockade-runner",
            self.target
        )
    }
}

/// The target that makes a static executable for `architecture`: musl where Rust's part of it is installed, for
/// it is smaller and brings its own C library; else the glibc target that is compiled for.
fn static_target(architecture: &str) -> Result<String> {
    let target = variable("TARGET")?;
    let linux = variable("CARGO_CFG_TARGET_OS")? == "linux";
    let musl = if linux { musl_target(&target) } else { format!("{architecture}-unknown-linux-musl") };
    if std_is_installed(&musl)? {
        return Ok(musl);
    }
    if linux && target.contains("-gnu") && std_is_installed(&target)? {
        return Ok(target);
    }
    Err(format!(
        "the static runner can't be built here, for Rust's standard library for {musl} is missing: add it with \
         `rustup target add {musl}`\n\
         A runner that was built elsewhere can be given as STOCKADE_RUNNER=/path/to/stockade-runner"
    ))
}

/// The musl target that corresponds to a Linux target.
fn musl_target(target: &str) -> String {
    target.replace("-gnu", "-musl")
}

fn std_is_installed(target: &str) -> Result<bool> {
    let rustc = variable("RUSTC")?;
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|error| format!("ask {rustc} for the libraries of {target}: {error}"))?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let Ok(mut entries) = fs::read_dir(directory) else { return Ok(false) };
    Ok(entries
        .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))))
}

/// Settings of the outer build, which would change the runner (or lint it) if the nested cargo saw them. The
/// jobserver's variables stay: both builds share the processors.
fn is_of_the_outer_build(name: &str) -> bool {
    let prefixes = ["CARGO_BUILD_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "CARGO_PROFILE_", "DEP_"];
    name == "RUSTFLAGS" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The manifest of the copy. Tables of tests and benchmarks go: their files are not copied, and what they depend
/// on would have to be fetched.
fn standalone_manifest(manifest: &str) -> String {
    let dropped = ["dev-dependencies", "test", "bench", "example"];
    let mut kept = String::new();
    let mut dropping = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            let name = line.trim_start_matches('[').split([']', '.']).next().unwrap_or_default().trim();
            dropping = dropped.contains(&name);
        }
        if !dropping {
            kept += line;
            kept.push('\n');
        }
    }
    kept + ADDED_TO_MANIFEST
}

/// Makes `to` the same as `from`, whether that is a file, a directory or nothing.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        return write_if_changed(to, &fs::read(from).map_err(failed("read", from))?);
    }
    for name in names_in(to)? {
        if !from.join(&name).exists() {
            remove(&to.join(name))?;
        }
    }
    if from.is_dir() {
        fs::create_dir_all(to).map_err(failed("create", to))?;
        for name in names_in(from)? {
            mirror(&from.join(&name), &to.join(name))?;
        }
        Ok(())
    } else {
        remove(to)
    }
}

fn names_in(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).map_err(failed("read", directory))?;
    entries.map(|entry| Ok(entry.map_err(failed("read", directory))?.file_name().into())).collect()
}

fn write_if_changed(file: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    fs::write(file, contents).map_err(failed("write", file))
}

/// Removes a file or a directory; nothing is done when there is none.
fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path).map_err(failed("remove", path))
    } else if path.exists() {
        fs::remove_file(path).map_err(failed("remove", path))
    } else {
        Ok(())
    }
}

fn failed<'a>(verb: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> String + 'a {
    move |error| format!("{verb} {}: {error}", path.display())
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| format!("the variable {name} is not set: cargo sets it for a build script"))
}
