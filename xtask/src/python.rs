//! The Python package: a fresh virtual environment with its wheel, in which its tests run and its checkers look at it.
//! Owns which interpreter that is made with, and in what order things are run in it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::commands::{output, run, say};

/// Where the package is, from the project's directory.
const PACKAGE: &str = "python";
/// What is installed beside the wheel.
const REQUIREMENTS: &str = "requirements.txt";
/// What benchmarks need beyond that.
const OF_BENCHMARKS: &str = "benches/requirements.txt";

/// Builds the wheel in a fresh environment and runs the package's tests; `arguments` go to pytest.
pub(crate) fn test(arguments: &[&str], variables: &[(&str, OsString)]) -> Result<(), String> {
    let environment = Environment::fresh()?;
    environment.install_wheel("dev")?;
    let mut command = environment.command("pytest");
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    run(&mut command, &format!("pytest {}", arguments.join(" ")))
}

/// Types by two checkers, the native part's by comparison with what is there, lints and formatting.
pub(crate) fn check() -> Result<(), String> {
    let environment = Environment::existing_or_fresh()?;
    environment.install_wheel("dev")?;
    let interpreter = environment.program("python");
    let interpreter = interpreter.to_string_lossy();
    for line in [
        "ruff format --check".to_owned(),
        "ruff check".to_owned(),
        "mypy stockade tests examples".to_owned(),
        "stubtest stockade._native".to_owned(),
        format!("pyright --pythonpath {interpreter}"),
    ] {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        run(environment.command(program).args(words), &line)?;
    }
    Ok(())
}

/// A Python with the package as its users get it, and with what it is measured beside.
pub(crate) fn for_benchmarks() -> Result<PathBuf, String> {
    let environment = Environment::existing_or_fresh()?;
    environment.install(OF_BENCHMARKS)?;
    environment.install_wheel("release")?;
    Ok(environment.program("python"))
}

/// A virtual environment with what the requirements ask for.
struct Environment {
    /// As this is handed to programs that run elsewhere.
    folder: PathBuf,
}

impl Environment {
    fn at_its_place() -> Result<Self, String> {
        let program =
            env::current_exe().map_err(|error| format!("find the place of this program: {error}"))?;
        Ok(Self { folder: program.with_file_name("xtask-python") })
    }

    fn fresh() -> Result<Self, String> {
        let environment = Self::at_its_place()?;
        if environment.folder.exists() {
            fs::remove_dir_all(&environment.folder)
                .map_err(|error| format!("remove {}: {error}", environment.folder.display()))?;
        }
        let interpreter = interpreter()?;
        let folder = environment.folder.to_string_lossy();
        let line = format!("{} -m venv {folder}", interpreter.display());
        run(Command::new(&interpreter).args(["-m", "venv"]).arg(&environment.folder), &line)?;
        environment.install(REQUIREMENTS)?;
        Ok(environment)
    }

    fn install(&self, requirements: &str) -> Result<(), String> {
        let line = format!("pip install --quiet --requirement {requirements}");
        run(self.command("pip").args(line.split(' ').skip(1)), &line)
    }

    fn existing_or_fresh() -> Result<Self, String> {
        let environment = Self::at_its_place()?;
        if !environment.program("pip").exists() {
            return Self::fresh();
        }
        environment.install(REQUIREMENTS)?;
        Ok(environment)
    }

    /// Builds the wheel with a profile of cargo's, which is to be shared with what else is compiled, and installs it.
    fn install_wheel(&self, profile: &str) -> Result<(), String> {
        let wheels = self.folder.join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(|error| format!("remove {}: {error}", wheels.display()))?;
        }
        let line = format!("maturin build --quiet --locked --profile {profile} --out {}", wheels.display());
        let mut build = self.command("maturin");
        run(build.args(line.split(' ').skip(1)).arg("--interpreter").arg(self.program("python")), &line)?;
        let wheel = only_file(&wheels)?;
        let line = format!("pip install --quiet --no-deps --force-reinstall {}", wheel.display());
        run(self.command("pip").args(line.split(' ').skip(1)), &line)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// A program of the environment, in the package's directory.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.current_dir(PACKAGE);
        // What is set for another environment, or asks for answers, is not for this one.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("VIRTUAL_ENV");
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1");
        command
    }
}

/// The program behind `python3`: a version manager's shim is slow, and no interpreter of an environment.
fn interpreter() -> Result<PathBuf, String> {
    let asked =
        ["-c", "import sys, ensurepip, venv; assert sys.version_info >= (3, 10); print(sys.executable)"];
    for program in ["python3", "/usr/bin/python3"] {
        match output(Command::new(program).args(asked)) {
            Ok(path) => return Ok(PathBuf::from(path.trim_end())),
            Err(failure) => say(&format!("{program} can't make the package's environment: {failure}")),
        }
    }
    Err("the Python package needs a Python of 3.10 or later, with venv (on Debian: apt-get install python3-venv)"
        .to_owned())
}

fn only_file(folder: &Path) -> Result<PathBuf, String> {
    let failure = |error| format!("look for a wheel in {}: {error}", folder.display());
    let mut entries = fs::read_dir(folder).map_err(failure)?;
    let entry = entries.next().ok_or_else(|| format!("there is no wheel in {}", folder.display()))?;
    entry.map(|entry| entry.path()).map_err(failure)
}
