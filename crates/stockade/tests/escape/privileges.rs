//! Rights that code could gain for itself or leave to others: users, capabilities, bits of files, priorities.

use crate::attempt::Attempt;

/// A file with a bit of a set user or group, beside one without.
const fn bits(code: &'static str) -> Attempt {
    Attempt::new(code, "0o4755").denied_as("EPERM").beside("0o755")
}

attempts! {
    // In a container root's packages need them; in files that stay they are removed, as `tests/docker` shows.
    [namespaces landlock] {
        no_file_gets_a_set_user: bits("os.chmod(own(), target)"),
        no_file_gets_a_set_group: bits("os.chmod(own(), target & 0o777 | (target & 0o4000) >> 1)"),
        no_descriptors_file_gets_a_set_user: bits("os.fchmod(os.open(own(), os.O_RDWR), target)"),
        no_file_gets_a_set_user_by_the_newer_call:
            bits("kernel('fchmodat2', -100, own().encode(), target, 0)"),
        no_file_gets_a_set_user_by_odd_bits:
            bits("kernel('fchmodat', -100, own().encode(), target | 1 << 40)"),
        no_file_is_made_with_a_set_user: bits("os.open(fresh(), os.O_CREAT | os.O_WRONLY, target)"),
        no_file_is_created_with_a_set_user: bits("made(libc.creat(fresh().encode(), target))"),
        no_nameless_file_is_made_with_a_set_user: bits("os.open(HERE, os.O_TMPFILE | os.O_WRONLY, target)"),
        no_node_is_made_with_a_set_user: bits("os.mknod(fresh(), stat.S_IFREG | target)"),
        no_folder_hands_on_its_group:
            bits("os.chmod(own_folder('file'), target & 0o777 | (target & 0o4000) >> 1)"),
        no_file_where_it_may_write_gets_a_set_user:
            bits("path = f'{GRANTED}/set-{os.getpid()}'; open(path, 'x').close(); os.chmod(path, target)"),
        no_other_user_is_taken:
            Attempt::new("os.setresuid(target, target, target)", "12345").denied_as("EPERM EINVAL")
                .beside("os.getuid()"),
        no_other_group_is_taken:
            Attempt::new("os.setresgid(target, target, target)", "12345").denied_as("EPERM EINVAL")
                .beside("os.getgid()"),
        no_further_groups_are_taken:
            Attempt::call("os.setgroups([12345])").denied_as("EPERM EINVAL").open_to_root(),
        no_file_is_given_away:
            Attempt::new("os.chown(own(), target, -1)", "12345").denied_as("EPERM EINVAL")
                .beside("os.getuid()"),
        there_are_no_capabilities:
            Attempt::call("if not any(int(line.split()[1], 16) for line in open('/proc/self/status') if \
                line.startswith(('CapEff', 'CapPrm', 'CapInh', 'CapAmb'))): raise \
                PermissionError(errno.EPERM, 'none')").denied_as("EPERM").open_to_root(),
        no_capability_is_taken:
            Attempt::call("made(libc.capset(struct.pack('<II', 0x20080522, 0), struct.pack('<6I', *[1 << 21, \
                1 << 21, 0] * 2)))").denied_as("EPERM").open_to_root(),
        how_root_gains_rights_is_not_changed:
            Attempt::call("made(libc.prctl(28, 1, 0, 0, 0))").denied_as("EPERM").open_to_root(),
        no_program_runs_as_the_user_that_is_set_for_it:
            Attempt::new("if int(subprocess.check_output([target, '-u'])) == os.geteuid(): \
                raise PermissionError(errno.EPERM, 'it is still the same')", "SET_USER")
                .denied_as("EPERM").open_to_root(),
        no_user_is_mapped:
            Attempt::new("none_of(target, lambda name: opened(f'/proc/self/{name}', os.O_WRONLY))",
                "['uid_map', 'gid_map', 'setgroups', 'projid_map']"),
    }
    [namespaces landlock docker] {
        no_program_gains_rights:
            Attempt::call("if libc.prctl(39, 0, 0, 0, 0): raise PermissionError(errno.EPERM, 'no new \
                privileges')").denied_as("EPERM"),
        that_no_program_gains_rights_is_not_revoked:
            Attempt::new("if libc.prctl(38, target, 0, 0, 0): raise PermissionError(errno.EPERM, 'prctl')",
                "0").denied_as("EPERM").beside("1"),
        no_file_gets_capabilities:
            Attempt::new("os.setxattr(own(), target, struct.pack('<5I', 0x2000001, 1 << 10, 0, 0, 0))",
                "'security.capability'").denied_as("EPERM").beside("'user.test'"),
        no_file_gets_an_attribute_of_the_kernels:
            Attempt::new("os.setxattr(own(), target, b'y')", "'trusted.overlay.opaque'")
                .denied_as("EPERM EOPNOTSUPP").beside("'user.test'"),
        nobody_comes_before_others:
            Attempt::new("os.setpriority(os.PRIO_PROCESS, 0, target)", "-5").denied_as("EPERM EACCES")
                .beside("5"),
        nobody_comes_at_once:
            Attempt::new("os.sched_setscheduler(0, target, os.sched_param(int(target == os.SCHED_FIFO)))",
                "os.SCHED_FIFO").denied_as("EPERM").beside("os.SCHED_BATCH"),
        no_disk_serves_it_first:
            Attempt::new("kernel('ioprio_set', 1, 0, target << 13)", "1").denied_as("EPERM").beside("3"),
        no_limit_is_raised:
            Attempt::new("hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; \
                made(libc.setrlimit(resource.RLIMIT_NOFILE, struct.pack('<2Q', 64, hard + target)))",
                "1").denied_as("EPERM").beside("0"),
    }
    // Elsewhere nothing is written in `/proc` at all.
    [docker] {
        nobody_ends_last_when_memory_runs_out:
            Attempt::new("os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), target)", "b'-1000'")
                .denied_as("EPERM EACCES").beside("b'1000'"),
    }
}
