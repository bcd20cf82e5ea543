//! A container with the defaults, whatever they are: its start, and what a block in it can do. Owns those verdicts. It
//! believes what the kernel tells the block, not what the daemon was asked for.

use std::time::Duration;

use super::super::{
    Finding, State, Subject,
    levels::{self, FILES, NETWORK, PROCESSES},
    trial::{self, Attempt, Bait, Refusal, Trial},
};
use crate::{DockerCommandLineCodeExecutor, Pull};

/// The control that says whether a container starts and runs blocks.
pub(crate) const CONTAINER: &str = "container";

/// How long a container may take to start.
const START: Duration = Duration::from_secs(6);

/// What takes away what the defaults leave.
const LOCKDOWN: &str = "`stockade run --docker --lockdown`";

/// Starts one and tries in it.
pub(super) async fn start(address: &str, image: &str) -> Result<Attempt, Refusal> {
    let build = |bait: &Bait| {
        let builder = DockerCommandLineCodeExecutor::builder().daemon(address).image(image).pull(Pull::Never);
        bait.variables().into_iter().fold(builder, |builder, (name, value)| builder.env(name, value)).build()
    };
    let fix = format!("see what `docker run --rm {image} sh -c true` says");
    trial::attempt(build, START).await.map_err(|refusal| refusal.in_container(&fix))
}

fn pull(image: &str) -> String {
    format!("`docker pull {image}`")
}

/// Whether the daemon has it.
pub(super) fn image(image: &str, has: &Result<bool, Refusal>) -> Finding {
    const NAME: &str = "image";
    let lacking = |state, detail: String, why: &str, fix: &str| {
        Finding::lacking(Subject::Docker, NAME, state, detail, why, fix)
    };
    match has {
        Ok(true) => Finding::enforced(Subject::Docker, NAME, format!("{image} is there")),
        Ok(false) => {
            let why = "it is pulled by the first session that needs it, which takes a while";
            lacking(State::Degraded, format!("{image} is not there"), why, &pull(image))
        }
        Err(Refusal { why, fix, .. }) => {
            lacking(State::Absent, format!("{image} can't be looked for"), why, fix)
        }
    }
}

/// Of a container, where one was started; `plain` is what a block can do that nothing holds.
pub(super) fn findings(
    image: &str,
    started: Option<&Result<Attempt, Refusal>>,
    plain: Option<&Trial>,
) -> Vec<Finding> {
    let lacking = |state, detail: &str, why: &str, fix: &str| {
        vec![Finding::lacking(Subject::Docker, CONTAINER, state, detail, why, fix)]
    };
    match started {
        None => {
            let why = format!("{image} is not there, and nothing is pulled to try it");
            lacking(State::Degraded, "none was started", &why, &pull(image))
        }
        Some(Err(Refusal { why, fix, untried: true })) => {
            lacking(State::Degraded, "one starts, and could not be tried in", why, fix)
        }
        Some(Err(Refusal { why, fix, .. })) => lacking(State::Absent, "none can be started", why, fix),
        Some(Ok(attempt)) => {
            let trial = &attempt.trial;
            let start = Finding::enforced(Subject::Docker, CONTAINER, levels::speed(attempt));
            let denials = [FILES, PROCESSES].map(|denial| denial.judge(Subject::Docker, plain, trial));
            let own = [network(plain, trial), new_privileges(trial), capabilities(trial), calls(trial)];
            [start].into_iter().chain(denials).chain(own).collect()
        }
    }
}

/// This host's ports, and everywhere else.
fn network(plain: Option<&Trial>, trial: &Trial) -> Finding {
    let judged = NETWORK.judge(Subject::Docker, plain, trial);
    match trial.default_route() {
        Some(interface) if judged.state != State::Absent => Finding::lacking(
            Subject::Docker,
            NETWORK.control,
            State::Degraded,
            format!("a block has a route to everywhere, by {interface}"),
            "a container has the daemon's default network unless another is asked for",
            "`stockade run --docker --network none`",
        ),
        _ => judged,
    }
}

fn untold(control: &str) -> Finding {
    let why = "the block could not read /proc/self/status";
    let fix = "use an image that hides no /proc and has a shell (`stockade run --image`)";
    Finding::lacking(Subject::Docker, control, State::Degraded, "could not be told", why, fix)
}

fn new_privileges(trial: &Trial) -> Finding {
    const NAME: &str = "new privileges";
    match trial.status("NoNewPrivs") {
        Some(1) => Finding::enforced(Subject::Docker, NAME, "a block gets none by a setuid program"),
        Some(_) => Finding::lacking(
            Subject::Docker,
            NAME,
            State::Absent,
            "a setuid program gives a block its owner's privileges",
            "the daemon did not set no_new_privs, which it was asked for",
            "use a daemon that knows `--security-opt no-new-privileges`",
        ),
        None => untold(NAME),
    }
}

fn capabilities(trial: &Trial) -> Finding {
    const NAME: &str = "capabilities";
    match trial.status("CapEff") {
        Some(0) => Finding::enforced(Subject::Docker, NAME, "a block has none"),
        Some(set) => Finding::lacking(
            Subject::Docker,
            NAME,
            State::Degraded,
            format!("a block has {} of them ({set:#x})", set.count_ones()),
            "the container keeps those that pip and apt-get need",
            LOCKDOWN,
        ),
        None => untold(NAME),
    }
}

fn calls(trial: &Trial) -> Finding {
    const NAME: &str = "system calls";
    match trial.status("Seccomp") {
        Some(2) => Finding::enforced(Subject::Docker, NAME, "a filter is in force on a block (seccomp)"),
        Some(_) => Finding::lacking(
            Subject::Docker,
            NAME,
            State::Absent,
            "no filter is in force on a block",
            "the daemon has no seccomp profile, or its kernel no filters",
            "take `seccomp-profile` out of the daemon's configuration and `systemctl restart docker`, on a kernel with \
             CONFIG_SECCOMP_FILTER",
        ),
        None => untold(NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(said: &str) -> Trial {
        Trial::read(said)
    }

    #[test]
    fn the_kernel_tells_what_a_block_in_a_container_has() {
        let open = trial("NoNewPrivs=0\nCapEff=00000000a80425fb\nSeccomp=0\n");
        let closed = trial("NoNewPrivs=1\nCapEff=0000000000000000\nSeccomp=2\n");
        let states =
            |trial: &Trial| [new_privileges(trial), capabilities(trial), calls(trial)].map(|f| f.state);
        assert_eq!(states(&open), [State::Absent, State::Degraded, State::Absent]);
        assert_eq!(states(&closed), [State::Enforced; 3]);
        assert_eq!(states(&Trial::default()), [State::Degraded; 3]);
    }

    #[test]
    fn a_route_to_everywhere_is_no_closed_network() {
        let plain = Trial { connected: true, ..Trial::default() };
        let state = |trial: &Trial| network(Some(&plain), trial).state;
        assert_eq!(state(&trial("client=bash\n")), State::Enforced);
        assert_eq!(state(&trial("client=bash\nroute=eth0\n")), State::Degraded);
        let connected = Trial { connected: true, ..trial("client=bash\nroute=eth0\n") };
        assert_eq!(state(&connected), State::Absent);
    }

    #[test]
    fn an_image_that_is_not_there_is_not_pulled_but_told_of() {
        let [container] = &findings("some:image", None, None)[..] else { panic!("there is one") };
        assert_eq!(
            (container.state, container.fix.as_deref()),
            (State::Degraded, Some("`docker pull some:image`"))
        );
        assert_eq!(image("some:image", &Ok(false)).state, State::Degraded);
        assert_eq!(image("some:image", &Ok(true)).state, State::Enforced);
    }
}
