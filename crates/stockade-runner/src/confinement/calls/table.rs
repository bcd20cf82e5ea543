//! The tables of what is denied. Owns the numbers of system calls and of their arguments.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::wire::message::Sockets;

/// For each call the rules of which one must match for it to be denied; none: it is always denied.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

// Numbers that are the same everywhere, and which not every libc has.
const SYS_QUOTACTL_FD: c_long = 443;
const SYS_FCHMODAT2: c_long = 452;
const SYS_GETXATTRAT: c_long = 464;
const SYS_LISTXATTRAT: c_long = 465;
const SYS_OPEN_TREE_ATTR: c_long = 467;

/// What is always refused.
const REFUSED: &[c_long] = &[
    // Parts of the kernel that are large, and not for programs without privileges.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // Keys, which no namespace keeps apart.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    SYS_QUOTACTL_FD,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    // Files by other ways than their paths.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] =
    &[libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[294]; // kexec_file_load
#[cfg(target_arch = "riscv64")]
const REFUSED_HERE: &[c_long] = &[294]; // kexec_file_load

/// What is answered as if the kernel were older: a large part of it, and calls whose arguments no filter can see.
const UNKNOWN: &[c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_clone3,
    libc::SYS_openat2,
];

/// Calls with the mode of a file, and which argument it is.
#[cfg(target_arch = "x86_64")]
const MODES: &[(c_long, u8)] = &[
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (SYS_FCHMODAT2, 2),
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
    (libc::SYS_creat, 1),
];
#[cfg(not(target_arch = "x86_64"))]
const MODES: &[(c_long, u8)] =
    &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (SYS_FCHMODAT2, 2), (libc::SYS_mknodat, 2)];

/// Calls that may make a file, and which argument is the flags; the mode is the next.
#[cfg(target_arch = "x86_64")]
const OPENS: &[(c_long, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS: &[(c_long, u8)] = &[(libc::SYS_openat, 2)];

const SET_ID: [u32; 2] = [libc::S_ISUID, libc::S_ISGID];
/// Flags that make a file. The second consists of two, of which the other says only that it is a directory.
const MAKES: [u32; 2] = [libc::O_CREAT as u32, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32];

/// Objects that only a namespace keeps apart: shared memory, semaphores and queues of System V and POSIX.
const SHARED: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Calls that set how a process is scheduled, which is the first argument; 0 is the caller.
const SCHEDULING: &[c_long] = &[
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];

/// "A process" (PRIO_PROCESS, IOPRIO_WHO_PROCESS) of the two calls that set priorities also of groups and users: the
/// first argument is the kind.
const PRIORITIES: &[(c_long, u32)] = &[(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];

/// Flags for a namespace; the one for time can't be asked for in a clone.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Puts a character into a terminal's input, or asks much else of a virtual console.
const TERMINAL_COMMANDS: [u32; 2] = [0x5412, 0x541C]; // TIOCSTI, TIOCLINUX

/// Makes whoever opens a file wait for its holder, be it only readable to him, or tells him what happens in a folder.
const LEASES: [u32; 3] = [1024, 1026, 1040]; // F_SETLEASE, F_NOTIFY, F_SETDELEG

/// Reads attributes of a file by its path, which no filter sees. By a descriptor they are of a file that was opened.
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    SYS_GETXATTRAT,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    SYS_LISTXATTRAT,
];

/// Of the kernel's old personalities what debuggers and `setarch` use: none, 32 bits, fixed addresses, asking.
const PERSONALITIES: [u32; 4] = [0, 0x8, 0x4_0000, 0xffff_ffff];

/// A part of the type of a socket; the rest are flags.
const TYPE: u32 = 0xf;

/// What is refused with EPERM.
pub(super) fn refused() -> Result<Rules, BackendError> {
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|call| always(*call)).collect();
    rules.extend([
        when(libc::SYS_clone, NAMESPACES.map(|flag| vec![has(0, flag as u32)]))?,
        when(libc::SYS_personality, [PERSONALITIES.map(|allowed| is_not(0, allowed)).into()])?,
        when(libc::SYS_ioctl, TERMINAL_COMMANDS.map(|command| vec![is(1, command)]))?,
        when(libc::SYS_fcntl, LEASES.map(|command| vec![is(1, command)]))?,
        // The limits of another process of the same user, whom it can end by them.
        when(libc::SYS_prlimit64, [vec![is_not(0, 0), is_given(2)]])?,
    ]);
    for &(call, mode) in MODES {
        rules.extend([when(call, SET_ID.map(|bit| vec![has(mode, bit)]))?]);
    }
    for &(call, flags) in OPENS {
        let makes = |flag| SET_ID.map(|bit| vec![has(flags, flag), has(flags + 1, bit)]);
        rules.extend([when(call, MAKES.into_iter().flat_map(makes))?]);
    }
    Ok(rules)
}

/// What is refused with EPERM where processes and objects of others can be named: any user's may be used by himself, and
/// the code is his.
pub(super) fn shared() -> Result<Rules, BackendError> {
    let mut rules: Rules = SHARED.iter().map(|call| always(*call)).collect();
    for &call in SCHEDULING {
        rules.extend([when(call, [vec![is_not(0, 0)]])?]);
    }
    for &(call, process) in PRIORITIES {
        rules.extend([when(call, [vec![is_not(0, process)], vec![is_not(1, 0)]])?]);
    }
    Ok(rules)
}

/// What is refused with ENOTSUP where files that can't be opened can be named.
pub(super) fn attributes() -> Rules {
    ATTRIBUTES.iter().map(|call| always(*call)).collect()
}

/// What is refused with ENOSYS.
pub(super) fn unknown() -> Rules {
    UNKNOWN.iter().map(|call| always(*call)).collect()
}

/// What is refused with EACCES.
pub(super) fn sockets(sockets: Sockets) -> Result<Rules, BackendError> {
    let [internet, internet6, netlink, unix] =
        [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX].map(|family| family as u32);
    // A pair of datagram sockets could be used to send to any socket that has a name.
    let nameless = [libc::SOCK_DGRAM, libc::SOCK_RAW].map(|kind| vec![masked(1, TYPE, kind as u32)]);
    let others = vec![is_not(0, unix)];
    let (families, pairs) = match sockets {
        Sockets::Pairs => (vec![], [&nameless[..], &[others]].concat()),
        Sockets::Internet => (vec![internet, internet6, netlink], [&nameless[..], &[others]].concat()),
        Sockets::Local => (vec![internet, internet6, netlink, unix], vec![others]),
    };
    let socket = if families.is_empty() {
        always(libc::SYS_socket)
    } else {
        let other = families.into_iter().map(|family| is_not(0, family)).collect();
        // Addresses and routes can be asked for; the rest of that family is the kernel's own affairs.
        let not_routes = vec![is(0, netlink), is_not(2, libc::NETLINK_ROUTE as u32)];
        when(libc::SYS_socket, [other, not_routes])?
    };
    Ok([socket, when(libc::SYS_socketpair, pairs)?].into())
}

/// Denies the second set of numbers that x86-64 has for the same calls, x32: the bit that marks them, and the numbers
/// that older kernels take without it. What uses them is told that they are unknown, as most kernels do.
#[cfg(target_arch = "x86_64")]
pub(super) fn other_numbers() -> Option<BpfProgram> {
    const BIT: u32 = 0x4000_0000;
    const FIRST: u32 = 512;
    const LAST: u32 = 547;
    let statement = |code: u32, k| seccompiler::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k, jt, jf| seccompiler::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_K | code) as u16,
        jt,
        jf,
        k,
    };
    Some(vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JGE, BIT, 2, 0),
        jump(libc::BPF_JGT, LAST, 2, 0),
        jump(libc::BPF_JGE, FIRST, 0, 1),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn other_numbers() -> Option<BpfProgram> {
    None
}

/// An argument and what it is to be.
#[derive(Clone)]
struct Condition(u8, SeccompCmpArgLen, SeccompCmpOp, u64);

fn is(argument: u8, value: u32) -> Condition {
    Condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value.into())
}

fn is_not(argument: u8, value: u32) -> Condition {
    Condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value.into())
}

fn has(argument: u8, bit: u32) -> Condition {
    masked(argument, bit, bit)
}

fn masked(argument: u8, mask: u32, value: u32) -> Condition {
    Condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask.into()), value.into())
}

/// A pointer that is not null: of those the kernel takes all bits.
fn is_given(argument: u8) -> Condition {
    Condition(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
}

fn always(call: c_long) -> (i64, Vec<SeccompRule>) {
    (call, Vec::new())
}

/// Denied when all conditions of one of the alternatives hold.
fn when(
    call: c_long,
    alternatives: impl IntoIterator<Item = Vec<Condition>>,
) -> Result<(i64, Vec<SeccompRule>), BackendError> {
    let compile = |Condition(argument, length, operator, value)| {
        SeccompCondition::new(argument, length, operator, value)
    };
    let rule = |conditions: Vec<Condition>| {
        SeccompRule::new(conditions.into_iter().map(compile).collect::<Result<_, _>>()?)
    };
    Ok((call, alternatives.into_iter().map(rule).collect::<Result<_, _>>()?))
}
