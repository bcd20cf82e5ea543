//! Processes of this host: signals to them, their memory, their files, and how they are scheduled.

use crate::attempt::Attempt;

/// Not allowed, or not to be seen at all.
const fn host(code: &'static str) -> Attempt {
    Attempt::new(code, "VICTIM").denied_as("EPERM EACCES ESRCH ENOENT")
}

/// As a file of its directory.
const fn file(code: &'static str, aim: &'static str) -> Attempt {
    Attempt::new(code, aim).denied_as("EPERM EACCES ENOENT")
}

attempts! {
    [namespaces landlock docker] {
        no_signal_is_sent_to_a_host_process: host("os.kill(target, signal.SIGUSR1)"),
        no_signal_is_sent_to_the_program_that_started_this:
            Attempt::new("os.kill(target, 0)", "TEST").denied_as("EPERM ESRCH"),
        no_signal_is_sent_to_a_group_of_the_hosts: host("os.killpg(target, signal.SIGUSR1)"),
        no_signal_is_sent_to_a_thread: host("kernel('tgkill', target, target, int(signal.SIGUSR1))"),
        no_signal_is_queued:
            host("info = ctypes.create_string_buffer(128); ctypes.c_int.from_buffer(info, 8).value = -1; \
                kernel('rt_sigqueueinfo', target, int(signal.SIGUSR1), info)"),
        no_signal_is_sent_by_a_descriptor:
            host("handle = kernel('pidfd_open', target, 0); kernel('pidfd_send_signal', handle, \
                int(signal.SIGUSR1), 0, 0)"),
        no_signal_to_everybody_gets_to_a_host_process:
            host("os.kill(-1, signal.SIGURG); arrived(signal.SIGURG, target)").beside("own_child()"),
        no_signal_is_sent_for_what_comes_over_a_socket: host("own_signal(target)"),
        nothing_is_asked_of_the_memory_of_a_host_process:
            host("kernel('move_pages', target, 0, 0, 0, 0, 0)").open_to_root(),
        a_host_process_is_not_compared_with_this:
            host("kernel('kcmp', os.getpid(), target, 2, 0, 0)").open_to_root(),
        no_host_process_is_traced: host("trace(16, target)").open_to_root(),
        no_host_process_is_seized: host("trace(0x4206, target)").open_to_root(),
        no_memory_of_a_host_process_is_read:
            host("transfer('process_vm_readv', target, ADDRESS)").open_to_root(),
        no_memory_of_a_host_process_is_written:
            host("transfer('process_vm_writev', target, ADDRESS)").open_to_root(),
        no_descriptor_of_a_host_process_is_taken:
            host("handle = kernel('pidfd_open', target, 0); kernel('pidfd_getfd', handle, 1, 0)")
                .open_to_root(),
        no_namespace_of_a_host_process_is_entered:
            host("handle = kernel('pidfd_open', target, 0); answered(kernel, 'setns', handle, 0x40000000)")
                .open_to_root(),
        no_limit_of_a_host_process_is_set:
            host("resource.prlimit(target, resource.RLIMIT_CORE, (0, 0))"),
        the_environment_of_a_host_process_is_not_read: file("read(target)", "f'/proc/{VICTIM}/environ'"),
        the_memory_of_a_host_process_is_not_opened:
            file("opened(target, os.O_RDWR)", "f'/proc/{VICTIM}/mem'").open_to_root(),
        the_map_of_a_host_process_is_not_read: file("read(target)", "f'/proc/{VICTIM}/maps'"),
        the_descriptors_of_a_host_process_are_not_told:
            file("none_of(os.listdir(target), lambda number: os.readlink(f'{target}/{number}'))",
                "f'/proc/{VICTIM}/fd'"),
        a_descriptor_of_a_host_process_is_not_opened:
            file("opened(target, os.O_RDWR)", "f'/proc/{VICTIM}/fd/1'"),
        the_root_of_a_host_process_is_not_listed: file("os.listdir(target)", "f'/proc/{VICTIM}/root/'"),
        the_program_of_a_host_process_is_not_opened: file("opened(target)", "f'/proc/{VICTIM}/exe'"),
        the_namespaces_of_a_host_process_are_not_opened: file("opened(target)", "f'/proc/{VICTIM}/ns/net'"),
        the_first_process_of_the_host_tells_nothing:
            file("none_of(target, read)",
                "[f'/proc/{pid}/{name}' for pid in (1, TEST) for name in ('environ', 'mem', 'maps', 'auxv', \
                'stack')]").beside("['/proc/self/environ']"),
        what_ends_a_host_process_first_is_not_set:
            file("open(target, 'w').write('500')", "f'/proc/{VICTIM}/oom_score_adj'"),
        the_soft_dirty_bits_of_a_host_process_are_not_cleared:
            file("opened(target, os.O_WRONLY)", "f'/proc/{VICTIM}/clear_refs'"),
        a_host_process_is_not_put_behind_others: host("os.setpriority(os.PRIO_PROCESS, target, 19)"),
        a_group_of_the_hosts_is_not_put_behind_others: host("os.setpriority(os.PRIO_PGRP, target, 19)"),
        a_host_process_is_not_kept_from_processors:
            host("os.sched_setaffinity(target, {min(os.sched_getaffinity(0))})"),
        a_host_process_is_not_left_idle:
            host("os.sched_setscheduler(target, os.SCHED_IDLE, os.sched_param(0))"),
        a_host_process_is_not_kept_from_disks: host("kernel('ioprio_set', 1, target, 3 << 13)"),
    }
    // Objects that have no path, and that only a namespace keeps apart, or a filter.
    [namespaces landlock docker] {
        shared_memory_of_the_host_is_not_found_by_its_key:
            Attempt::new("if libc.shmget(target, 0, 0) == -1: raise OSError(ctypes.get_errno(), 'shmget')",
                "KEY"),
        shared_memory_of_the_host_is_not_attached:
            Attempt::new("libc.shmat.restype = ctypes.c_long\nif libc.shmat(target, None, 0) == -1: raise \
                OSError(ctypes.get_errno(), 'shmat')", "MEMORY")
                .denied_as("EPERM EACCES EINVAL"),
        a_semaphore_of_the_host_is_not_found:
            Attempt::new("if libc.semget(target, 0, 0) == -1: raise OSError(ctypes.get_errno(), 'semget')",
                "KEY"),
        a_queue_of_the_host_is_not_found:
            Attempt::new("if libc.msgget(target, 0) == -1: raise OSError(ctypes.get_errno(), 'msgget')",
                "KEY"),
        a_named_queue_of_the_host_is_not_opened:
            Attempt::new("kernel('mq_open', target.encode(), os.O_RDWR, 0, 0)", "QUEUE"),
    }
}
