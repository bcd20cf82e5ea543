//! Where the runner's executable lies in a container. Owns the directory that a host makes for it there, its removal
//! once it runs, and the path at which the next host finds a runner that has outlived the last.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The directory into which a host delivers the executable, under a name of its choice: a file system of its own.
pub const DIRECTORY: &str = "/run/.stockade";

/// Beside the executable.
const SOCKET: &str = "host.sock";

/// Removes this process's executable where it was delivered, for nobody needs it any more. One that lies elsewhere
/// is somebody's.
pub(crate) fn remove_executable() {
    let own = env::current_exe().ok().filter(|own| own.parent() == Some(Path::new(DIRECTORY)));
    // Where it can't be removed it does no harm.
    let _ = own.map(fs::remove_file);
}

/// Where this executable's runner waits for the next host.
pub(crate) fn socket() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(SOCKET))
}
