//! Verdicts: what counts as a denial, and what does not.

use super::{
    kernel::{kernel_itself, landlock, more_than_bubblewrap, seccomp},
    *,
};
use crate::Policy;

/// Of a block that nothing holds.
fn free() -> Trial {
    let said = "own.file=mine\nown.signal=sent\nown.mode=made\nsetuid=made\nclient=bash\n";
    Trial { took_file: true, connected: true, signaled: true, ..Trial::read(said) }
}

/// Of one that is held as it should be.
fn held() -> Trial {
    Trial::read("own.file=mine\nown.signal=sent\nown.mode=made\nclient=bash\nNoNewPrivs=1\nCapEff=0\n")
}

fn states(plain: Option<&Trial>, trial: &Trial) -> Vec<State> {
    let denials = [FILES, NETWORK, PROCESSES, CALLS];
    denials.iter().map(|denial| denial.judge(Subject::Landlock, plain, trial).state).collect()
}

#[test]
fn what_can_be_done_outside_and_not_inside_is_enforced() {
    assert_eq!(states(Some(&free()), &held()), [State::Enforced; 4]);
}

#[test]
fn what_can_be_done_inside_is_absent_whatever_else_was_tried() {
    assert_eq!(states(Some(&free()), &free()), [State::Absent; 4]);
    assert_eq!(states(None, &free()), [State::Absent; 4]);
}

#[test]
fn what_could_not_be_done_anywhere_tells_nothing() {
    assert_eq!(states(Some(&held()), &held()), [State::Degraded; 4]);
    assert_eq!(states(None, &held()), [State::Degraded; 4]);
    let dead = Trial::default();
    assert_eq!(states(Some(&free()), &dead), [State::Degraded; 4], "a block that could do nothing at all");
}

#[test]
fn privileges_are_none_now_and_none_later() {
    let state = |said: &str| privileges(Subject::Landlock, &Trial::read(said)).state;
    assert_eq!(state("NoNewPrivs=1\nCapEff=0000000000000000\n"), State::Enforced);
    assert_eq!(state("NoNewPrivs=1\nCapEff=0000000000000001\n"), State::Absent);
    assert_eq!(state("NoNewPrivs=0\nCapEff=0000000000000000\n"), State::Absent);
    assert_eq!(state(""), State::Degraded);
}

fn tried(namespaces: bool, landlock: bool) -> Tried {
    let attempt = |starts: bool, trial: Trial| match starts {
        true => {
            Ok(Attempt { start: Duration::ZERO, block: Duration::ZERO, policy: Policy::default(), trial })
        }
        false => Err(Refusal::new("why", "fix")),
    };
    Tried {
        plain: attempt(true, free()),
        namespaces: attempt(namespaces, held()),
        landlock: attempt(landlock, held()),
        landlock_at_best: None,
    }
}

#[test]
fn the_default_sandbox_is_the_strongest_that_starts() {
    let state = |namespaces, landlock| sandbox(&tried(namespaces, landlock)).state;
    assert_eq!(state(true, true), State::Enforced);
    assert_eq!(state(true, false), State::Enforced);
    assert_eq!(state(false, true), State::Degraded);
    assert_eq!(state(false, false), State::Absent);
}

#[test]
fn a_kernel_without_landlock_or_seccomp_is_told_of() {
    let kernel = |tried: &Tried| kernel_itself(&landlock(tried), &seccomp(tried)).state;
    assert_eq!(kernel(&tried(true, true)), State::Enforced);
    assert_eq!(landlock(&tried(true, false)).state, State::Absent);
    assert_eq!(seccomp(&tried(true, false)).state, State::Enforced);
    assert_eq!(seccomp(&tried(false, false)).state, State::Degraded, "nothing tells");
    assert_eq!(kernel(&tried(true, false)), State::Degraded);
}

#[tokio::test]
async fn a_session_that_could_not_be_tried_in_is_no_fault_of_the_kernels() {
    let mut tried = tried(false, false);
    let untried = |refusal| Refusal { untried: true, ..refusal };
    tried.namespaces = tried.namespaces.map_err(untried);
    tried.landlock = tried.landlock.map_err(untried);
    let findings = [kernel(&mut tried).await, sessions(&tried), findings(&tried)].concat();
    let absent: Vec<&Finding> = findings.iter().filter(|finding| finding.state == State::Absent).collect();
    assert_eq!(absent, Vec::<&Finding>::new());
    let blamed = findings.iter().filter(|finding| finding.fix.as_deref() == Some("fix")).count();
    assert_eq!(
        blamed, 10,
        "the kernel, namespaces, Landlock, seccomp, the sandbox and both levels: {findings:?}"
    );
}

#[test]
fn a_filter_within_another_is_known_by_the_number_of_filters() {
    let counted = |said: &str| Trial::read(&format!("own.mode=made\n{said}"));
    let state = |plain: &str, trial: &str| {
        let mut tried = tried(true, true);
        tried.plain = tried.plain.map(|attempt| Attempt { trial: counted(plain), ..attempt });
        tried.landlock = tried.landlock.map(|attempt| Attempt { trial: counted(trial), ..attempt });
        seccomp(&tried).state
    };
    assert_eq!(state("Seccomp_filters=1\n", "Seccomp_filters=3\n"), State::Enforced);
    assert_eq!(state("Seccomp_filters=1\n", "Seccomp_filters=1\n"), State::Degraded);
}

#[test]
fn a_level_that_is_refused_says_why_and_what_to_do() {
    let refused = tried(false, false);
    let findings = level(Subject::Namespaces, &refused.namespaces, refused.plain_trial());
    let [start] = &findings[..] else { panic!("{findings:?}") };
    let said = (start.state, start.why.as_deref(), start.fix.as_deref());
    assert_eq!(said, (State::Absent, Some("why"), Some("fix")));
}

#[test]
fn bubblewrap_is_no_fix_where_no_namespaces_can_be_made() {
    let mut refusal = Refusal::new("there is no bubblewrap", "install it");
    let given = Finding::enforced(Subject::Machine, "user namespaces", "detail");
    more_than_bubblewrap(&mut refusal, std::slice::from_ref(&given));
    assert_eq!(refusal.fix, "install it");
    let denied =
        Finding::lacking(Subject::Machine, "pid namespaces", State::Absent, "detail", "denied", "allow");
    more_than_bubblewrap(&mut refusal, &[given, denied]);
    assert_eq!(refusal.why, "there is no bubblewrap, and pid namespaces can't be made: denied");
    assert_eq!(refusal.fix, "allow; after that, install it");
}
