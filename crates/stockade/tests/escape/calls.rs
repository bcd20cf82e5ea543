//! System calls that reach deep into the kernel or change the machine. Owns their numbers, for all attempts.

use serde_json::{Value, json};

use crate::attempt::Attempt;

/// Not allowed, whatever it is asked for; outside the kernel would at least look at it.
const fn call(code: &'static str) -> Attempt {
    Attempt::call(code).denied_as("EPERM EACCES").open_to_root()
}

/// As an older kernel has it.
const fn unknown(code: &'static str) -> Attempt {
    Attempt::call(code).denied_as("ENOSYS").open_to_root()
}

attempts! {
    [namespaces landlock docker] {
        no_program_is_loaded_into_the_kernel: call("answered(kernel, 'bpf', 0, 0, 0)"),
        no_event_of_the_kernel_is_watched: call("answered(kernel, 'perf_event_open', 0, 0, -1, -1, 0)"),
        no_fault_is_handled: call("answered(kernel, 'userfaultfd', 0)"),
        no_key_is_added: call("answered(kernel, 'add_key', b'user', b'stockade-test', b'key', 3, -2)"),
        no_key_is_asked_for: call("answered(kernel, 'request_key', b'user', b'stockade-test', 0, 0)"),
        no_keyring_is_looked_into: call("answered(kernel, 'keyctl', 0, -4, 0, 0, 0)"),
        no_other_kernel_is_loaded: call("answered(kernel, 'kexec_load', 0, 0, 0, 0xffff)"),
        no_module_is_loaded: call("answered(kernel, 'init_module', 0, 0, b'')"),
        no_module_is_loaded_from_a_file: call("answered(kernel, 'finit_module', -1, b'', 0)"),
        no_module_is_removed: call("answered(kernel, 'delete_module', b'stockade-no-such', 0x800)"),
        this_host_is_not_restarted: call("answered(kernel, 'reboot', 0, 0, 0, 0)"),
        nothing_is_swapped: call("answered(kernel, 'swapon', b'/proc/nowhere', 0)"),
        nothing_ceases_to_be_swapped: call("answered(kernel, 'swapoff', b'/proc/nowhere')"),
        no_account_of_processes_is_kept: call("answered(kernel, 'acct', b'/proc/nowhere')"),
        no_quota_is_set: call("answered(kernel, 'quotactl', 0x80000700, 0, 0, 0)"),
        the_log_of_the_kernel_is_not_read: call("answered(kernel, 'syslog', 10, 0, 0)"),
        the_clock_is_not_set: call("answered(kernel, 'clock_settime', 0, 0)"),
        this_host_is_not_named: call("answered(kernel, 'sethostname', 0, -1)"),
        the_domain_is_not_named: call("answered(kernel, 'setdomainname', 0, -1)"),
        no_file_is_opened_by_its_number: call("answered(kernel, 'open_by_handle_at', -1, bytes(32), 0)"),
        no_other_personality_is_taken:
            Attempt::new("kernel('personality', target)", "0x0200000").denied_as("EPERM").beside("0"),
        no_personality_makes_data_executable:
            Attempt::new("kernel('personality', target)", "0x0400000").denied_as("EPERM").beside("0"),
    }
    // What Docker's own filter leaves to the kernel, which knows who asks; leases it allows, as all of fcntl.
    [namespaces landlock] {
        no_personality_is_taken_by_odd_bits:
            Attempt::new("kernel('personality', target | 1 << 35)", "0x0400000").denied_as("EPERM")
                .beside("0"),
        nobody_waits_for_a_lease_of_a_file_that_is_shown:
            Attempt::new("fcntl.fcntl(os.open(SHOWN, os.O_RDONLY), target, fcntl.F_RDLCK)", "fcntl.F_SETLEASE")
                .denied_as("EPERM").beside("fcntl.F_GETLEASE"),
        nobody_waits_for_a_lease_by_odd_bits:
            Attempt::new("kernel('fcntl', os.open(own(), os.O_RDONLY), target | 1 << 35, fcntl.F_WRLCK)",
                "fcntl.F_SETLEASE").denied_as("EPERM").beside("fcntl.F_GETLEASE"),
        no_signal_tells_of_changes_in_a_folder_that_is_shown:
            Attempt::new("fcntl.fcntl(os.open(SHOWN_FOLDER, os.O_RDONLY), target, fcntl.DN_CREATE)",
                "fcntl.F_NOTIFY").denied_as("EPERM").beside("fcntl.F_GETFL"),
        nothing_is_queued_for_the_kernel: unknown("known(kernel, 'io_uring_setup', 1, bytes(120))"),
        no_queue_for_the_kernel_is_registered: unknown("known(kernel, 'io_uring_register', -1, 0, 0, 0)"),
        nothing_is_opened_in_ways_no_filter_sees: unknown("known(kernel, 'openat2', -100, b'/', 0, 0)"),
        no_file_is_watched_by_those_who_decide: call("answered(kernel, 'fanotify_init', 0x200, 0)"),
        no_terminal_is_hung_up:
            Attempt::new("answered(kernel, target)", "'vhangup'").denied_as("EPERM").beside("'getpid'"),
        no_time_is_adjusted: call("answered(kernel, 'settimeofday', 0, 0)"),
        no_call_has_a_second_number:
            Attempt::new("kernel(target)", "'x32_getpid'").denied_as("ENOSYS").beside("'getpid'"),
    }
}

/// The numbers of system calls, by name.
pub(crate) fn numbers() -> Value {
    let numbers = [
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("keyctl", libc::SYS_keyctl),
        ("kexec_load", libc::SYS_kexec_load),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("swapoff", libc::SYS_swapoff),
        ("acct", libc::SYS_acct),
        ("quotactl", libc::SYS_quotactl),
        ("syslog", libc::SYS_syslog),
        ("clock_settime", libc::SYS_clock_settime),
        ("settimeofday", libc::SYS_settimeofday),
        ("sethostname", libc::SYS_sethostname),
        ("setdomainname", libc::SYS_setdomainname),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("personality", libc::SYS_personality),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_register", libc::SYS_io_uring_register),
        ("openat2", libc::SYS_openat2),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("vhangup", libc::SYS_vhangup),
        ("getpid", libc::SYS_getpid),
        ("fcntl", libc::SYS_fcntl),
        ("unshare", libc::SYS_unshare),
        ("clone", libc::SYS_clone),
        ("clone3", libc::SYS_clone3),
        ("setns", libc::SYS_setns),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("open_tree", libc::SYS_open_tree),
        ("fsopen", libc::SYS_fsopen),
        ("fspick", libc::SYS_fspick),
        ("fsmount", libc::SYS_fsmount),
        ("move_mount", libc::SYS_move_mount),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("ptrace", libc::SYS_ptrace),
        ("tgkill", libc::SYS_tgkill),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("process_madvise", libc::SYS_process_madvise),
        ("kcmp", libc::SYS_kcmp),
        ("move_pages", libc::SYS_move_pages),
        ("migrate_pages", libc::SYS_migrate_pages),
        ("ioprio_set", libc::SYS_ioprio_set),
        ("mq_open", libc::SYS_mq_open),
        ("ioctl", libc::SYS_ioctl),
        ("openat", libc::SYS_openat),
        ("fchmodat", libc::SYS_fchmodat),
        ("mknodat", libc::SYS_mknodat),
        // No number of libc's. Without x32 the kernel knows it as little, on any architecture.
        ("x32_getpid", 0x4000_0000 | libc::SYS_getpid),
        ("fchmodat2", 452),
    ];
    numbers.into_iter().map(|(name, number)| (name.to_owned(), json!(number))).collect()
}
