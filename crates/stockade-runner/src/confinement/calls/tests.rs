//! The filters, run over calls as the kernel runs them.
#![cfg(target_arch = "x86_64")]

use libc::{c_long, seccomp_data};
use proptest::prelude::*;
use seccompiler::sock_filter;

use super::*;
use crate::wire::message::Sockets;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;
/// What a register may hold where the kernel doesn't look.
const GARBAGE: u64 = 0xdead_beef << 32;

/// What the kernel would do with a call.
fn answer_of(filters: &[BpfProgram], arch: u32, nr: c_long, args: &[u64]) -> u32 {
    let mut data = seccomp_data { nr: nr as i32, arch, instruction_pointer: 0, args: [0; 6] };
    data.args[..args.len()].copy_from_slice(args);
    let answers = filters.iter().map(|filter| run(filter, &data));
    // The lower the answer as a signed number, the sooner it is taken.
    answers.min_by_key(|answer| (answer & libc::SECCOMP_RET_ACTION_FULL) as i32).expect("there are filters")
}

/// Runs one filter.
fn run(filter: &[sock_filter], data: &seccomp_data) -> u32 {
    let load = |offset: u32| match offset {
        0 => data.nr as u32,
        4 => data.arch,
        16..64 => {
            let argument = data.args[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
        }
        _ => panic!("no filter looks at {offset}"),
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = filter[at];
        at += 1;
        let code = u32::from(code);
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code & 0x7 {
            libc::BPF_LD => accumulator = load(k),
            libc::BPF_ALU if code & 0xf0 == libc::BPF_AND => accumulator &= k,
            libc::BPF_RET => return k,
            libc::BPF_JMP => {
                at += match code & 0xf0 {
                    libc::BPF_JA => k as usize,
                    libc::BPF_JEQ => jump(accumulator == k),
                    libc::BPF_JGT => jump(accumulator > k),
                    libc::BPF_JGE => jump(accumulator >= k),
                    other => panic!("no filter jumps by {other:#x}"),
                }
            }
            other => panic!("no filter has an instruction of class {other:#x}"),
        }
    }
}

/// In a place with namespaces.
fn wanted(sockets: Sockets) -> Confinement {
    Confinement { sockets, own_namespaces: true, ..Confinement::default() }
}

fn compiled(wanted: &Confinement) -> Vec<BpfProgram> {
    filters(wanted).expect("the tables compile")
}

fn answer(sockets: Sockets, nr: c_long, args: &[u64]) -> u32 {
    answer_of(&compiled(&wanted(sockets)), X86_64, nr, args)
}

fn refused(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

#[track_caller]
fn assert_refused(nr: c_long, args: &[u64]) {
    assert_eq!(answer(Sockets::Internet, nr, args), refused(libc::EPERM), "{nr} {args:x?}");
}

#[track_caller]
fn assert_allowed(nr: c_long, args: &[u64]) {
    assert_eq!(answer(Sockets::Internet, nr, args), ALLOWED, "{nr} {args:x?}");
}

#[test]
fn what_is_for_the_machine_is_refused_and_what_is_for_a_program_is_not() {
    for call in
        [libc::SYS_mount, libc::SYS_unshare, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_reboot, 443, 467]
    {
        assert_refused(call, &[]);
        assert_refused(call, &[u64::MAX; 6]);
    }
    for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_futex, 444, 445, 446, 0] {
        assert_allowed(call, &[]);
    }
}

#[test]
fn what_cannot_be_looked_into_is_unknown() {
    for call in [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_io_uring_setup] {
        assert_eq!(answer(Sockets::Local, call, &[]), refused(libc::ENOSYS));
    }
}

#[test]
fn threads_and_processes_are_made_and_namespaces_are_not() {
    let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS;
    for flags in [libc::SIGCHLD, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, thread] {
        assert_allowed(libc::SYS_clone, &[flags as u64]);
        assert_allowed(libc::SYS_clone, &[flags as u64 | GARBAGE]);
        for namespace in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
            assert_refused(libc::SYS_clone, &[(flags | namespace) as u64]);
            assert_refused(libc::SYS_clone, &[(flags | namespace) as u64 | GARBAGE]);
        }
    }
}

#[test]
fn bits_that_lend_a_users_rights_are_not_set_in_any_way() {
    for (call, mode_at) in [
        (libc::SYS_chmod, 1),
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (452, 2),
        (libc::SYS_mknod, 1),
        (libc::SYS_mknodat, 2),
        (libc::SYS_creat, 1),
    ] {
        let with =
            |mode: u64| (0..=mode_at).map(|at| if at == mode_at { mode } else { 7 }).collect::<Vec<u64>>();
        for mode in [0o4755, 0o2755, 0o6000] {
            assert_refused(call, &with(mode));
            assert_refused(call, &with(mode | GARBAGE));
        }
        for mode in [0, 0o755, 0o1777] {
            assert_allowed(call, &with(mode));
            assert_allowed(call, &with(mode | GARBAGE));
        }
    }
}

#[test]
fn a_file_is_not_made_with_them_and_opening_one_takes_no_mode() {
    let create = libc::O_CREAT as u64;
    let temporary = libc::O_TMPFILE as u64;
    for flags in [create, temporary, create | libc::O_WRONLY as u64, create | GARBAGE] {
        assert_refused(libc::SYS_openat, &[0, 0, flags, 0o4755]);
        assert_refused(libc::SYS_open, &[0, flags, 0o2755 | GARBAGE]);
        assert_allowed(libc::SYS_openat, &[0, 0, flags, 0o755]);
        assert_allowed(libc::SYS_open, &[0, flags, 0o644]);
    }
    // What is in the register is of no account here.
    assert_allowed(libc::SYS_openat, &[0, 0, libc::O_DIRECTORY as u64, 0o6000]);
    assert_allowed(libc::SYS_open, &[0, 0, 0o6000]);
}

#[test]
fn terminals_take_commands_but_no_input() {
    for (command, allowed) in [(0x5412, false), (0x541c, false), (0x5401, true), (0x5413, true)] {
        for upper in [0, GARBAGE] {
            let check = if allowed { assert_allowed } else { assert_refused };
            check(libc::SYS_ioctl, &[0, command | upper]);
        }
    }
}

#[test]
fn files_are_locked_and_nobody_waits_for_a_lease() {
    let alone = compiled(&Confinement::default());
    for upper in [0, GARBAGE] {
        // F_SETDELEG, which libc has no name for, is the last.
        for command in [libc::F_SETLEASE, libc::F_NOTIFY, 1040] {
            for kind in [libc::F_RDLCK, libc::F_WRLCK] {
                let args = [3, command as u64 | upper, kind as u64];
                assert_refused(libc::SYS_fcntl, &args);
                assert_eq!(answer_of(&alone, X86_64, libc::SYS_fcntl, &args), refused(libc::EPERM));
            }
        }
        for command in [
            libc::F_DUPFD,
            libc::F_SETFL,
            libc::F_SETLK,
            libc::F_SETLKW,
            libc::F_OFD_SETLK,
            libc::F_OFD_SETLKW,
            libc::F_GETLEASE,
            libc::F_DUPFD_CLOEXEC,
            libc::F_SETPIPE_SZ,
            libc::F_ADD_SEALS,
        ] {
            let args = [1024, command as u64 | upper, 1024];
            assert_allowed(libc::SYS_fcntl, &args);
            assert_eq!(answer_of(&alone, X86_64, libc::SYS_fcntl, &args), ALLOWED);
        }
    }
}

#[test]
fn attributes_are_read_of_what_was_opened_where_hidden_files_have_names() {
    let alone = compiled(&Confinement::default());
    // The last two are getxattrat and listxattrat.
    for call in [libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, 464, 465]
    {
        assert_eq!(answer_of(&alone, X86_64, call, &[]), refused(libc::ENOTSUP), "{call}");
        assert_allowed(call, &[]);
    }
    for call in [libc::SYS_fgetxattr, libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_fsetxattr] {
        assert_eq!(answer_of(&alone, X86_64, call, &[]), ALLOWED, "{call}");
    }
}

#[test]
fn the_limits_of_others_can_be_read_and_not_set() {
    assert_allowed(libc::SYS_prlimit64, &[0, 7, 0x7fff_0000_0000, 0]);
    assert_allowed(libc::SYS_prlimit64, &[GARBAGE, 7, 0x7fff_0000_0000, 0]);
    assert_allowed(libc::SYS_prlimit64, &[123, 7, 0, 0x1000]);
    assert_refused(libc::SYS_prlimit64, &[123, 7, 0x7fff_0000_0000, 0]);
    assert_refused(libc::SYS_prlimit64, &[123, 7, 0x1000, 0]);
}

#[test]
fn personalities_are_what_debuggers_use() {
    for allowed in [0, 8, 0x4_0000, 0xffff_ffff] {
        assert_allowed(libc::SYS_personality, &[allowed]);
        assert_allowed(libc::SYS_personality, &[allowed | GARBAGE]);
    }
    for other in [1, 0x20_0000, 0x40_0000, 0x4_0008] {
        assert_refused(libc::SYS_personality, &[other]);
    }
}

#[test]
fn sockets_are_those_that_were_allowed() {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, 17, libc::AF_ALG, 40];
    for (sockets, allowed) in
        [(Sockets::Pairs, &[][..]), (Sockets::Internet, &families[1..4]), (Sockets::Local, &families[..4])]
    {
        for family in families {
            let expected = if allowed.contains(&family) { ALLOWED } else { refused(libc::EACCES) };
            for upper in [0, GARBAGE] {
                let args = [family as u64 | upper, libc::SOCK_STREAM as u64, 0];
                assert_eq!(answer(sockets, libc::SYS_socket, &args), expected, "{sockets:?} {family}");
            }
        }
    }
    let audit = [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 9];
    for sockets in [Sockets::Pairs, Sockets::Internet, Sockets::Local] {
        assert_eq!(answer(sockets, libc::SYS_socket, &audit), refused(libc::EACCES));
    }
}

#[test]
fn pairs_are_of_two_that_can_reach_nobody_else() {
    let pair = |sockets, family: i32, kind: i32| {
        answer(sockets, libc::SYS_socketpair, &[family as u64, kind as u64 | GARBAGE])
    };
    for sockets in [Sockets::Pairs, Sockets::Internet, Sockets::Local] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC] {
            assert_eq!(pair(sockets, libc::AF_UNIX, kind), ALLOWED);
            assert_eq!(pair(sockets, 30, kind), refused(libc::EACCES), "TIPC");
        }
        let expected = if sockets == Sockets::Local { ALLOWED } else { refused(libc::EACCES) };
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK] {
            assert_eq!(pair(sockets, libc::AF_UNIX, kind), expected);
        }
    }
}

#[test]
fn what_others_share_is_out_of_reach_where_no_namespace_keeps_it_apart() {
    let alone = compiled(&Confinement::default());
    let calls: [(c_long, &[u64]); 9] = [
        (libc::SYS_shmget, &[0x1234, 64, 0o600]),
        (libc::SYS_semop, &[1]),
        (libc::SYS_msgget, &[]),
        (libc::SYS_mq_open, &[]),
        (libc::SYS_sched_setaffinity, &[123]),
        (libc::SYS_sched_setattr, &[123 | GARBAGE]),
        (libc::SYS_setpriority, &[0, 123, 19]),
        // All processes of this user.
        (libc::SYS_setpriority, &[2, 0, 19]),
        (libc::SYS_ioprio_set, &[1, 123]),
    ];
    for (call, args) in calls {
        assert_eq!(answer_of(&alone, X86_64, call, args), refused(libc::EPERM), "{call} {args:x?}");
        assert_allowed(call, args);
    }
    let own: [(c_long, &[u64]); 4] = [
        (libc::SYS_sched_setaffinity, &[0]),
        (libc::SYS_sched_setscheduler, &[GARBAGE]),
        (libc::SYS_setpriority, &[0, 0, 19]),
        (libc::SYS_ioprio_set, &[1, GARBAGE]),
    ];
    for (call, args) in own {
        assert_eq!(answer_of(&alone, X86_64, call, args), ALLOWED, "{call} {args:x?}");
    }
}

#[test]
fn another_architecture_is_killed() {
    let filters = compiled(&wanted(Sockets::Local));
    assert_eq!(answer_of(&filters, I386, 20, &[]), KILLED);
    assert_eq!(answer_of(&filters, X86_64, 20, &[]), ALLOWED);
}

proptest! {
    #[test]
    fn no_call_has_a_second_number(nr in 0..1000u32, args: [u64; 6]) {
        let unknown = refused(libc::ENOSYS);
        prop_assert_eq!(answer(Sockets::Local, (nr | 0x4000_0000).into(), &args), unknown);
        if (512..548).contains(&nr) {
            prop_assert_eq!(answer(Sockets::Local, nr.into(), &args), unknown);
        }
    }

    #[test]
    fn nothing_in_the_upper_half_makes_a_difference(
        call in prop::sample::select(vec![
            libc::SYS_clone, libc::SYS_openat, libc::SYS_ioctl, libc::SYS_socket, libc::SYS_socketpair,
            libc::SYS_personality, libc::SYS_fchmodat, libc::SYS_fcntl,
        ]),
        args: [u32; 6],
        upper: [u32; 6],
    ) {
        let plain = args.map(u64::from);
        let garbled: Vec<u64> =
            plain.iter().zip(upper).map(|(argument, upper)| argument | u64::from(upper) << 32).collect();
        prop_assert_eq!(
            answer(Sockets::Internet, call, &plain),
            answer(Sockets::Internet, call, &garbled)
        );
    }
}
