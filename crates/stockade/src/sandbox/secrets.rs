//! What of `/etc` is nobody's business: what not every user of this host may read, and a few names besides. Owns that
//! judgement, which protects root and members of a file's group, for whom the modes alone hide nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
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

/// What is to be hidden beneath a directory of the system's settings: files, and directories whole.
pub(super) fn beneath(etc: &Path) -> Vec<PathBuf> {
    let mut hidden: Vec<PathBuf> = Vec::new();
    let (mut directories, mut left) = (vec![etc.to_owned()], MOST);
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if left == 0 {
                // What is not looked at is not shown.
                hidden.push(directory);
                break;
            }
            left -= 1;
            let path = entry.path();
            // Of a link, what it leads to is judged where that lies.
            let Ok(found) = entry.metadata() else { continue };
            if is_private(etc, &path) || !is_public(&found) {
                hidden.push(path);
            } else if found.is_dir() {
                directories.push(path);
            }
        }
    }
    hidden.sort();
    hidden
}

fn is_private(etc: &Path, path: &Path) -> bool {
    let Ok(name) = path.strip_prefix(etc) else { return true };
    let is_host_key = || {
        let file = name.file_name().map(|file| file.to_string_lossy()).unwrap_or_default();
        name.starts_with("ssh") && file.starts_with("ssh_host_") && !file.ends_with(".pub")
    };
    PRIVATE.iter().any(|private| name == Path::new(private)) || is_host_key()
}

/// Whether every user may read it.
fn is_public(found: &fs::Metadata) -> bool {
    let others = found.mode() & 0o007;
    match found.file_type() {
        kind if kind.is_symlink() => true,
        kind if kind.is_dir() => others & 0o005 == 0o005,
        kind if kind.is_file() => others & 0o004 != 0,
        // A socket or a device has no place there.
        _ => false,
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
