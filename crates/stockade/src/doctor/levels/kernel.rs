//! What the kernel does for sandboxes, as the trials tell: namespaces, Landlock, seccomp. Owns those verdicts, and what
//! keeps a kernel from giving namespaces. Versions are told, and decide nothing.

use std::fs;

use super::{
    super::{
        AskError, Finding, PROGRAM, State, Subject, ask,
        local::Tried,
        trial::{Attempt, Refusal, Trial},
    },
    CALLS, PROC, REPORT, UNTRIED,
};
use crate::{SandboxPolicy, executor::docker::owner::in_container, sandbox::Bubblewrap};

/// A kind of namespace: the control, the link in /proc that names it, and what asks `unshare` for one.
type Kind = (&'static str, &'static str, &'static str);

const NAMESPACES: [Kind; 4] = [
    ("user namespaces", "user", "-U"),
    ("pid namespaces", "pid", "-p"),
    ("mount namespaces", "mnt", "-m"),
    ("network namespaces", "net", "-n"),
];

/// The machine's findings that trials tell of. What keeps the kernel from giving namespaces becomes a part of why no
/// session starts in them.
pub(crate) async fn kernel(tried: &mut Tried) -> Vec<Finding> {
    let [user, pid, mount, network] = NAMESPACES.map(|kind| namespace(kind, &tried.namespaces));
    let (user, pid, mount, network) = tokio::join!(user, pid, mount, network);
    let namespaces = [user, pid, mount, network];
    if let Err(refusal) = &mut tried.namespaces
        && Bubblewrap::find().is_none()
    {
        more_than_bubblewrap(refusal, &namespaces);
    }
    let (landlock, seccomp) = (landlock(tried), seccomp(tried));
    let itself = kernel_itself(&landlock, &seccomp);
    [itself].into_iter().chain(namespaces).chain([landlock, seccomp]).collect()
}

/// `refusal` is that there is no bubblewrap, which would be of no use where no namespaces can be made.
pub(super) fn more_than_bubblewrap(refusal: &mut Refusal, namespaces: &[Finding]) {
    let absent = namespaces.iter().find(|finding| finding.state == State::Absent);
    if let Some(Finding { control, why: Some(why), fix: Some(fix), .. }) = absent {
        refusal.why = format!("{}, and {control} can't be made: {why}", refusal.why);
        refusal.fix = format!("{fix}; after that, {}", refusal.fix);
    }
}

pub(super) fn kernel_itself(landlock: &Finding, seccomp: &Finding) -> Finding {
    const NAME: &str = "kernel";
    let uname = rustix::system::uname();
    let detail = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let parts = [landlock, seccomp].into_iter().filter(|finding| finding.state != State::Enforced);
    let lacking: Vec<&Finding> = parts.collect();
    let Some(first) = lacking.first() else {
        return Finding::enforced(Subject::Machine, NAME, detail);
    };
    let names: Vec<&str> = lacking.iter().map(|finding| finding.control.as_str()).collect();
    let why = format!("not all of what it is to do was seen to work: {}", names.join(", "));
    let fix = first.fix.clone().unwrap_or_default();
    Finding::lacking(Subject::Machine, NAME, State::Degraded, detail, why, fix)
}

/// Whether a session has a namespace of its own; where none starts, whether the kernel would give one.
async fn namespace((control, kind, flag): Kind, tried: &Result<Attempt, Refusal>) -> Finding {
    let lacking = |state, detail: &str, why: &str, fix: &str| {
        Finding::lacking(Subject::Machine, control, state, detail, why, fix)
    };
    let refusal = match tried {
        Ok(attempt) => return own_namespace(control, kind, &attempt.trial),
        Err(Refusal { why, fix, untried: true }) => return lacking(State::Degraded, UNTRIED, why, fix),
        Err(refusal) => refusal,
    };
    match ask("unshare", &["-U", "-r", "-f", flag, "true"], PROGRAM).await {
        Ok(_) => {
            let why = format!("sessions don't start in namespaces: {}", refusal.why);
            lacking(State::Degraded, "the kernel gives one, and no session uses it", &why, &refusal.fix)
        }
        Err(AskError::Failed(why)) => lacking(State::Absent, "none can be made", &why, &remedy()),
        Err(AskError::NotRun(why)) => {
            let why = format!(
                "no session starts in namespaces ({}), nor could one be made alone: {why}",
                refusal.why
            );
            let fix = format!("{}; or install `unshare` (util-linux), for it to be tried alone", refusal.fix);
            lacking(State::Degraded, UNTRIED, &why, &fix)
        }
    }
}

fn own_namespace(control: &str, kind: &str, trial: &Trial) -> Finding {
    let lacking = |state, detail: &str, why: &str, fix: &str| {
        Finding::lacking(Subject::Machine, control, state, detail, why, fix)
    };
    let here = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    let here = here.as_ref().and_then(|link| link.to_str());
    match (here, trial.namespace(kind)) {
        (Some(here), Some(there)) if here != there => {
            Finding::enforced(Subject::Machine, control, "a session gets one of its own")
        }
        (Some(_), Some(_)) => {
            lacking(State::Absent, "a session gets none", "its block is in this process's own", REPORT)
        }
        _ => {
            let why = "the links in /proc/self/ns can't be compared here and in a session";
            lacking(State::Degraded, "could not be told", why, PROC)
        }
    }
}

/// What to do where namespaces can't be made, as far as the kernel's settings tell.
fn remedy() -> String {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
    let is = |name: &str, value: &str| setting(name).is_some_and(|found| found.trim() == value);
    let fix = if is("user/max_user_namespaces", "0") {
        "`sysctl -w user.max_user_namespaces=15000`"
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "`sysctl -w kernel.unprivileged_userns_clone=1`"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "install AppArmor's profile for bubblewrap (on Ubuntu: `apt-get install apparmor-profiles`, and load \
         bwrap-userns-restrict), or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if in_container() {
        "use the landlock level (`stockade run --sandbox landlock`), or start this container with `--security-opt \
         seccomp=unconfined --security-opt systempaths=unconfined`"
    } else {
        "use the landlock level (`stockade run --sandbox landlock`), or a kernel and a seccomp policy that let programs \
         make namespaces"
    };
    fix.to_owned()
}

pub(super) fn landlock(tried: &Tried) -> Finding {
    const NAME: &str = "landlock";
    const FIX: &str = "use Linux 6.12 or newer with `landlock` in its parameter `lsm=`, and no policy that keeps it from \
         programs; `cat /sys/kernel/security/lsm` tells what is in force";
    let lacking =
        |state, detail: &str, why: &str| Finding::lacking(Subject::Machine, NAME, state, detail, why, FIX);
    let refusal = match &tried.landlock {
        Ok(attempt) => {
            let policy = attempt.policy.sandbox.as_ref();
            let version = policy.and_then(version).unwrap_or("Landlock");
            return match attempt.trial.took_file || attempt.trial.signaled {
                false => {
                    Finding::enforced(Subject::Machine, NAME, format!("{version} holds files and signals"))
                }
                true => lacking(State::Absent, version, "it is in force and does not hold"),
            };
        }
        Err(refusal) => refusal,
    };
    if refusal.untried {
        let Refusal { why, fix, .. } = refusal;
        return Finding::lacking(Subject::Machine, NAME, State::Degraded, UNTRIED, why, fix);
    }
    let inside = tried.namespaces.as_ref().ok().and_then(|attempt| attempt.policy.sandbox.as_ref());
    match tried.landlock_at_best.as_ref().and_then(version).or_else(|| inside.and_then(version)) {
        Some(version) => {
            lacking(State::Degraded, &format!("{version}, which is not enough alone"), &refusal.why)
        }
        None => lacking(State::Absent, "it holds nothing here", &refusal.why),
    }
}

/// As a session tells it: `Landlock 6`.
fn version(policy: &SandboxPolicy) -> Option<&str> {
    let mut by = policy.enforced.iter().flat_map(|control| &control.by);
    by.find(|by| by.starts_with("Landlock")).map(String::as_str)
}

pub(super) fn seccomp(tried: &Tried) -> Finding {
    const NAME: &str = "seccomp";
    let trial = match (tried.held(), &tried.landlock) {
        (None, Err(refusal)) => return unheld(NAME, tried, refusal),
        (Some(held), _) | (None, Ok(held)) => &held.trial,
    };
    let plain = tried.plain_trial();
    let judged = Finding { control: NAME.to_owned(), ..CALLS.judge(Subject::Machine, plain, trial) };
    let filters = |trial: &Trial| trial.status("Seccomp_filters");
    // Already inside of a filter that forbids as much.
    if judged.state == State::Degraded && filters(trial) > plain.and_then(filters) {
        return Finding::enforced(Subject::Machine, NAME, "a block has filters beside this process's own");
    }
    judged
}

/// Where no session starts in a sandbox; `refusal` is that of Landlock and seccomp alone.
fn unheld(control: &str, tried: &Tried, refusal: &Refusal) -> Finding {
    let lacking = |state, detail: &str, fix: &str| {
        let why = format!("no session that it would hold could be tried: {}", refusal.why);
        Finding::lacking(Subject::Machine, control, state, detail, why, fix)
    };
    let best = tried.landlock_at_best.as_ref();
    let is_missing =
        |policy: &SandboxPolicy| policy.degraded.iter().any(|lack| lack.control == CALLS.control);
    match best.is_some_and(is_missing) {
        true => {
            let fix = "use a kernel with CONFIG_SECCOMP_FILTER (`zgrep SECCOMP /proc/config.gz`)";
            lacking(State::Absent, "the kernel has no filters", fix)
        }
        false => lacking(State::Degraded, UNTRIED, &refusal.fix),
    }
}
