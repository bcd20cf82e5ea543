//! Files that are to be changed: made, overwritten, moved and removed outside of what may be changed, by their names and
//! by detours.

use crate::attempt::Attempt;

/// Something that is done to a file, beside one that may be changed.
const fn change(code: &'static str, aim: &'static str) -> Attempt {
    Attempt::new(code, aim).denied_as(DENIED).beside("own()")
}

/// Something that is made in a folder.
const fn make(code: &'static str, aim: &'static str) -> Attempt {
    Attempt::new(code, aim).denied_as(DENIED).beside("GRANTED")
}

const DENIED: &str = "EPERM EACCES ENOENT EROFS EXDEV ELOOP";
const PUT: &str = "open(f'{target}/put-{os.getpid()}', 'x').close()";

attempts! {
    // The host's, which a container has not either.
    [namespaces landlock docker] {
        a_file_outside_is_not_overwritten: change("overwrite(target)", "SECRET"),
        a_file_that_is_shown_is_not_overwritten: change("overwrite(target)", "SHOWN"),
        a_file_outside_is_not_emptied_by_opening_it:
            change("opened(target, os.O_WRONLY | os.O_TRUNC)", "SECRET"),
        a_file_outside_is_not_truncated: change("os.truncate(target, 0)", "SECRET"),
        a_file_that_is_shown_is_not_truncated: change("os.truncate(target, 0)", "SHOWN"),
        a_file_that_is_shown_is_not_truncated_by_a_descriptor:
            change("handle = os.open(target, os.O_RDWR); os.ftruncate(handle, 0)", "SHOWN"),
        nothing_is_added_to_a_file_outside: change("open(target, 'ab').write(b'more')", "SECRET"),
        a_file_outside_is_not_removed: change("os.unlink(target)", "SECRET"),
        a_file_that_is_shown_is_not_removed: change("os.unlink(target)", "SHOWN"),
        a_folder_outside_is_not_removed:
            Attempt::new("os.rmdir(target)", "HIDDEN + '/deep'").denied_as(DENIED)
                .beside("(os.mkdir(GRANTED + f'/{os.getpid()}'), GRANTED + f'/{os.getpid()}')[1]"),
        a_file_outside_is_not_moved_into_the_workspace: change("os.rename(target, fresh())", "SECRET"),
        a_file_that_is_shown_is_not_moved_into_the_workspace: change("os.rename(target, fresh())", "SHOWN"),
        a_file_outside_is_not_replaced_by_moving_one_over_it:
            change("os.replace(own(b'new'), target)", "SECRET"),
        a_file_that_is_shown_is_not_replaced: change("os.replace(own(b'new'), target)", "SHOWN"),
        a_file_that_is_shown_is_not_linked_into_the_workspace: change("os.link(target, fresh())", "SHOWN"),
        nothing_is_moved_out_of_the_workspace:
            Attempt::new("os.rename(own(), f'{target}/moved')", "HIDDEN").denied_as(DENIED)
                .beside("own_folder('secret')"),
        nothing_is_linked_out_of_the_workspace:
            Attempt::new("os.link(own(), f'{target}/linked')", "HIDDEN").denied_as(DENIED)
                .beside("own_folder('secret')"),
        no_file_is_made_outside: make(PUT, "HIDDEN"),
        no_file_is_made_in_a_folder_that_is_shown: make(PUT, "SHOWN_FOLDER"),
        no_file_is_made_in_a_folder_by_its_descriptor:
            make("os.open('put', os.O_CREAT | os.O_WRONLY, dir_fd=os.open(target, os.O_PATH))", "HIDDEN"),
        no_nameless_file_is_made_outside: make("os.open(target, os.O_TMPFILE | os.O_RDWR)", "SHOWN_FOLDER"),
        no_folder_is_made_outside: make("os.mkdir(f'{target}/folder-{os.getpid()}')", "HIDDEN"),
        no_symbolic_link_is_made_outside:
            make("os.symlink('secret', f'{target}/link-{os.getpid()}')", "HIDDEN"),
        no_pipe_is_made_outside: make("os.mkfifo(f'{target}/pipe-{os.getpid()}')", "SHOWN_FOLDER"),
        the_way_up_leads_to_no_file_to_change: change("overwrite(HERE + '/..' * 40 + target)", "SECRET"),
        a_symbolic_link_leads_to_no_file_to_change: change("overwrite(link_to(target))", "SECRET"),
        the_root_of_this_process_leads_to_no_file_to_change:
            change("overwrite('/proc/self/root' + target)", "SECRET"),
        the_root_of_a_host_process_leads_to_no_file_to_change:
            Attempt::new("overwrite(f'/proc/{target}/root' + SECRET)", "VICTIM"),
        the_directory_of_a_host_process_is_not_written_to:
            Attempt::new("opened(f'/proc/{target}/cwd/.', os.O_PATH | os.O_DIRECTORY); \
                open(f'/proc/{target}/cwd/' + HIDDEN.lstrip('/') + '/put', 'x')", "VICTIM"),
        a_descriptor_of_a_name_is_not_made_one_to_write: change("overwrite(via(target))", "SECRET"),
        a_descriptor_to_read_is_not_made_one_to_write:
            change("handle = os.open(target, os.O_RDONLY); overwrite(f'/proc/self/fd/{handle}')", "SHOWN"),
        a_file_in_tmp_is_not_overwritten: change("overwrite(target)", "IN_TMP"),
        a_file_in_shared_memory_is_not_overwritten: change("overwrite(target)", "IN_SHM"),
        the_program_that_runs_a_block_is_not_changed:
            Attempt::new("opened(target, os.O_RDWR)", "f'/proc/{RUNNER}/exe'")
                .denied_as("EPERM EACCES ENOENT ETXTBSY").beside("own()"),
    }
    // Of the system. A container has its own.
    [namespaces landlock] {
        no_program_is_added_to_the_systems: make(PUT, "'/usr/bin'"),
        no_library_is_added_to_the_systems: make(PUT, "'/usr/lib'"),
        no_setting_is_added_to_the_systems: make(PUT, "'/etc'"),
        no_program_of_the_users_own_is_added: make(PUT, "'/usr/local/bin'"),
        nothing_is_put_at_the_root: make(PUT, "'/'"),
        a_program_of_the_systems_is_not_overwritten:
            change("opened(target, os.O_RDWR)", "'/usr/bin/env'").denied_as("EACCES EPERM EROFS ETXTBSY"),
        the_list_of_users_is_not_overwritten: change("opened(target, os.O_RDWR)", "'/etc/passwd'"),
        the_list_of_users_is_not_linked_into_the_workspace:
            change("os.link(target, fresh())", "'/etc/passwd'"),
        what_the_loader_preloads_is_not_set:
            Attempt::new("open(target, 'a').close()", "'/etc/ld.so.preload'").denied_as(DENIED)
                .beside("own()"),
        no_job_is_left_for_cron: make(PUT, "'/etc/cron.d'"),
        no_key_is_left_in_another_home:
            Attempt::new("none_of(target, lambda home: os.mkdir(home + '/.ssh-test'))", "HOMES")
                .denied_as(DENIED).beside("[GRANTED]"),
    }
    // Landlock knows no modes, times, owners and attributes: that level's notes say so. A container's user may change the
    // file's that is mounted read-only as little as its content.
    [namespaces docker] {
        the_mode_of_a_file_outside_is_not_changed: change("os.chmod(target, 0o777)", "SECRET"),
        the_mode_of_a_file_that_is_shown_is_not_changed: change("os.chmod(target, 0o777)", "SHOWN"),
        the_mode_of_a_descriptors_file_is_not_changed:
            change("os.fchmod(os.open(target, os.O_RDONLY), 0o777)", "SHOWN"),
        the_times_of_a_file_that_is_shown_are_not_changed: change("os.utime(target, (1, 1))", "SHOWN"),
        no_attribute_is_given_to_a_file_that_is_shown:
            change("os.setxattr(target, 'user.test', b'set')", "SHOWN"),
        the_group_of_a_file_that_is_shown_is_not_changed:
            change("os.chown(target, -1, os.getgid())", "SHOWN"),
    }
    // In namespaces and containers the folder above is the session's own, with nothing of the host's in it.
    [landlock] {
        no_file_is_made_beside_what_is_granted: make(PUT, "GRANTED + '/..'"),
        no_file_is_made_beside_the_workspace: make(PUT, "HERE + '/..'"),
    }
}
