//! Line 5: nothing survives a timeout, a cancel, the end of the session, or the death of the host program. Each
//! case counts the processes while they run, too: none left means nothing where none were there.

use std::time::Duration;

use stockade::{CancellationToken, Session, Status};

use crate::{
    harness::{Place, start},
    support::{
        Mark, Running,
        mark::{ESCAPED, escapes},
        python,
        respawn::{self, Respawned},
    },
};

every_place!(
    nothing_survives_a_timeout,
    nothing_survives_a_cancel,
    nothing_survives_stop,
    nothing_survives_a_session_that_is_dropped,
    nothing_survives_the_death_of_the_host_program,
    nothing_survives_of_processes_that_replace_themselves,
);

const LINGER: &str = "ignore_term()\nwhile True: time.sleep(600)";

/// Starts a block that tries every way out and goes on, and waits until it has.
async fn run_escapes(session: &Session, mark: &Mark, token: &CancellationToken) -> Running {
    let call = session.call(vec![escapes(LINGER)]).env(mark.name(), mark.value()).cancellation_token(token);
    let running = Running::until(call.timeout(Duration::from_secs(600)), "ready").await;
    mark.count_inside(session, ESCAPED + 1).await;
    running
}

/// Runs a block that tries every way out and ends.
async fn leave_escapes(session: &Session, mark: &Mark) {
    let call = session.call(vec![escapes("")]).env(mark.name(), mark.value());
    assert_eq!(call.run().await.expect("it runs").exit_code, 0);
    mark.count_inside(session, ESCAPED).await;
}

async fn assert_gone(place: &dyn Place, mark: &Mark, session: &Session) {
    assert_eq!(mark.seen_inside(session).await, Vec::<String>::new());
    if place.offers().processes_on_host {
        assert_eq!(mark.seen_on_host(), Vec::<String>::new());
    }
}

async fn nothing_survives_a_timeout(place: &dyn Place) {
    let (session, mark) = (start(place).await, Mark::new());
    let call = session.call(vec![escapes(LINGER)]).env(mark.name(), mark.value());
    let running = Running::until(call.timeout(Duration::from_secs(10)), "ready").await;
    mark.count_inside(&session, ESCAPED + 1).await;
    let result = running.result().await;
    assert_eq!(result.blocks[0].status, Status::TimedOut, "{}", result.output);
    assert_gone(place, &mark, &session).await;
}

async fn nothing_survives_a_cancel(place: &dyn Place) {
    let (session, mark, token) = (start(place).await, Mark::new(), CancellationToken::new());
    let running = run_escapes(&session, &mark, &token).await;
    token.cancel();
    let result = running.result().await;
    assert_eq!(result.blocks[0].status, Status::Cancelled, "{}", result.output);
    assert_gone(place, &mark, &session).await;
}

async fn nothing_survives_stop(place: &dyn Place) {
    let (session, mark) = (start(place).await, Mark::new());
    leave_escapes(&session, &mark).await;
    let running = Mark::new();
    let under_way = run_escapes(&session, &running, &CancellationToken::new()).await;
    session.stop().await.expect("everything could be ended");
    if place.offers().processes_on_host {
        assert_eq!(mark.seen_on_host(), Vec::<String>::new());
        assert_eq!(running.seen_on_host(), Vec::<String>::new());
    }
    assert_eq!(under_way.result().await.blocks[0].status, Status::Cancelled);
}

async fn nothing_survives_a_session_that_is_dropped(place: &dyn Place) {
    let (session, mark) = (start(place).await, Mark::new());
    leave_escapes(&session, &mark).await;
    let running = Mark::new();
    let _under_way = run_escapes(&session, &running, &CancellationToken::new()).await;
    drop(session);
    if place.offers().processes_on_host {
        mark.gone_from_host().await;
        running.gone_from_host().await;
    }
}

async fn nothing_survives_the_death_of_the_host_program(place: &dyn Place) {
    if respawn::is_respawned() {
        return be_killed(place).await;
    }
    if !place.offers().processes_on_host {
        return;
    }
    let test = format!("cases::survivors::{}::nothing_survives_the_death_of_the_host_program", place.name());
    let mut host = Respawned::new(&test);
    let (left, running) = (Mark::of(&host.hear()), Mark::of(&host.hear()));
    left.count_on_host(ESCAPED).await;
    running.count_on_host(ESCAPED + 1).await;
    host.kill();
    left.gone_from_host().await;
    running.gone_from_host().await;
}

/// The host program: runs what is to be left behind, says so, and waits for its end.
async fn be_killed(place: &dyn Place) {
    let (session, left, running) = (start(place).await, Mark::new(), Mark::new());
    leave_escapes(&session, &left).await;
    let under_way = run_escapes(&session, &running, &CancellationToken::new()).await;
    respawn::say(left.value());
    respawn::say(running.value());
    under_way.result().await;
}

/// Processes that replace themselves as fast as they can. They end by themselves should their file be gone.
const FLEEING: &str = r"
import os, signal, time
for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
    signal.signal(number, signal.SIG_IGN)
open('flee', 'w').close()
for chain in range(3):
    if os.fork() == 0:
        while os.path.exists('flee'):
            if os.fork():
                os._exit(0)
            os.setsid()
        os._exit(0)
print('ready', flush=True)
while True: time.sleep(600)
";

async fn nothing_survives_of_processes_that_replace_themselves(place: &dyn Place) {
    let (session, mark, token) = (start(place).await, Mark::new(), CancellationToken::new());
    let call = session.call(vec![python(FLEEING)]).env(mark.name(), mark.value()).cancellation_token(&token);
    let running = Running::until(call, "ready").await;
    token.cancel();
    assert_eq!(running.result().await.blocks[0].status, Status::Cancelled);
    assert_gone(place, &mark, &session).await;
}
