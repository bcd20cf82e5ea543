//! Blocks in containers, and the commands that look after these: `ps` and `prune`.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};

use crate::{
    cancel::signal,
    engine::{Engine, name},
    support::{Place, assert_page, wait_for, wait_for_end},
};

/// The one of this name in a list of containers.
fn found<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array().expect("a list").iter().find(|container| container["name"] == name)
}

/// Who prunes removes what other tests have left, and one of them is to see that itself.
fn alone_in_pruning() -> MutexGuard<'static, ()> {
    static PRUNING: Mutex<()> = Mutex::new(());
    PRUNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prune(engine: &Engine) -> Value {
    let _alone = alone_in_pruning();
    engine.json("prune")
}

#[test]
fn block_runs_in_a_container_without_a_warning() {
    let Some(engine) = Engine::find() else { return };
    let ended = engine.ran(&Place::new(), &["-l", "sh", "-c", "pwd; echo err >&2; exit 7"]);
    assert_page!(ended, @"
    status: Some(7)
    --- stdout
    /workspace
    --- stderr
    err
    exit code 7 after [time]
    ");
}

#[test]
fn example_runs_in_a_container() {
    let Some(engine) = Engine::find() else { return };
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello.md");
    let ended = engine.ran(&Place::new(), &[example]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stdout.ends_with("Hello, Perl! The squares add up to 55.\n"), "{ended}");
}

#[test]
fn result_tells_of_the_container() {
    let Some(engine) = Engine::find() else { return };
    let name = name();
    let ended = engine.ran(&Place::new(), &["--json", "--name", &name, "-l", "python", "-c", "print(6 * 7)"]);
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(0)), "{ended}");
    let result = ended.json();
    assert_eq!(result["output"], "42\n");
    let session = &result["session"];
    let id = session["container"]["id"].as_str().expect("a container has an id");
    assert_eq!(id.len(), 64);
    let container = json!({
        "id": id, "name": name, "image": engine.image, "daemon": engine.host, "workspace": "bind",
    });
    let dropped = ["NET_RAW", "MKNOD", "AUDIT_WRITE", "SYS_CHROOT", "SETFCAP", "SETPCAP"];
    let policy = json!({
        "no_new_privileges": true, "network": "default", "read_only": false,
        "capabilities": {"dropped": dropped, "added": []},
        "pids_limit": 4096, "memory": null, "cpus": null, "user": "0:0",
    });
    assert_eq!(*session, json!({"executor": "docker", "policy": policy, "container": container}));
}

#[test]
fn lockdown_denies_all_that_a_block_can_do_without_and_the_result_says_so() {
    let Some(engine) = Engine::find() else { return };
    let code = "id -u; ls /sys/class/net; touch /etc/made 2>/dev/null || echo shut; touch $HOME/made made && echo open";
    let args = ["--lockdown", "--cpus", "1", "-m", "128m", "--json", "-l", "sh", "-c", code];
    let ended = engine.ran(&Place::new(), &args);
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(0)), "{ended}");
    let result = ended.json();
    assert_eq!(result["output"], "65534\nlo\nshut\nopen\n");
    let policy = json!({
        "no_new_privileges": true, "network": "none", "read_only": true,
        "capabilities": {"dropped": ["ALL"], "added": []},
        "pids_limit": 256, "memory": 128 << 20, "cpus": 1.0, "user": "65534:65534",
    });
    assert_eq!(result["session"]["policy"], policy);
}

#[test]
fn socket_of_a_daemon_is_warned_of_and_refused_under_lockdown() {
    let Some(engine) = Engine::find() else { return };
    let socket = engine.host.strip_prefix("unix://").expect("the tests' daemon is on this host");
    let volume = format!("{socket}:/mnt/socket:ro");
    let args = ["-v", &volume, "-l", "sh", "-c", "echo ran"];
    let ended = engine.ran(&Place::new(), &args);
    assert_eq!((ended.stdout.as_str(), ended.status), ("ran\n", Some(0)), "{ended}");
    let warning =
        "is the socket of a daemon that starts containers: code that can use it is root on that host\n";
    assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains(warning), "{ended}");
    let ended = engine.ran(&Place::new(), &[&["--json"], &args[..]].concat());
    assert!(ended.json()["session"]["policy"]["warnings"][0].is_string(), "{ended}");
    let ended = engine.ran(&Place::new(), &[&["--lockdown"], &args[..]].concat());
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(70)), "{ended}");
    assert!(ended.stderr.contains("volume contradicts lockdown: "), "{ended}");
}

#[test]
fn processes_without_a_limit_are_had_by_asking() {
    let Some(engine) = Engine::find() else { return };
    for (limit, expected) in [("0", Value::Null), ("-1", Value::Null), ("64", json!(64))] {
        let ended = engine.ran(&Place::new(), &["--pids-limit", limit, "--json", "-l", "sh", "-c", "true"]);
        assert_eq!(ended.json()["session"]["policy"]["pids_limit"], expected, "{ended}");
    }
}

#[test]
fn file_of_a_block_belongs_to_the_owner_of_the_work_dir() {
    let Some(engine) = Engine::find() else { return };
    let place = Place::new();
    if geteuid().is_root() {
        chown(place.path(), Some(4242), Some(4343)).expect("root may");
    }
    let ended = engine.ran(&place, &["-w", ".", "-l", "sh", "-c", "id -u; echo made > made.txt"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("0\n", Some(0)), "{ended}");
    let owner = fs::metadata(place.path()).expect("it is there");
    let made = fs::metadata(place.path().join("made.txt")).expect("the block made it");
    assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()));
}

#[test]
fn flags_shape_the_container() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let flags = "-m 64m --cpus 1.5 --pids-limit 99 --network none --read-only --cap-add SYS_NICE --cap-drop NET_RAW \
                 --security-opt no-new-privileges --ulimit nofile=100:200 --shm-size 1m --add-host db:10.0.0.5 \
                 --label team=blue -v ./data:/data:ro";
    fs::create_dir(place.path().join("data")).expect("it can be made");
    let child = engine.started(&place, &name, &flags.split_whitespace().collect::<Vec<_>>());
    let container = engine.inspect(&name).expect("it runs");
    signal(&child, Signal::INT);
    wait_for_end(child);
    let host = &container["HostConfig"];
    let expected = json!({
        "Memory": 64 << 20, "NanoCpus": 1_500_000_000, "PidsLimit": 99, "NetworkMode": "none", "ShmSize": 1 << 20,
        "ReadonlyRootfs": true, "SecurityOpt": ["no-new-privileges"], "ExtraHosts": ["db:10.0.0.5"],
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
    });
    for (option, value) in expected.as_object().expect("it is one") {
        assert_eq!(host[option], *value, "{option}");
    }
    assert!(host["CapAdd"][0].as_str().is_some_and(|name| name.ends_with("SYS_NICE")), "{host}");
    let dropped = host["CapDrop"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert_eq!(dropped.filter(|name| name.ends_with("NET_RAW")).count(), 1, "{host}");
    assert_eq!(container["Config"]["Labels"]["team"], "blue");
    let mounts = container["Mounts"].as_array().expect("a list");
    let data = mounts.iter().find(|mount| mount["Destination"] == "/data").expect("it is mounted");
    let source = place.path().join("data").canonicalize().expect("it is there");
    assert_eq!((data["Source"].as_str(), &data["RW"]), (source.to_str(), &Value::Bool(false)));
}

#[test]
fn block_runs_as_the_user_and_sees_the_variables_that_were_given() {
    let Some(engine) = Engine::find() else { return };
    let args = ["--user", "1234:4321", "-e", "SHOWN=yes", "-l", "sh", "-c", "id -u; id -g; echo $SHOWN"];
    let ended = engine.ran(&Place::new(), &args);
    assert_eq!((ended.stdout.as_str(), ended.status), ("1234\n4321\nyes\n", Some(0)), "{ended}");
}

#[test]
fn container_is_gone_with_its_run() {
    let Some(engine) = Engine::find() else { return };
    let name = name();
    let ended = engine.ran(&Place::new(), &["--name", &name, "-l", "sh", "-c", "sleep 60 & true"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    engine.wait_until_gone(&name);
}

#[test]
fn container_is_gone_with_a_command_that_was_killed() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let child = engine.started(&place, &name, &[]);
    signal(&child, Signal::KILL);
    assert_eq!(wait_for_end(child).status, None);
    engine.wait_until_gone(&name);
}

#[test]
fn interrupt_cancels_the_run_and_its_container() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let child = engine.started(&place, &name, &[]);
    signal(&child, Signal::INT);
    let ended = wait_for_end(child);
    assert_eq!((ended.stdout.as_str(), ended.status), ("begun\n", Some(125)), "{ended}");
    engine.wait_until_gone(&name);
}

#[test]
fn interrupt_during_the_start_leaves_no_container() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let args = ["--name", &name, "--init-command", "sleep 60", "-l", "sh", "-c", "echo ran"];
    let child = engine.run(&place, &args).spawn().expect("the command starts");
    wait_for("the container", || engine.inspect(&name));
    signal(&child, Signal::INT);
    let ended = wait_for_end(child);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(125)), "{ended}");
    assert!(ended.stderr.contains("cancelled before the first block was run"), "{ended}");
    engine.wait_until_gone(&name);
}

#[test]
fn container_of_a_living_run_is_listed_and_not_pruned() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let child = engine.started(&place, &name, &[]);
    let listed = engine.json("ps");
    let pruned = prune(&engine);
    let is_there = engine.inspect(&name).is_some();
    let pid = child.id();
    signal(&child, Signal::INT);
    wait_for_end(child);
    let container = found(&listed, &name).expect("it is listed");
    assert_eq!((&container["owner"], &container["owner_pid"]), (&json!("alive"), &json!(pid)));
    assert_eq!(container["state"], "running");
    let left = found(&pruned["left"], &name).expect("it is left");
    assert_eq!(left["why"], format!("its owner, process {pid}, is alive"));
    assert!(found(&pruned["removed"], &name).is_none() && is_there);
}

#[test]
fn containers_are_a_table_for_people() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let child = engine.started(&place, &name, &[]);
    let listed = place.stockade(["ps", "--docker-host", &engine.host]);
    signal(&child, Signal::INT);
    wait_for_end(child);
    assert_eq!(listed.status, Some(0), "{listed}");
    assert!(listed.stdout.starts_with("NAME "), "{listed}");
    let row = listed.stdout.lines().find(|line| line.starts_with(&name)).expect("it is listed");
    assert!(row.contains(" running ") && row.contains(" alive ") && row.contains(" ago "), "{row}");
    let work_dir = place.path().canonicalize().expect("it is there");
    assert!(row.ends_with(work_dir.to_str().expect("it is UTF-8")), "{row}");
}

#[test]
fn container_that_a_run_left_behind_is_pruned() {
    let Some(engine) = Engine::find() else { return };
    let (name, _alone) = (name(), alone_in_pruning());
    let ended = engine.ran(&Place::new(), &["--no-rm", "--name", &name, "-l", "sh", "-c", "true"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stderr.contains(&format!("note: the container {name} stays")), "{ended}");
    let left = wait_for("the end of the container", || {
        engine.inspect(&name).filter(|container| container["State"]["Running"] == false)
    });
    assert_eq!(left["State"]["Status"], "exited");
    let pruned = engine.json("prune");
    assert!(found(&pruned["removed"], &name).is_some(), "{pruned}");
    engine.wait_until_gone(&name);
}

#[test]
fn container_that_is_kept_is_gone_on_with() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let run = |code: &str| {
        let args = ["--keep-container", "--name", &name, "-w", ".", "-l", "sh", "-c", code];
        engine.ran(&place, &args)
    };
    let first = run("echo installed > /opt/state; echo $$");
    let between = engine.inspect(&name);
    let pruned = prune(&engine);
    let second = run("cat /opt/state");
    let after = engine.inspect(&name);
    if after.is_some() {
        engine.remove(&name);
    }
    assert_eq!(first.status, Some(0), "{first}");
    assert!(first.stderr.contains(&format!("`docker rm -f {name}` removes it")), "{first}");
    let id = |container: Option<Value>| container.map(|container| container["Id"].clone());
    let (between, after) = (id(between), id(after));
    assert!(between.is_some(), "it stays");
    assert_eq!(between, after);
    assert_eq!(
        found(&pruned["left"], &name).map(|left| &left["lingers"]),
        Some(&Value::Bool(true)),
        "{pruned}"
    );
    assert_eq!((second.stdout.as_str(), second.status), ("installed\n", Some(0)), "{second}");
}

#[test]
fn name_of_a_living_run_is_refused() {
    let Some(engine) = Engine::find() else { return };
    let (place, name) = (Place::new(), name());
    let child = engine.started(&place, &name, &[]);
    let second = engine.ran(&Place::new(), &["--name", &name, "-l", "sh", "-c", "true"]);
    let pid = child.id();
    signal(&child, Signal::INT);
    assert_eq!(wait_for_end(child).stdout, "begun\n");
    assert_eq!(second.status, Some(70), "{second}");
    let why =
        format!("the name belongs to a container of a session of the process {pid}, which is alive\nhint: ");
    assert!(second.stderr.contains(&why), "{second}");
}

#[test]
fn init_command_that_fails_shows_what_it_printed() {
    let Some(engine) = Engine::find() else { return };
    let init = "echo one; echo hint: two; exit 3";
    let ended = engine.ran(&Place::new(), &["--init-command", init, "-l", "sh", "-c", "echo ran"]);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(70)), "{ended}");
    assert!(ended.stderr.contains("exit code 3") && ended.stderr.contains("\n  hint: two\n"), "{ended}");
}

#[test]
fn image_that_may_not_be_pulled_says_what_to_do() {
    let Some(engine) = Engine::find() else { return };
    let args = ["run", "--image", "stockade-test/none:1", "--pull", "never", "-l", "sh", "-c", "true"];
    let ended = Place::new().stockade([args.as_slice(), &["--docker-host", &engine.host]].concat());
    assert_page!(ended, @"
    status: Some(70)
    --- stdout
    --- stderr
    error: failed to get the image stockade-test/none:1: the daemon does not have it, and pull is never
    hint: `docker pull stockade-test/none:1` first, or let it be pulled when missing
    ");
}

#[test]
fn languages_of_an_image_are_listed() {
    let Some(engine) = Engine::find() else { return };
    let args = ["languages", "--json", "--image", &engine.image, "--docker-host", &engine.host];
    let ended = Place::new().stockade(args);
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(0)), "{ended}");
    let listed = ended.json();
    let python = found(&listed, "python").expect("it is known");
    assert!(python["interpreter"].is_string(), "{python}");
    assert_eq!(found(&listed, "julia").expect("it is known")["interpreter"], Value::Null);
}

#[test]
fn daemon_that_is_not_there_is_an_error_that_lists_what_was_tried() {
    let ended = Place::new().stockade(["ps", "--docker-host", "unix:///nonexistent.sock"]);
    assert_page!(ended, @"
    status: Some(70)
    --- stdout
    --- stderr
    error: failed to connect to a Docker daemon; tried
      unix:///nonexistent.sock: no such file
    hint: start the daemon that has its socket there, or correct the path; the address comes from the executor's options
    ");
}

#[test]
fn every_command_that_needs_a_daemon_fails_without_one() {
    let run = ["run", "--docker", "-l", "sh", "-c", "true"];
    for args in [&run[..], &["languages", "--docker"], &["ps"], &["prune"]] {
        let ended = Place::new().stockade([args, &["--docker-host", "unix:///nonexistent.sock"]].concat());
        assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(70)), "{ended}");
        assert!(ended.stderr.contains("unix:///nonexistent.sock: no such file\nhint: "), "{ended}");
    }
}

#[test]
fn error_for_machines_is_json_too() {
    let args =
        ["run", "--docker", "--docker-host", "unix:///nonexistent.sock", "--json", "-l", "sh", "-c", "true"];
    let ended = Place::new().stockade(args);
    assert_eq!(ended.status, Some(70), "{ended}");
    let failure = ended.json();
    assert_eq!(failure["error"]["kind"], "daemon_unreachable");
    assert_eq!(failure["blocks"], json!([]));
}
