//! Devices and terminals.

use crate::attempt::Attempt;

/// None of them is there, or may be opened; beside one that everybody may open.
const fn device(aim: &'static str) -> Attempt {
    Attempt::new("none_of(target, lambda path: opened(path, os.O_RDWR))", aim)
        .denied_as("EPERM EACCES ENOENT")
        .beside("['/dev/null']")
}

/// Something that is asked of a terminal, beside a question that every terminal answers. What is no terminal answers too.
const fn terminal(aim: &'static str) -> Attempt {
    Attempt::new("answered(fcntl.ioctl, 0, target, b'x' * 64)", aim)
        .denied_as("EPERM")
        .beside("termios.TIOCGWINSZ")
}

attempts! {
    [namespaces landlock docker] {
        no_character_device_is_made:
            Attempt::new("os.mknod(fresh(), 0o600 | target, os.makedev(1, 3))", "stat.S_IFCHR")
                .denied_as("EPERM EACCES").beside("stat.S_IFIFO"),
        no_block_device_is_made:
            Attempt::new("os.mknod(fresh(), 0o600 | target, os.makedev(7, 0))", "stat.S_IFBLK")
                .denied_as("EPERM EACCES").beside("stat.S_IFIFO"),
        no_character_device_is_made_where_it_may_write:
            Attempt::new("os.mknod(f'{GRANTED}/device-{os.getpid()}', 0o600 | target, os.makedev(1, 1))",
                "stat.S_IFCHR").denied_as("EPERM EACCES").beside("stat.S_IFIFO"),
        the_memory_of_this_host_is_not_opened: device("['/dev/mem', '/dev/kmem', '/dev/port', '/dev/nvram']"),
        the_log_of_the_kernel_is_not_opened: device("['/dev/kmsg']"),
        no_disk_is_opened:
            device("BLOCKS + ['/dev/sda', '/dev/vda', '/dev/nvme0n1', '/dev/loop0', '/dev/dm-0', \
                '/dev/root']"),
        nothing_that_makes_disks_is_opened:
            device("['/dev/loop-control', '/dev/mapper/control', '/dev/btrfs-control', '/dev/zfs', \
                '/dev/nbd0']"),
        nothing_that_mounts_is_opened: device("['/dev/fuse', '/dev/cuse', '/dev/autofs']"),
        no_virtual_machine_is_made:
            device("['/dev/kvm', '/dev/vhost-net', '/dev/vhost-vsock', '/dev/vsock', '/dev/vfio/vfio']"),
        no_network_interface_is_made: device("['/dev/net/tun', '/dev/ppp']"),
        nothing_is_typed_or_heard:
            device("['/dev/uinput', '/dev/input/event0', '/dev/input/mice', '/dev/uhid', \
                '/dev/snd/controlC0', '/dev/video0']"),
        no_card_is_opened: device("['/dev/dri/card0', '/dev/dri/renderD128', '/dev/fb0', '/dev/nvidiactl']"),
        no_console_is_opened: device("['/dev/tty0', '/dev/tty1', '/dev/vcs', '/dev/vcsa', '/dev/ttyS0']"),
        no_part_of_the_board_is_opened:
            device("['/dev/cpu_dma_latency', '/dev/hpet', '/dev/rtc0', \
                '/dev/userfaultfd', '/dev/cpu/0/msr']"),
        a_device_of_the_hosts_is_not_found_by_its_number:
            device("[f'/sys/dev/block/{number}/uevent' for number in ('7:0', '8:0', '254:0', '259:0')] + \
                ['/dev/block/8:0']").denied_as("EPERM EACCES ENOENT EROFS"),
    }
    // A container has no terminal of this host's, and may do with its own what it likes.
    [namespaces landlock] {
        nothing_is_typed_into_a_terminal: terminal("termios.TIOCSTI"),
        nothing_is_asked_of_a_virtual_console: terminal("0x541c"),
        nothing_is_typed_into_a_terminal_by_an_odd_number:
            Attempt::new("answered(kernel, 'ioctl', 0, target, b'x' * 64)", "termios.TIOCSTI | 1 << 40")
                .denied_as("EPERM").beside("termios.TIOCGWINSZ"),
        the_terminal_of_this_process_is_not_opened:
            device("['/dev/tty', '/dev/console']").denied_as("EPERM EACCES ENOENT ENXIO ENODEV"),
    }
    // In namespaces it has terminals of its own.
    [namespaces] {
        nothing_is_typed_into_an_own_terminal:
            Attempt::new("answered(fcntl.ioctl, os.openpty()[1], target, b'x' * 64)", "termios.TIOCSTI")
                .denied_as("EPERM").beside("termios.TIOCGWINSZ"),
    }
    [landlock] {
        no_terminal_of_the_users_is_opened:
            device("['/dev/ptmx', '/dev/pts/0', '/dev/pts/1', '/dev/pts/ptmx']"),
        no_terminal_of_the_users_is_found: Attempt::new("os.listdir(target)", "'/dev/pts'").beside("HERE"),
    }
}
