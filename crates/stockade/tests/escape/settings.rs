//! The kernel's settings and what it tells, as files: `/proc` and `/sys`.

use crate::attempt::Attempt;

/// Files that root could write to.
const fn set(aim: &'static str) -> Attempt {
    Attempt::new("none_of(target, lambda path: opened(path, os.O_WRONLY))", aim)
        .denied_as("EPERM EACCES ENOENT EROFS")
        .open_to_root()
}

/// Files that root could read.
const fn told(aim: &'static str) -> Attempt {
    Attempt::new("none_of(target, opened)", aim).denied_as("EPERM EACCES ENOENT").open_to_root()
}

attempts! {
    [namespaces landlock docker] {
        what_happens_to_crashed_programs_is_not_set:
            set("['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/core_pipe_limit']"),
        what_loads_modules_is_not_set:
            set("['/proc/sys/kernel/modprobe', '/proc/sys/kernel/hotplug', '/sys/kernel/uevent_helper']"),
        no_setting_of_the_kernel_is_set:
            set("[f'/proc/sys/{name}' for name in ('kernel/hostname', 'kernel/pid_max', \
                'kernel/dmesg_restrict', 'kernel/sysrq', 'kernel/yama/ptrace_scope', 'vm/overcommit_memory', \
                'vm/drop_caches', 'fs/file-max', 'fs/suid_dumpable', 'fs/protected_symlinks', \
                'user/max_user_namespaces')]"),
        no_setting_of_the_network_is_set:
            set("['/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/core/somaxconn', \
                '/proc/sys/net/ipv4/ping_group_range']"),
        no_key_is_pressed: set("['/proc/sysrq-trigger']"),
        no_format_of_programs_is_added:
            set("['/proc/sys/fs/binfmt_misc/register', '/proc/sys/fs/binfmt_misc/status', \
                '/proc/sys/fs/mqueue/queues_max']"),
        no_interrupt_is_moved:
            set("['/proc/irq/default_smp_affinity', '/proc/irq/0/smp_affinity', '/proc/mtrr']"),
        no_processor_is_turned_off:
            set("['/sys/devices/system/cpu/cpu0/online', '/sys/devices/system/cpu/cpu1/online', \
                '/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', \
                '/sys/devices/system/cpu/microcode/reload']"),
        no_setting_of_memory_is_set:
            set("['/sys/kernel/mm/transparent_hugepage/enabled', \
                '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '/sys/kernel/mm/ksm/run']"),
        this_host_does_not_sleep:
            set("['/sys/power/state', '/sys/power/disk', '/sys/power/wake_lock', '/sys/kernel/profiling']"),
        no_control_group_is_entered:
            set("[f'/sys/fs/cgroup/{name}cgroup.procs' for name in ('', 'memory/', 'pids/', 'devices/', \
                'cpu/', 'unified/', 'systemd/')]"),
        no_control_group_is_made:
            Attempt::new("none_of(target, make_group)",
                "[f'/sys/fs/cgroup/{name}' for name in ('', 'memory', 'pids', 'devices', 'unified')]")
                .denied_as("EPERM EACCES ENOENT EROFS").open_to_root(),
        nothing_runs_when_a_control_group_ends:
            set("[f'/sys/fs/cgroup/{name}/release_agent' for name in ('memory', 'pids', 'rdma', 'devices', \
                'systemd')] + ['/sys/fs/cgroup/cgroup.subtree_control']"),
        the_memory_of_the_kernel_is_not_read: told("['/proc/kcore', '/proc/kmsg']"),
        nothing_of_a_host_process_is_set:
            Attempt::new("none_of(target, lambda path: opened(path, os.O_WRONLY))",
                "[f'/proc/{VICTIM}/{name}' for name in ('comm', 'coredump_filter', 'autogroup', \
                'timerslack_ns', 'attr/current')]"),
    }
    // In a container Docker hides what is to be hidden.
    [namespaces landlock] {
        nothing_is_told_of_the_machine:
            told("['/sys/firmware/dmi/tables/DMI', '/sys/class/dmi/id/product_serial', \
                '/sys/firmware/acpi/tables/DSDT', '/sys/class/net/lo/address', '/sys/kernel/notes', \
                '/sys/kernel/vmcoreinfo']"),
        no_module_is_listed_with_its_addresses:
            told("['/sys/module', '/sys/kernel/debug', '/sys/kernel/tracing', '/sys/kernel/security']"),
        no_device_is_listed: told("['/sys/block', '/sys/class', '/sys/bus', '/sys/dev']"),
    }
    // Without namespaces root's code can read what needs no capability.
    [namespaces] {
        where_pages_of_memory_are_is_not_read:
            told("['/proc/kpageflags', '/proc/kpagecount', '/proc/kpagecgroup']"),
        how_the_kernel_uses_memory_is_not_read:
            told("['/proc/slabinfo', '/proc/vmallocinfo', '/proc/pagetypeinfo']"),
        what_the_kernel_is_about_to_do_is_not_read:
            told("['/proc/timer_list', '/proc/sched_debug', '/proc/latency_stats']"),
    }
}
