//! Processes that the runner may not end: it says which, and goes on.

use rustix::process::{Pid, Signal, kill_process};
use stockade_runner::outcome::Status;

use crate::harness::{Runner, Setup, exited, needs::Need, sh, soon_out_of_time};

/// A runner that is root and may signal nobody else's processes.
const WITHOUT_KILL: [&str; 2] = ["setpriv", "--bounding-set=-kill"];

#[test]
fn a_process_that_can_not_be_ended_is_told_of_and_holds_nothing_up() {
    if !Need::Capabilities.is_there() {
        return;
    }
    let mut runner = Setup::new().through(WITHOUT_KILL).start();
    let code = "echo $$; sleep 987 & exec setpriv --reuid=65534 --clear-groups sleep 987";
    let ran = runner.ran(soon_out_of_time(sh(code)));
    let pid: u32 = ran.stdout().trim().parse().expect("a pid");
    assert_eq!((ran.status(), ran.outcome().survivors.as_slice()), (Status::TimedOut, &[pid][..]));
    let notice = format!("; these processes could not be ended: [{pid}]");
    assert!(ran.notice().starts_with("Timeout: ") && ran.notice().ends_with(&notice), "{}", ran.notice());
    assert_eq!(runner.survivors(), [format!("{pid}: sleep 987")]);
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
    assert_eq!(runner.stop(), [pid]);
    let pid = Pid::from_raw(pid as i32).expect("a pid is not 0");
    kill_process(pid, Signal::KILL).expect("the test may");
}

#[test]
fn a_process_that_can_be_ended_is_not_told_of() {
    if !Need::Capabilities.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(sh("exec setpriv --reuid=65534 --clear-groups sleep 987")));
    assert_eq!((ran.status(), ran.outcome().survivors.as_slice()), (Status::TimedOut, &[][..]));
}
