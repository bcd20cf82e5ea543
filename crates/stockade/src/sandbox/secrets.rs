//! What of `/etc` is nobody's business: what not every user of this host may read, and a few names besides. Owns that
//! judgement, which protects root and members of a file's group, for whom the modes alone hide nothing.

use std::{
    fs::{self, DirEntry},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Private by their meaning, whatever mode somebody gave them.
const PRIVATE: &[&str] = &[
    "shadow",
    "shadow-",
    "gshadow",
    "gshadow-",
    "sudoers",
    "sudoers.d",
    "ssl/private",
    "security/opasswd",
    "NetworkManager/system-connections",
    "wireguard",
    "krb5.keytab",
    "docker",
    "kubernetes",
    "rancher",
    "letsencrypt/archive",
    "letsencrypt/live",
    "pki/tls/private",
    "ipsec.secrets",
    "ppp/chap-secrets",
    "ppp/pap-secrets",
];
/// Entries that are looked at; no `/etc` has as many.
const MOST: usize = 100_000;

/// What is to be hidden beneath a directory of the system's settings: files, and directories whole. It is asked at every
/// start of a session, so it takes as few calls and comparisons as it can.
pub(super) fn beneath(etc: &Path) -> Vec<PathBuf> {
    let mut hidden: Vec<PathBuf> = Vec::new();
    let (mut directories, mut left) = (vec![etc.to_owned()], MOST);
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        let private = private_in(etc, &directory);
        for entry in entries.flatten() {
            if left == 0 {
                // What is not looked at is not shown.
                hidden.push(directory);
                break;
            }
            left -= 1;
            match judge(&entry, &private) {
                Judgement::Hidden => hidden.push(entry.path()),
                Judgement::Directory => directories.push(entry.path()),
                Judgement::Seen => {}
            }
        }
    }
    hidden.sort();
    hidden
}

/// What is private in a directory by its name.
#[derive(Default)]
struct Private {
    names: Vec<&'static [u8]>,
    has_host_keys: bool,
}

fn private_in(etc: &Path, directory: &Path) -> Private {
    let Ok(within) = directory.strip_prefix(etc) else { return Private::default() };
    let names = PRIVATE.iter().map(Path::new).filter(|private| private.parent() == Some(within));
    Private {
        names: names.filter_map(|private| private.file_name()).map(OsStrExt::as_bytes).collect(),
        has_host_keys: within == Path::new("ssh"),
    }
}

impl Private {
    fn contains(&self, name: &[u8]) -> bool {
        let is_host_key = || name.starts_with(b"ssh_host_") && !name.ends_with(b".pub");
        self.names.contains(&name) || self.has_host_keys && is_host_key()
    }
}

enum Judgement {
    Hidden,
    /// What is in it is to be judged.
    Directory,
    Seen,
}

fn judge(entry: &DirEntry, private: &Private) -> Judgement {
    // What can't be asked is gone.
    let Ok(kind) = entry.file_type() else { return Judgement::Seen };
    if kind.is_symlink() {
        // What it leads to is judged where that lies.
        return Judgement::Seen;
    }
    // A socket or a device has no place there.
    let is_odd = !kind.is_dir() && !kind.is_file();
    if is_odd || private.contains(entry.file_name().as_bytes()) {
        return Judgement::Hidden;
    }
    // Whether every user may read it.
    match entry.metadata().map(|found| (kind.is_dir(), found.mode() & 0o005)) {
        Ok((true, 0o005)) => Judgement::Directory,
        Ok((false, 0o004 | 0o005)) | Err(_) => Judgement::Seen,
        Ok(_) => Judgement::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(etc: &Path, name: &str, mode: u32) {
        let path = etc.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(&path, "text").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn what_others_may_not_read_is_hidden_and_the_rest_is_not() {
        let etc = tempfile::tempdir().expect("a directory");
        put(etc.path(), "hosts", 0o644);
        put(etc.path(), "secret", 0o640);
        put(etc.path(), "open/file", 0o644);
        put(etc.path(), "closed/file", 0o644);
        fs::set_permissions(etc.path().join("closed"), fs::Permissions::from_mode(0o750)).expect("ours");
        symlink("secret", etc.path().join("link")).expect("linked");
        let hidden = beneath(etc.path());
        assert_eq!(hidden, ["closed", "secret"].map(|name| etc.path().join(name)));
    }

    #[test]
    fn some_names_are_private_whatever_their_modes() {
        let etc = tempfile::tempdir().expect("a directory");
        for name in
            ["shadow", "ssh/ssh_host_rsa_key", "ssh/ssh_host_rsa_key.pub", "ssh/ssh_config", "sudoers"]
        {
            put(etc.path(), name, 0o644);
        }
        put(etc.path(), "ssl/private/key.pem", 0o644);
        let hidden = beneath(etc.path());
        let expected = ["shadow", "ssh/ssh_host_rsa_key", "ssl/private", "sudoers"];
        assert_eq!(hidden, expected.map(|name| etc.path().join(name)));
    }
}
