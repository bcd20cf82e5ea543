//! Mounts, and namespaces of the code's own, in which it would have capabilities again.

use crate::attempt::Attempt;

/// Not allowed, whatever it is asked for; outside the kernel would at least look at it.
const fn call(code: &'static str) -> Attempt {
    Attempt::call(code).denied_as("EPERM EACCES").open_to_root()
}

/// A namespace of one kind.
const fn kind(flag: &'static str) -> Attempt {
    Attempt::new("kernel('unshare', target)", flag).denied_as("EPERM").open_to_root()
}

attempts! {
    [namespaces landlock docker] {
        no_user_namespace_is_made: kind("0x10000000"),
        no_mount_namespace_is_made: kind("0x20000"),
        no_network_namespace_is_made: kind("0x40000000"),
        no_process_namespace_is_made: kind("0x20000000"),
        no_namespace_of_objects_is_made: kind("0x8000000"),
        no_namespace_of_names_is_made: kind("0x4000000"),
        no_namespace_of_control_groups_is_made: kind("0x2000000"),
        no_namespace_of_clocks_is_made: kind("0x80"),
        no_process_is_started_in_a_user_namespace: call("clone(0x10000000)"),
        no_process_is_started_in_a_mount_namespace: call("clone(0x20000)"),
        no_process_is_started_in_a_network_namespace: call("clone(0x40000000 | 0x10000000)"),
        no_process_is_started_in_a_namespace_by_odd_bits: call("clone(0x10000000 | 1 << 33)"),
        no_process_is_started_by_the_newer_call:
            Attempt::call("known(kernel, 'clone3', 0, 0)").denied_as("ENOSYS"),
        no_command_makes_a_namespace:
            Attempt::call("if subprocess.run(['unshare', '--user', '--map-root-user', 'true'], \
                capture_output=True).returncode: raise PermissionError(errno.EPERM, 'unshare')")
                .denied_as("EPERM").open_to_root(),
        no_namespace_is_entered:
            call("answered(kernel, 'setns', os.open('/proc/self/ns/uts', os.O_RDONLY), 0)"),
        nothing_is_mounted: call("answered(kernel, 'mount', b'none', b'/proc/nowhere', b'tmpfs', 0, 0)"),
        nothing_is_bound: call("answered(kernel, 'mount', b'/', b'/proc/nowhere', 0, 0x1000, 0)"),
        nothing_is_mounted_again_with_other_flags:
            call("answered(kernel, 'mount', 0, b'/proc/nowhere', 0, 0x20, 0)"),
        nothing_is_unmounted: call("answered(kernel, 'umount2', b'/proc/nowhere', 2)"),
        no_tree_of_mounts_is_copied: call("answered(kernel, 'open_tree', -100, b'/', 1)"),
        no_file_system_is_opened: call("answered(kernel, 'fsopen', b'tmpfs', 0)"),
        no_file_system_is_picked: call("answered(kernel, 'fspick', -100, b'/', 0)"),
        no_file_system_is_made_of_it: call("answered(kernel, 'fsmount', -1, 0, 0)"),
        no_mount_is_moved: call("answered(kernel, 'move_mount', -1, b'', -1, b'', 0)"),
        no_mount_is_changed:
            call("answered(kernel, 'mount_setattr', -100, b'/proc/nowhere', 0, bytes(32), 32)"),
        the_root_is_not_pivoted: call("answered(kernel, 'pivot_root', b'/proc/nowhere', b'/proc/nowhere')"),
        the_root_is_not_changed: call("kernel('chroot', b'/')"),
    }
}
