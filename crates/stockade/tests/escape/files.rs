//! Files that are to be read: the user's and the system's secrets, by their names and by detours.

use crate::attempt::Attempt;

/// A file that is read, beside one of the code's own.
const fn look(code: &'static str, aim: &'static str) -> Attempt {
    Attempt::new(code, aim).beside("own()")
}

/// Several that are read, beside what everybody may read.
const fn secrets(aim: &'static str) -> Attempt {
    Attempt::new("none_of(target, read)", aim).beside("['/etc/passwd']")
}

/// Several that are listed.
const fn folders(aim: &'static str) -> Attempt {
    Attempt::new("none_of(target, listed)", aim).beside("['/usr/bin']")
}

attempts! {
    // The host's, which a container has not either.
    [namespaces landlock docker] {
        a_secret_in_the_home_is_not_read: look("read(target)", "SECRET"),
        a_folder_in_the_home_is_not_listed: look("os.listdir(target)", "HIDDEN").beside("HERE"),
        a_secret_is_not_read_through_a_link: look("read(link_to(target))", "SECRET"),
        a_secret_is_not_read_through_a_link_to_its_folder:
            look("read(link_to(os.path.dirname(target)) + '/' + os.path.basename(target))", "SECRET"),
        a_secret_is_not_read_by_the_way_up: look("read(HERE + '/..' * 40 + target)", "SECRET"),
        a_secret_is_not_read_by_the_root_of_this_process: look("read('/proc/self/root' + target)", "SECRET"),
        a_secret_is_not_read_by_the_directory_of_this_process:
            look("read('/proc/self/cwd' + '/..' * 40 + target)", "SECRET"),
        a_secret_is_not_read_by_a_descriptor_of_its_name: look("read(via(target))", "SECRET"),
        a_secret_is_not_read_by_a_descriptor_of_its_folder:
            look("os.close(os.open(os.path.basename(target), os.O_RDONLY, \
                dir_fd=os.open(os.path.dirname(target), os.O_PATH)))", "SECRET"),
        a_secret_is_not_read_after_changing_into_its_folder:
            look("os.chdir(os.path.dirname(target)); read(os.path.basename(target))", "SECRET"),
        a_secret_is_not_linked_into_the_workspace:
            look("os.link(target, fresh())", "SECRET").denied_as("EPERM EACCES ENOENT EXDEV"),
        a_secret_is_not_read_by_the_root_of_a_host_process:
            Attempt::new("read(f'/proc/{target}/root' + SECRET)", "VICTIM"),
        a_secret_is_not_read_by_the_directory_of_a_host_process:
            Attempt::new("read(f'/proc/{target}/cwd' + SECRET)", "VICTIM"),
        a_program_outside_is_not_executed:
            Attempt::new("subprocess.run([target], check=True)", "PROGRAM")
                .beside("own(b'#!/bin/sh\\nexit 0\\n', 0o755)"),
        a_file_in_tmp_is_not_read: look("read(target)", "IN_TMP"),
        a_file_in_shared_memory_is_not_read: look("read(target)", "IN_SHM"),
        other_homes_are_not_listed: folders("HOMES"),
        keys_and_configurations_in_homes_are_not_read:
            secrets("[f'{home}/{name}' for home in HOMES for name in ('.ssh/id_rsa', '.ssh/id_ed25519', \
                '.bash_history', '.aws/credentials', '.netrc', '.docker/config.json', '.kube/config', \
                '.gitconfig', 'secret')]"),
        nothing_is_told_by_mappings_of_a_file_outside:
            look("__import__('mmap').mmap(os.open(target, os.O_RDONLY), 0, prot=1)", "SECRET"),
        a_file_outside_is_not_read_by_a_program_that_is_given_it:
            Attempt::new("if subprocess.run(['cat', target], capture_output=True).returncode: raise \
                PermissionError(errno.EACCES, 'cat')", "SECRET").beside("own()"),
    }
    // Of the system. A container has its own.
    [namespaces landlock] {
        passwords_are_not_read:
            secrets("['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', \
                '/etc/security/opasswd']"),
        passwords_are_not_read_through_a_link:
            look("read(link_to(target))", "'/etc/shadow'").beside("'/etc/passwd'"),
        passwords_are_not_read_by_a_descriptor_of_the_folder:
            look("os.close(os.open(target, os.O_RDONLY, dir_fd=os.open('/etc', os.O_PATH)))", "'shadow'")
                .beside("'passwd'"),
        who_may_become_root_is_not_read: secrets("['/etc/sudoers', '/etc/sudoers.d/README']"),
        keys_of_this_host_are_not_read:
            secrets("[f'/etc/ssh/ssh_host_{kind}_key' for kind in ('rsa', 'ecdsa', 'ed25519')]"),
        private_keys_of_servers_are_not_read:
            secrets("['/etc/ssl/private/ssl-cert-snakeoil.key', '/etc/letsencrypt/live']"),
        what_only_some_may_read_of_the_settings_is_not_read:
            look("none_of(target, read)", "PRIVATE").beside("['/etc/passwd']"),
        what_services_keep_is_not_listed:
            folders("['/var/lib', '/var/lib/docker', '/var/lib/dpkg', '/var/spool/cron', '/srv', \
                '/opt/secret']"),
        logs_are_not_listed: folders("['/var/log', '/var/log/journal', '/run/log']"),
        what_starts_this_host_is_not_listed: folders("['/boot', '/boot/efi', '/lost+found']"),
        what_runs_is_not_listed: folders("['/run', '/var/run', '/run/secrets', '/run/user', '/run/systemd']"),
        the_homes_are_not_listed: folders("['/home', '/media', '/mnt', '/srv']"),
    }
    // Without namespaces root's code can list what is hidden of `/etc`, and read nothing of it.
    [namespaces] {
        private_keys_of_servers_are_not_listed:
            folders("['/etc/ssl/private', '/etc/wireguard', '/etc/sudoers.d', '/etc/docker', \
                '/etc/kubernetes']"),
    }
    // Without namespaces it is seen that a file is there, and how large it is.
    [namespaces docker] {
        nothing_tells_that_a_file_outside_is_there: look("os.stat(target)", "SECRET").denied_as("ENOENT"),
        nothing_tells_when_a_folder_outside_changes:
            look("made(libc.inotify_add_watch(libc.inotify_init(), target.encode(), 0x100))", "HIDDEN")
                .denied_as("ENOENT").beside("HERE"),
    }
    // The kernel asks Landlock about no attribute: at that level there are none by a path.
    [landlock] {
        no_attribute_of_a_file_outside_is_read:
            look("os.listxattr(target)", "SECRET").denied_as("ENOTSUP EOPNOTSUPP")
                .beside("os.open(own(), os.O_RDONLY)"),
    }
}
