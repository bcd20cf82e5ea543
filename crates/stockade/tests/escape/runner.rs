//! The runner and the keeper above a block: their memory, descriptors and program, and whether they are stopped. They run
//! as the code's own user. A container's are tested in `tests/docker` without a filter of system calls, too.

use crate::attempt::Attempt;

/// What is done to the runner, and beside it to a process of the code's own.
const fn runner(code: &'static str) -> Attempt {
    Attempt::new(code, "RUNNER").denied_as("EPERM EACCES").beside("own_child()")
}

const fn keeper(code: &'static str) -> Attempt {
    Attempt::new(code, "KEEPER").denied_as("EPERM EACCES").beside("own_child()")
}

attempts! {
    [namespaces landlock docker] {
        the_runners_memory_is_not_opened: runner("opened(f'/proc/{target}/mem')"),
        the_runners_map_is_not_read: runner("read(f'/proc/{target}/maps')"),
        the_runners_environment_is_not_read: runner("read(f'/proc/{target}/environ')"),
        the_runners_descriptors_are_not_told: runner("os.listdir(f'/proc/{target}/fdinfo')"),
        the_runners_stream_is_not_opened:
            runner("none_of(range(16), lambda number: opened(f'/proc/{target}/fd/{number}', os.O_RDWR))")
                .denied_as("EPERM EACCES ENOENT"),
        the_runners_program_is_not_opened: runner("opened(f'/proc/{target}/exe')"),
        the_runners_program_is_not_named: runner("os.readlink(f'/proc/{target}/exe')"),
        the_runners_root_is_not_seen: runner("os.listdir(f'/proc/{target}/root/usr')"),
        the_runner_is_not_traced: runner("trace(16, target)"),
        the_runner_is_not_seized: runner("trace(0x4206, target)"),
        the_keepers_memory_is_not_opened: keeper("opened(f'/proc/{target}/mem')"),
        the_keepers_channel_is_not_opened:
            keeper("none_of(range(16), lambda number: opened(f'/proc/{target}/fd/{number}', os.O_RDWR))")
                .denied_as("EPERM EACCES ENOENT"),
        the_keepers_program_is_not_opened: keeper("opened(f'/proc/{target}/exe')"),
        the_keeper_is_not_traced: keeper("trace(16, target)"),
        the_keeper_is_not_seized: keeper("trace(0x4206, target)"),
        a_block_holds_no_descriptor_but_its_own:
            Attempt::new("none_of(target, os.fstat)", "INHERITED").denied_as("EBADF ENOENT").beside("[0]"),
    }
    // In a container, as in Docker before, the runner's limits are its own affair; the kernel refuses what lacks a right.
    [namespaces landlock] {
        no_limit_of_the_runner_is_set:
            Attempt::new("resource.prlimit(target, resource.RLIMIT_NOFILE, (64, 64))", "RUNNER").beside("0"),
        what_ends_the_runner_first_is_not_set:
            Attempt::new("opened(f'/proc/{target}/oom_score_adj', os.O_WRONLY)", "RUNNER").open_to_root(),
    }
    // In a namespace or a container the kernel drops what would end the first process, and tells nobody.
    [landlock] {
        no_signal_gets_to_the_runner: runner("os.kill(target, signal.SIGURG)").denied_as("EPERM"),
        the_runner_is_not_stopped: runner("os.kill(target, signal.SIGSTOP); os.kill(target, signal.SIGCONT)")
                .denied_as("EPERM"),
    }
    // Docker's filter denies these calls altogether; `tests/docker` makes them without it.
    [namespaces landlock] {
        the_runners_memory_is_not_read:
            runner("transfer('process_vm_readv', target, ctypes.addressof(TEXT))"),
        the_runners_memory_is_not_written:
            runner("transfer('process_vm_writev', target, ctypes.addressof(TEXT))"),
        no_descriptor_of_the_runner_is_taken:
            runner("handle = kernel('pidfd_open', target, 0); kernel('pidfd_getfd', handle, 0, 0)"),
        the_keepers_memory_is_not_read:
            keeper("transfer('process_vm_readv', target, ctypes.addressof(TEXT))"),
        no_descriptor_of_the_keeper_is_taken:
            keeper("handle = kernel('pidfd_open', target, 0); kernel('pidfd_getfd', handle, 0, 0)"),
    }
}
