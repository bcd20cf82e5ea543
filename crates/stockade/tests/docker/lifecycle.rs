//! A container's life: its name and its owner, its end with its session, staying on for the next one, and the removal
//! of what dead processes left.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command},
    time::Duration,
};

use stockade::{
    CancellationToken, DockerCommandLineCodeExecutorBuilder, Error, Life, RestartableExecutor, Session,
    SessionContainer, WorkspaceMode, prune_session_containers, session_containers,
};
use tempfile::TempDir;

use crate::{
    engine::{builder, container, daemon, docker, gone, image_of, inspect, start, try_docker},
    leftovers::{Label, Name, refusal},
    support::{Mark, eventually, output, sh},
};

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

fn state(container: &str) -> String {
    inspect(container, "{{.State.Status}}")
}

#[tokio::test]
async fn a_container_has_a_name_of_its_own_or_the_one_that_was_asked_for() {
    let Some(builder) = builder() else { return };
    let (unnamed, name) = (start(builder.clone()).await, Name::of_container());
    let named = start(builder.container_name(name.as_str())).await;
    for (session, is_asked_for) in [(&unnamed, false), (&named, true)] {
        let info = session.info().container.as_ref().expect("it runs in a container");
        assert_eq!(inspect(&info.id, "{{.Name}}"), format!("/{}", info.name));
        assert_eq!(info.name == name.as_str(), is_asked_for);
        assert!(is_asked_for || info.name.starts_with("stockade-"), "{}", info.name);
    }
}

#[tokio::test]
async fn a_stopped_session_leaves_no_container_and_no_volume() {
    let Some(builder) = builder() else { return };
    for mode in [WorkspaceMode::Bind, WorkspaceMode::Copy] {
        let session = start(builder.clone().workspace(mode)).await;
        output(&session, sh("(trap '' TERM; sleep 600) & :")).await;
        let id = container(&session);
        let volume =
            inspect(&id, "{{range .Mounts}}{{if eq .Destination \"/workspace\"}}{{.Name}}{{end}}{{end}}");
        assert_eq!(volume.is_empty(), mode == WorkspaceMode::Bind, "{volume}");
        session.stop().await.expect("it stops");
        assert!(!try_docker(&["inspect", &id]).0, "it is gone when `stop` returns");
        assert!(volume.is_empty() || !try_docker(&["volume", "inspect", &volume]).0);
    }
}

#[tokio::test]
async fn a_dropped_session_leaves_no_container() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let blocks = [sh("sleep 600")];
    let token = CancellationToken::new();
    let call = session.execute_code_blocks(&blocks, &token);
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    let id = container(&session);
    drop(session);
    gone(&id).await;
}

#[tokio::test]
async fn a_container_that_is_not_to_be_removed_is_left_stopped() {
    let Some(builder) = builder() else { return };
    let name = Name::of_container();
    let session = start(builder.clone().container_name(name.as_str()).auto_remove(false)).await;
    output(&session, sh("echo kept > /root/file")).await;
    session.stop().await.expect("it stops");
    assert_eq!(
        (state(name.as_str()), inspect(name.as_str(), "{{.State.ExitCode}}")),
        ("exited".into(), "0".into())
    );
    assert!(docker(&["diff", name.as_str()]).contains("A /root/file"));
    // Until this process, whose it is, wants the name again.
    let session = start(builder.container_name(name.as_str())).await;
    assert_eq!(output(&session, sh("ls /root")).await, "");
}

#[tokio::test]
async fn an_executor_whose_container_is_not_to_be_removed_restarts() {
    let Some(builder) = builder() else { return };
    let name = Name::of_container();
    let executor =
        builder.container_name(name.as_str()).auto_remove(false).build().expect("the options are valid");
    let executor = RestartableExecutor::new(executor);
    executor.start().await.expect("it starts");
    executor.restart().await.expect("it starts again");
    executor.stop().await.expect("it stops");
    assert_eq!(state(name.as_str()), "exited");
}

#[tokio::test]
async fn a_start_that_is_dropped_on_its_way_leaves_nothing() {
    let Some(builder) = builder() else { return };
    let label = Label::new();
    let executor = builder.label(Label::NAME, label.value()).build().expect("the options are valid");
    let mut finished = 0;
    for milliseconds in (0..600).step_by(15) {
        let started = tokio::time::timeout(Duration::from_millis(milliseconds), executor.start()).await;
        if let Ok(session) = started {
            finished += 1;
            drop(session.expect("it starts"));
            if finished == 3 {
                break;
            }
        }
    }
    label.gone().await;
    // One last time, for a container may have been on its way when there was none.
    let session = executor.start().await.expect("it starts");
    session.stop().await.expect("it stops");
    assert_eq!(label.containers(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_and_its_container_left_alone() {
    let Some(builder) = builder() else { return };
    let foreign = Name::of_container();
    docker(&["run", "--detach", "--name", foreign.as_str(), &image_of("BUSYBOX"), "sleep", "600"]);
    let error = refusal(builder.clone().container_name(foreign.as_str())).await;
    assert!(error.to_string().contains("not Stockade's"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains(foreign.as_str())), "{:?}", error.hint());
    assert_eq!(state(foreign.as_str()), "running");
    let ours = Name::of_container();
    let session = start(builder.clone().container_name(ours.as_str())).await;
    let executor = builder.container_name(ours.as_str()).build().expect("the options are valid");
    let error = executor.start().await.expect_err("the name is taken");
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    let owner = format!("the process {}, which is alive", std::process::id());
    assert!(error.to_string().contains(&owner), "{error}");
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
    session.stop().await.expect("it stops");
    let next = executor.start().await.expect("the name is free");
    next.stop().await.expect("it stops");
}

/// The labels of a session's container.
fn labels(session: &Session) -> BTreeMap<String, String> {
    let labels = inspect(&container(session), "{{json .Config.Labels}}");
    serde_json::from_str(&labels).expect("they are JSON")
}

/// A process that owns containers, until it is killed.
struct Mortal(Child);

impl Mortal {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("it starts"))
    }

    /// The labels with which a container is this process's.
    fn labels(&self, session: &Session) -> BTreeMap<String, String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it lives");
        let (_, fields) = stat.rsplit_once(')').expect("it has a name");
        let started = fields.split_whitespace().nth(19).expect("it has started");
        let own = [("pid", self.0.id().to_string()), ("started", started.to_owned())];
        let own = own.map(|(name, value)| (format!("stockade.owner.{name}"), value));
        labels(session).into_iter().chain(own).collect()
    }

    /// Dies. Containers that are only created then are swept by the next start, of whatever test.
    fn die(mut self) {
        self.0.kill().expect("it is ours to kill");
        self.0.wait().expect("it has ended");
    }
}

/// Makes a container with these labels by the docker command: `create` or `run --detach`.
fn made(how: &[&str], labels: &BTreeMap<String, String>, command: &[&str]) -> Name {
    let name = Name::of_container();
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    let image = image_of("BUSYBOX");
    let labels = labels.iter().map(String::as_str);
    let arguments =
        how.iter().copied().chain(["--name", name.as_str()]).chain(labels).chain([image.as_str()]);
    docker(&arguments.chain(command.iter().copied()).collect::<Vec<_>>());
    name
}

fn is_there(name: &Name) -> bool {
    try_docker(&["inspect", name.as_str()]).0
}

async fn listed(name: &str) -> Option<SessionContainer> {
    let found = session_containers(daemon().as_deref()).await.expect("the daemon answers");
    found.into_iter().find(|container| container.name == name)
}

#[tokio::test]
async fn a_name_of_a_dead_owner_is_taken_over() {
    let Some(builder) = builder() else { return };
    let (owner, session) = (Mortal::new(), start(builder.clone()).await);
    let left = made(&["run", "--detach"], &owner.labels(&session), &["sleep", "600"]);
    let builder = builder.container_name(left.as_str());
    let executor = builder.build().expect("the options are valid");
    let error = executor.start().await.expect_err("its owner lives");
    assert!(error.to_string().contains("which is alive"), "{error}");
    owner.die();
    let session = executor.start().await.expect("it starts");
    assert_eq!(output(&session, sh("echo mine")).await, "mine\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_was_created_by_a_process_that_died_is_swept_by_the_next_start() {
    let Some(builder) = builder() else { return };
    let (owner, session) = (Mortal::new(), start(builder.clone()).await);
    let (dead, living) = (owner.labels(&session), labels(&session));
    let elsewhere = [("stockade.owner.pid-namespace".to_owned(), "1".to_owned())];
    let elsewhere = dead.clone().into_iter().chain(elsewhere).collect();
    let [dead, living, elsewhere, foreign] =
        [&dead, &living, &elsewhere, &BTreeMap::new()].map(|labels| made(&["create"], labels, &["true"]));
    start(builder.clone()).await;
    assert!(is_there(&dead), "its owner lives");
    owner.die();
    start(builder).await;
    eventually("the sweep", || (!is_there(&dead)).then_some(())).await;
    assert!(is_there(&living) && is_there(&elsewhere) && is_there(&foreign));
}

#[tokio::test]
async fn containers_of_sessions_are_listed_with_what_is_known_of_them() {
    let Some(builder) = builder() else { return };
    let (name, directory) = (Name::of_container(), temporary());
    let session = start(builder.container_name(name.as_str()).work_dir(directory.path())).await;
    let found = listed(name.as_str()).await.expect("it is listed");
    assert_eq!((found.id, found.state.as_str()), (container(&session), "running"));
    assert_eq!((found.owner, found.owner_pid, found.lingers), (Life::Alive, std::process::id(), false));
    assert_eq!(found.work_dir, directory.path().to_str().expect("it is text"));
    let owner = Mortal::new();
    let pid = owner.0.id();
    let left = made(&["create"], &owner.labels(&session), &["true"]);
    let found = listed(left.as_str()).await.expect("it is listed");
    assert_eq!((found.owner, found.owner_pid, found.state.as_str()), (Life::Alive, pid, "created"));
    owner.die();
    // The sweep of another test may be faster than we are.
    assert!(listed(left.as_str()).await.is_none_or(|found| found.owner == Life::Dead));
    let foreign = made(&["create"], &BTreeMap::new(), &["true"]);
    assert_eq!(listed(foreign.as_str()).await, None);
    session.stop().await.expect("it stops");
    assert_eq!(listed(name.as_str()).await, None);
}

#[tokio::test]
async fn pruning_removes_what_the_dead_left_and_nothing_else() {
    let Some(builder) = builder() else { return };
    let (owner, session) = (Mortal::new(), start(builder).await);
    let (dead, living) = (owner.labels(&session), labels(&session));
    let lingers =
        dead.clone().into_iter().chain([("stockade.token".to_owned(), "secret".to_owned())]).collect();
    let run = |labels| made(&["run", "--detach"], labels, &["sleep", "600"]);
    let [runs, waits, foreign] = [&dead, &lingers, &BTreeMap::new()].map(run);
    let ended = made(&["run"], &dead, &["true"]);
    let kept = made(&["run"], &living, &["true"]);
    prune_session_containers(daemon().as_deref()).await.expect("the daemon does it");
    assert!(is_there(&runs) && is_there(&ended), "their owner lives");
    owner.die();
    prune_session_containers(daemon().as_deref()).await.expect("the daemon does it");
    assert!(!is_there(&runs) && !is_there(&ended));
    for (name, left) in [("waits", &waits), ("foreign", &foreign), ("kept", &kept)] {
        assert!(is_there(left), "{name}");
    }
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
}

/// A builder of sessions that go on in one container.
fn lingering(name: &Name, work_dir: &TempDir) -> Option<DockerCommandLineCodeExecutorBuilder> {
    Some(builder()?.container_name(name.as_str()).work_dir(work_dir.path()).stop_container(false))
}

#[tokio::test]
async fn a_container_that_is_not_to_stop_stays_for_the_next_session_of_its_name() {
    let (name, directory) = (Name::of_container(), temporary());
    let Some(builder) = lingering(&name, &directory) else { return };
    let executor = builder.build().expect("the options are valid");
    let mark = Mark::new();
    let mut id = String::new();
    for round in 0..3 {
        let session = executor.start().await.expect("it starts");
        let container = container(&session);
        assert!(id.is_empty() || id == container, "it is the same container");
        id = container;
        let code = "cat /root/log 2>/dev/null | wc -l; echo round >> /root/log; ls tmp_code* >/dev/null; echo x > made";
        assert_eq!(output(&session, sh(code)).await, format!("{round}\n"));
        let blocks = [sh("setsid sleep 600 & :")];
        session.call(&blocks[..]).env(mark.name(), mark.value()).run().await.expect("Stockade does its part");
        mark.count_on_host(1).await;
        match round {
            0 => session.stop().await.expect("it stops"),
            _ => drop(session),
        }
        mark.gone_from_host().await;
        assert_eq!(state(&id), "running");
        assert!(directory.path().join("made").exists());
    }
    let found = listed(name.as_str()).await.expect("it is listed");
    assert!(found.lingers && found.owner == Life::Alive, "{found:?}");
    assert_eq!(docker(&["exec", &id, "cat", "/root/log"]), "round\nround\nround");
}

#[tokio::test]
async fn a_container_that_lingers_can_be_gone_on_with_in_copy_mode() {
    let (name, directory) = (Name::of_container(), temporary());
    let Some(builder) = lingering(&name, &directory) else { return };
    let executor = builder.workspace(WorkspaceMode::Copy).build().expect("the options are valid");
    let first = executor.start().await.expect("it starts");
    output(&first, sh("echo one > made")).await;
    let id = container(&first);
    first.stop().await.expect("it stops");
    fs::write(directory.path().join("given"), "given\n").expect("it is written");
    let second = executor.start().await.expect("it starts");
    assert_eq!(container(&second), id);
    assert_eq!(output(&second, sh("cat made given; echo two > more")).await, "one\ngiven\n");
    assert_eq!(fs::read(directory.path().join("more")).expect("it came"), b"two\n");
}

#[tokio::test]
async fn a_container_that_lingers_has_one_session_at_a_time() {
    let (name, directory) = (Name::of_container(), temporary());
    let Some(builder) = lingering(&name, &directory) else { return };
    let executor = builder.build().expect("the options are valid");
    let first = executor.start().await.expect("it starts");
    let error = executor.start().await.expect_err("it has a session");
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    assert!(error.to_string().contains(name.as_str()), "{error}");
    assert_eq!(output(&first, sh("echo goes on")).await, "goes on\n");
    let id = container(&first);
    first.stop().await.expect("it stops");
    let second = executor.start().await.expect("it is free");
    assert_eq!(container(&second), id);
    assert_eq!(output(&second, sh("echo me too")).await, "me too\n");
}

#[tokio::test]
async fn a_container_that_lingers_is_no_other_sessions() {
    let (name, directory, other) = (Name::of_container(), temporary(), temporary());
    let Some(lingering) = lingering(&name, &directory) else { return };
    start(lingering.clone()).await.stop().await.expect("it stops");
    let elsewhere = refusal(lingering.clone().work_dir(other.path())).await;
    assert!(elsewhere.to_string().contains("its work_dir is"), "{elsewhere}");
    let unasked = refusal(lingering.clone().stop_container(true)).await;
    assert!(unasked.to_string().contains("set stop_container to false"), "{unasked}");
    assert_eq!(state(name.as_str()), "running");
    let again = start(lingering).await;
    assert_eq!(output(&again, sh("echo goes on")).await, "goes on\n");
}

#[tokio::test]
async fn an_executor_can_be_restarted() {
    let Some(builder) = builder() else { return };
    let (name, directory) = (Name::of_container(), temporary());
    let builder = builder.container_name(name.as_str()).work_dir(directory.path());
    let executor = RestartableExecutor::new(builder.build().expect("the options are valid"));
    let run = async |code: &str| {
        let result = executor.execute_code_blocks(&[sh(code)], &CancellationToken::new()).await;
        result.expect("Stockade does its part").output
    };
    executor.start().await.expect("it starts");
    let first = container(&executor.session().await.expect("it has started"));
    assert_eq!(run("echo kept > made; echo lost > /root/made").await, "");
    executor.restart().await.expect("it restarts");
    let second = container(&executor.session().await.expect("it has started"));
    assert!(first != second && !try_docker(&["inspect", &first]).0);
    assert_eq!(run("cat made /root/made 2>/dev/null; echo new").await, "kept\nnew\n");
    // Also when its container was taken from it.
    docker(&["rm", "--force", &second]);
    executor.restart().await.expect("it restarts");
    assert_eq!(run("cat made").await, "kept\n");
    executor.stop().await.expect("it stops");
    assert!(!try_docker(&["inspect", name.as_str()]).0);
}
