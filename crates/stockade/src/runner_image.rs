//! The static runner as bytes that this library carries, and as a program that this host can execute. Owns the
//! table of embedded runners and the one executable copy in the process, which has no name on any disk and is
//! gone when the process is. How the runner is started and spoken to is the executors' part.

use std::{
    env, fs,
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, memfd_create, statvfs};

include!(concat!(env!("OUT_DIR"), "/runners.rs"));

/// The runner can't be had or executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    /// This build carries none for the architecture.
    #[error("find a runner for {architecture}: this build of Stockade carries {}", carried())]
    NotCarried {
        /// As Rust names it.
        architecture: String,
    },
    /// It could not be written to where it would be executed.
    #[error("make the runner executable in {place}")]
    Store {
        /// Memory, or a directory.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Programs can't be executed in memory, nor in any directory for private files.
    #[error("find a place where the runner can be executed: memory and {} do not allow it", listed(.tried))]
    NoPlace {
        /// The directories that were looked at.
        tried: Vec<PathBuf>,
    },
    /// The system refused to start it.
    #[error("start the runner {}", program.display())]
    Start {
        /// What was to be executed.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The runner for containers of an architecture (`x86_64`, `aarch64`, as Rust names them).
pub(crate) fn bytes(architecture: &str) -> Result<&'static [u8], ImageError> {
    let found = RUNNERS.iter().find(|(name, _)| *name == architecture);
    found.map(|&(_, bytes)| bytes).ok_or_else(|| ImageError::NotCarried { architecture: architecture.into() })
}

/// Starts the runner on this host: calls `start` with the path of the program, and again with another one when
/// the system refuses to execute the first. The path means something to a child of this process only, and only
/// until it has been executed.
///
/// # Errors
/// What `start` said last, as [`ImageError::Start`], or why there is nothing to execute.
pub(crate) fn start<T>(start: impl FnMut(&Path) -> io::Result<T>) -> Result<T, ImageError> {
    COPY.start(start)
}

/// The same for a child that executes something else first: the path means the runner to whatever it becomes, too.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_through<T>(mut start: impl FnMut(&Path) -> io::Result<T>) -> Result<T, ImageError> {
    COPY.start(|program| {
        // Not closed when a child executes a program. One that another thread starts just now has it too, and nothing
        // of it but to read what anybody may.
        let lasting = fs::File::open(program)?;
        rustix::io::fcntl_setfd(&lasting, rustix::io::FdFlags::empty())?;
        start(&through_descriptor(&lasting))
    })
}

/// Whether this host executes programs from memory, found out by doing it. Where it does not, the runner is executed
/// from a private file.
///
/// # Errors
/// As [`start`].
pub(crate) fn try_memory() -> Result<(), ImageError> {
    let program = Program::in_memory(bytes(env::consts::ARCH)?)?;
    let path = program.path();
    let status = program.start(&mut |path: &Path| {
        let mut runner = Command::new(path);
        runner.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    })?;
    if status.success() {
        Ok(())
    } else {
        let source = io::Error::other(format!("it ended with {status}"));
        Err(ImageError::Start { program: path, source })
    }
}

/// Of this process.
static COPY: ExecutableCopy = ExecutableCopy::new();

/// The executable copy of a process: in memory, and in a file once that was refused.
struct ExecutableCopy {
    in_memory: OnceLock<Program>,
    in_a_file: OnceLock<Program>,
}

impl ExecutableCopy {
    const fn new() -> Self {
        Self { in_memory: OnceLock::new(), in_a_file: OnceLock::new() }
    }

    fn start<T>(&self, mut start: impl FnMut(&Path) -> io::Result<T>) -> Result<T, ImageError> {
        if let Some(program) = self.in_a_file.get() {
            return program.start(&mut start);
        }
        let own = bytes(env::consts::ARCH)?;
        if let Some(program) = self.memory(own) {
            match program.start(&mut start) {
                Err(ImageError::Start { source, .. }) if is_refusal(&source) => {}
                other => return other,
            }
        }
        let program = Program::in_a_file(own, &private_directories())?;
        let started = program.start(&mut start)?;
        // Kept only now that it was of use: else memory was not to blame, and remains the first choice.
        self.in_a_file.get_or_init(|| program);
        Ok(started)
    }

    /// `None` where the system has no memory files. Two threads may both store the program, one in vain; that
    /// costs a millisecond.
    fn memory(&self, own: &[u8]) -> Option<&Program> {
        if self.in_memory.get().is_none()
            && let Ok(program) = Program::in_memory(own)
        {
            self.in_memory.get_or_init(|| program);
        }
        self.in_memory.get()
    }
}

/// Whether starting failed for what can be a property of the place. A working directory that is missing or out
/// of reach looks the same; it is then refused once more, and that is reported.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
}

/// An executable that is held open and reached through its descriptor.
#[derive(Debug)]
struct Program {
    file: fs::File,
}

impl Program {
    fn path(&self) -> PathBuf {
        through_descriptor(&self.file)
    }

    /// In memory, sealed: nobody can change it, whoever gets hold of the descriptor.
    fn in_memory(bytes: &[u8]) -> Result<Self, ImageError> {
        let store = || -> io::Result<fs::File> {
            let mut file = fs::File::from(memory_file()?);
            file.write_all(bytes)?;
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            fcntl_add_seals(&file, seals)?;
            Ok(file)
        };
        let file = store().map_err(|source| ImageError::Store { place: "memory".into(), source })?;
        Ok(Self { file })
    }

    /// In a private file without a name, in the first of `directories` from which programs can be executed.
    fn in_a_file(bytes: &[u8], directories: &[PathBuf]) -> Result<Self, ImageError> {
        let mut failed = None;
        for directory in directories.iter().filter(|directory| allows_programs(directory)) {
            match nameless_file(bytes, directory) {
                Ok(file) => return Ok(Self { file }),
                Err(source) => {
                    failed
                        .get_or_insert(ImageError::Store { place: directory.display().to_string(), source });
                }
            }
        }
        Err(failed.unwrap_or_else(|| ImageError::NoPlace { tried: directories.to_vec() }))
    }

    /// A thread that forks just as the file is written passes the descriptor for writing on to its child, and
    /// until that has executed its own program nobody can execute this one.
    fn start<T>(&self, start: &mut impl FnMut(&Path) -> io::Result<T>) -> Result<T, ImageError> {
        let path = self.path();
        let mut attempts = 0;
        loop {
            attempts += 1;
            match start(&path) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 50 => {
                    thread::sleep(Duration::from_millis(1));
                }
                other => return other.map_err(|source| ImageError::Start { program: path, source }),
            }
        }
    }
}

fn memory_file() -> rustix::io::Result<rustix::fd::OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("stockade-runner", flags | MemfdFlags::EXEC) {
        // Linux before 6.3 does not know the flag, and lets every memory file be executed.
        Err(rustix::io::Errno::INVAL) => memfd_create("stockade-runner", flags),
        other => other,
    }
}

/// Readable and executable for its owner, and open for reading alone: a file that is open for writing can't be
/// executed.
fn nameless_file(bytes: &[u8], directory: &Path) -> io::Result<fs::File> {
    let mut written = tempfile::tempfile_in(directory)?;
    written.write_all(bytes)?;
    written.set_permissions(fs::Permissions::from_mode(0o500))?;
    fs::File::open(through_descriptor(&written))
}

fn through_descriptor(file: &fs::File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Where private files of this user belong, the best first. The first is often mounted without the right to
/// execute.
fn private_directories() -> Vec<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.into_iter().chain([env::temp_dir()]).collect()
}

fn allows_programs(directory: &Path) -> bool {
    statvfs(directory).is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The architectures that there are runners for, for messages.
fn carried() -> String {
    let names: Vec<_> = RUNNERS.iter().map(|(name, _)| *name).collect();
    if names.is_empty() { "none".into() } else { format!("those for {} only", names.join(", ")) }
}

fn listed(directories: &[PathBuf]) -> String {
    directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> &'static [u8] {
        bytes(env::consts::ARCH).expect("a runner is embedded")
    }

    /// Runs the program, which must be there and be an executable of this machine.
    fn runs(program: &Path) -> io::Result<()> {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
        assert!(output.status.success(), "{output:?}");
        Ok(())
    }

    #[test]
    fn executes_from_memory() {
        runs(&Program::in_memory(own()).unwrap().path()).unwrap();
    }

    #[test]
    fn memory_that_programs_run_from_is_found_so() {
        try_memory().expect("this machine executes programs from memory");
    }

    #[test]
    fn memory_is_sealed_against_writing() {
        let program = Program::in_memory(own()).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&program.file).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL));
        let refused = (&program.file).write(b"x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(program.file.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn executes_from_a_private_file_that_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let program = Program::in_a_file(own(), &[directory.path().into()]).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(program.file.metadata().unwrap().permissions().mode() & 0o777, 0o500);
        runs(&program.path()).unwrap();
    }

    #[test]
    fn passes_over_a_directory_that_is_of_no_use() {
        let missing = PathBuf::from("/nonexistent");
        let directory = tempfile::tempdir().unwrap();
        Program::in_a_file(own(), &[missing.clone(), directory.path().into()]).unwrap();
        let error = Program::in_a_file(own(), &[missing]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find a place where the runner can be executed: memory and /nonexistent do not allow it"
        );
    }

    #[test]
    fn takes_the_private_file_when_memory_is_refused_and_keeps_to_it() {
        let copy = ExecutableCopy::new();
        let mut tried = Vec::new();
        copy.start(|program| {
            tried.push(program.to_owned());
            if tried.len() == 1 { Err(io::ErrorKind::PermissionDenied.into()) } else { runs(program) }
        })
        .unwrap();
        assert_eq!(tried.len(), 2);
        assert_ne!(tried[0], tried[1]);
        copy.start(|program| {
            assert_eq!(program, tried[1]);
            runs(program)
        })
        .unwrap();
    }

    #[test]
    fn keeps_to_memory_when_the_refusal_has_another_cause() {
        let copy = ExecutableCopy::new();
        let missing = Path::new("/nonexistent");
        let error = copy.start(|program| Command::new(program).current_dir(missing).spawn()).unwrap_err();
        assert!(
            matches!(&error, ImageError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
        );
        assert!(copy.in_a_file.get().is_none());
        copy.start(runs).unwrap();
        assert!(copy.in_a_file.get().is_none());
    }

    #[test]
    fn waits_until_nobody_has_the_program_open_for_writing() {
        let copy = ExecutableCopy::new();
        let mut refusals = 3;
        copy.start(|program| {
            if refusals == 0 {
                return runs(program);
            }
            refusals -= 1;
            Err(io::ErrorKind::ExecutableFileBusy.into())
        })
        .unwrap();
        assert!(copy.in_a_file.get().is_none());
    }

    #[test]
    fn says_which_architectures_it_carries() {
        let error = bytes("pdp11").unwrap_err();
        let carried = carried();
        assert!(carried.contains(env::consts::ARCH), "{carried}");
        assert_eq!(
            error.to_string(),
            format!("find a runner for pdp11: this build of Stockade carries {carried}")
        );
    }
}
