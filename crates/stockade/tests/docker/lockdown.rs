//! Lockdown: what it denies, each with its twin that is allowed without it or in spite of it, and the options that
//! contradict it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    time::Duration,
};

use rustix::process::geteuid;
use serde_json::json;
use stockade::{DockerCommandLineCodeExecutorBuilder, Error, Status, Volume, WorkspaceMode};
use tempfile::TempDir;

use crate::{
    engine::{builder, container, daemon, docker, gone, image, inspect, start},
    hardening::{builders, policy},
    leftovers::{Label, Name, refusal},
    support::{need, outcome, output, patiently, python, run, sh},
};

/// Somebody whom neither this host nor the image knows.
const OWNER: u32 = 51234;

fn locked() -> Option<DockerCommandLineCodeExecutorBuilder> {
    Some(builder()?.lockdown(true))
}

fn may_give_away() -> bool {
    need::has("root", geteuid().is_root(), "only root gives directories away")
}

fn of(owner: u32) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    chown(directory.path(), Some(owner), Some(owner)).expect("we are root");
    directory
}

#[tokio::test]
async fn there_is_no_network() {
    let look = || sh("ls /sys/class/net | tr '\\n' ' '");
    let connect = "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), timeout=0.05)\n\
                   except TimeoutError:\n    print('out')\nexcept OSError as error:\n    print(error.strerror)";
    for builder in builders() {
        let session = start(builder.clone().lockdown(true)).await;
        assert_eq!(output(&session, look()).await.trim(), "lo");
        assert_eq!(output(&session, python(connect)).await, "Network is unreachable\n");
        session.stop().await.expect("it stops");
        let open = start(builder).await;
        assert!(output(&open, look()).await.contains("eth0"));
        open.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn nothing_can_be_written_but_to_the_workspace_and_to_memory() {
    let places = "for place in / /etc /usr/local/bin /root /home /opt /var/lib . /tmp /var/tmp \"$HOME\"; do\n\
                  if echo x 2>/dev/null >\"$place/made\"; then printf '%s ' \"$place\"; fi\ndone";
    for builder in builders() {
        let session = start(builder.clone().lockdown(true)).await;
        assert_eq!(output(&session, sh(places)).await, ". /tmp /var/tmp /home/stockade ");
        session.stop().await.expect("it stops");
        let open = start(builder).await;
        assert!(output(&open, sh(places)).await.starts_with("/ /etc /usr/local/bin /root /home "));
        open.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn what_is_written_to_memory_is_bounded_before_the_memory_is() {
    let Some(builder) = locked() else { return };
    let session = start(builder.memory(128 << 20)).await;
    let fill = "for place in /tmp /var/tmp \"$HOME\"; do head -c 64m /dev/zero 2>/dev/null >$place/big && echo $place\n\
                done; du -sm /tmp /var/tmp \"$HOME\" | cut -f1 | tr '\\n' ' '";
    assert_eq!(output(&session, sh(fill)).await, "32 8 16 ");
    assert_eq!(output(&session, python("print(len(b'x' * (10 << 20)))")).await, "10485760\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn the_code_is_nobody_and_has_no_rights() {
    let look =
        || sh("id -u; id -g; sed -n 's/^\\(Cap...\\|NoNewPrivs\\):[[:space:]]*/\\1 /p' /proc/self/status");
    let none = |name| format!("{name} 0000000000000000\n");
    let caps: String = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(none).concat();
    // The list of the kernel's status has NoNewPrivs after them.
    let expected = format!("65534\n65534\n{caps}NoNewPrivs 1\n");
    for builder in builders() {
        let session = start(builder.clone().lockdown(true)).await;
        assert_eq!(output(&session, look()).await, expected);
        session.stop().await.expect("it stops");
        let open = start(builder).await;
        let seen = output(&open, look()).await;
        assert!(seen.starts_with("0\n0\n") && !seen.contains(&none("CapEff")), "{seen}");
        open.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn memory_and_cpus_and_processes_are_limited_and_the_numbers_can_be_set() {
    const LIMITS: &str = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} \
        {{.HostConfig.PidsLimit}}";
    let Some(builder) = locked() else { return };
    let session = start(builder.clone()).await;
    let there: u64 = docker(&["info", "--format", "{{.NCPU}}"]).parse().expect("it is a number");
    let cpus = there.min(2) * 1_000_000_000;
    assert_eq!(inspect(&container(&session), LIMITS), format!("{0} {0} {cpus} 256", 1 << 30));
    session.stop().await.expect("it stops");
    let session = start(builder.memory(96 << 20).cpus(0.5).pids_limit(64)).await;
    assert_eq!(inspect(&container(&session), LIMITS), format!("{0} {0} 500000000 64", 96 << 20));
    let greedy = outcome(&session, python("kept = b'x' * (400 << 20)")).await;
    assert_eq!((greedy.status, greedy.exit_code), (Status::OutOfMemory, 137), "{}", greedy.output);
    assert_eq!(output(&session, python("print(len(b'x' * (20 << 20)))")).await, "20971520\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn processes_end_at_the_limit_and_a_pool_is_fine() {
    let Some(builder) = locked() else { return };
    let session = start(builder.clone()).await;
    let many = "import os, time\nchildren = 0\ntry:\n    while children < 1000:\n        if os.fork() == 0:\n            \
                time.sleep(600)\n        children += 1\nexcept BlockingIOError:\n    pass\nprint(children)\nos._exit(0)";
    let children: u32 = output(&session, python(many)).await.trim().parse().expect("it is a number");
    assert!((200..256).contains(&children), "{children}");
    // They go with the session; what stays below the limit is fine.
    session.stop().await.expect("it stops");
    let session = start(builder).await;
    let pool = "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(100) as pool:\n    \
                print(sum(pool.map(abs, range(100))))";
    assert_eq!(output(&session, python(pool)).await, "4950\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_fork_bomb_ends_by_its_deadline_with_its_session_if_need_be_and_with_no_other() {
    let Some(builder) = locked() else { return };
    let (bombed, other) = tokio::join!(start(builder.clone()), start(builder));
    let id = container(&bombed);
    let bomb = "bomb() { bomb | bomb & }\nbomb 2>/dev/null\nsleep 600";
    let result = bombed.call(vec![sh(bomb)]).timeout(Duration::from_secs(2)).run();
    match patiently("the end of the bomb", result).await {
        Ok(result) => assert_ne!(result.exit_code, 0),
        // It took the CPU time that its runner needs, and so was ended with it.
        Err(error) => assert!(matches!(error, Error::SessionEnded { .. }), "{error:?}"),
    }
    assert_eq!(output(&other, sh("echo goes on")).await, "goes on\n");
    drop(bombed);
    gone(&id).await;
    other.stop().await.expect("it stops");
}

#[tokio::test]
async fn ordinary_programs_work() {
    let home = "
import os, pathlib, subprocess, sys, tempfile
cache = pathlib.Path.home() / '.cache' / 'matplotlib'
cache.mkdir(parents=True)
(cache / 'fontlist.json').write_text('{}')
with tempfile.NamedTemporaryFile() as file:
    file.write(b'x')
pathlib.Path('plot.png').write_bytes(b'PNG')
script = pathlib.Path(tempfile.mkdtemp()) / 'script'
script.write_text('#!/bin/sh\\necho executed\\n')
script.chmod(0o755)
print(subprocess.run([script], capture_output=True, text=True).stdout, end='')
print(os.environ['HOME'])";
    for builder in builders() {
        let session = start(builder.lockdown(true)).await;
        let result =
            run(&session, &[python(home), sh("pip --version >/dev/null && echo pip"), sh("cat plot.png")])
                .await;
        assert_eq!((result.exit_code, result.output.as_str()), (0, "executed\n/home/stockade\npip\nPNG"));
        assert_eq!(result.blocks[0].files.iter().filter(|file| file.path.ends_with("plot.png")).count(), 1);
        assert_eq!(fs::read(session.work_dir().join("plot.png")).expect("it is there"), b"PNG");
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_home_of_the_users_own_goes_before_that_of_lockdown() {
    let Some(builder) = locked() else { return };
    let session = start(builder.env("HOME", "/tmp")).await;
    assert_eq!(output(&session, sh("echo $HOME")).await, "/tmp\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn blocks_run_as_the_owner_of_the_work_dir_and_leave_no_setuid_bit_there() {
    let Some(builder) = locked() else { return };
    if !may_give_away() {
        return;
    }
    let directory = of(OWNER);
    let session = start(builder.work_dir(directory.path())).await;
    let made = sh("id -u; id -g; cp /bin/sh both; chmod 6755 both");
    assert_eq!(output(&session, made).await, format!("{OWNER}\n{OWNER}\n"));
    assert_eq!(session.info().container.as_ref().map(|info| info.workspace), Some(WorkspaceMode::Bind));
    session.stop().await.expect("it stops");
    let left = fs::metadata(directory.path().join("both")).expect("it is there");
    assert_eq!((left.uid(), left.mode() & 0o7777), (OWNER, 0o755));
}

#[tokio::test]
async fn a_work_dir_that_the_user_could_not_write_to_is_copied() {
    let Some(builder) = locked() else { return };
    if !may_give_away() {
        return;
    }
    for (owner, user, uid) in
        [(0, None, "65534"), (OWNER, Some("1234:1234"), "1234"), (OWNER, Some("nobody"), "65534")]
    {
        let directory = of(owner);
        fs::write(directory.path().join("given"), "given\n").expect("it is written");
        let builder = builder.clone().work_dir(directory.path());
        let session = start(user.into_iter().fold(builder.clone(), |builder, user| builder.user(user))).await;
        assert_eq!(session.info().container.as_ref().map(|info| info.workspace), Some(WorkspaceMode::Copy));
        assert_eq!(
            output(&session, sh("id -u; cat given; echo made > made")).await,
            format!("{uid}\ngiven\n")
        );
        assert_eq!(fs::read_to_string(directory.path().join("made")).expect("it came"), "made\n");
        session.stop().await.expect("it stops");
    }
    let directory = of(0);
    let error = refusal(builder.clone().work_dir(directory.path()).workspace(WorkspaceMode::Bind)).await;
    assert!(matches!(error, Error::InvalidOption { option: "workspace", .. }), "{error:?}");
    // One that is open to everybody is mounted.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("it is ours");
    let session = start(builder.work_dir(directory.path()).workspace(WorkspaceMode::Bind)).await;
    assert_eq!(output(&session, sh("echo made > made; cat made")).await, "made\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn an_option_that_contradicts_it_is_refused_and_taken_without_it() {
    type Change = fn(DockerCommandLineCodeExecutorBuilder) -> DockerCommandLineCodeExecutorBuilder;
    let Some(plain) = builder() else { return };
    let changes: [(&str, Change); 5] = [
        ("network", |builder| builder.network("host")),
        ("cap_add", |builder| builder.cap_add("SYS_NICE")),
        ("user", |builder| builder.user("root")),
        ("security_opt", |builder| builder.security_opt("seccomp=unconfined")),
        ("pids_limit", |builder| builder.pids_limit(0)),
    ];
    for (name, change) in changes {
        let error = change(plain.clone()).lockdown(true).build().expect_err(name);
        assert!(matches!(&error, Error::InvalidOption { option, .. } if *option == name), "{error:?}");
        assert!(error.to_string().contains("contradicts lockdown"), "{error}");
        start(change(plain.clone())).await.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_user_who_is_root_in_the_image_alone_is_refused_and_leaves_no_container() {
    let Some(builder) = locked() else { return };
    let (image_name, made) = (Name::of_image(), Name::of_container());
    let account = "echo toor:x:0:0::/:/bin/sh >>/etc/passwd; echo other:x:1234:1234::/:/bin/sh >>/etc/passwd";
    docker(&["run", "--name", made.as_str(), "--entrypoint", "sh", &image(), "-c", account]);
    docker(&["commit", made.as_str(), image_name.as_str()]);
    let label = Label::new();
    let builder = builder.image(image_name.as_str()).label(Label::NAME, label.value());
    let error = refusal(builder.clone().user("toor")).await;
    assert!(matches!(error, Error::InvalidOption { option: "user", .. }), "{error:?}");
    assert!(error.to_string().contains("\"toor\" is root in this image"), "{error}");
    label.gone().await;
    let session = start(builder.user("other")).await;
    assert_eq!(output(&session, sh("id -u")).await, "1234\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn the_socket_of_a_daemon_is_refused_before_there_is_a_container() {
    let (Some(builder), Some(address)) = (locked(), daemon()) else { return };
    let socket = address.strip_prefix("unix://").expect("the tests' daemon is on this host");
    let label = Label::new();
    let builder = builder.label(Label::NAME, label.value());
    let error = refusal(builder.clone().volume(Volume::new(socket, "/mnt/socket"))).await;
    assert!(matches!(error, Error::InvalidOption { option: "volume", .. }), "{error:?}");
    assert_eq!(label.containers(), Vec::<String>::new());
    let directory = tempfile::tempdir().expect("a directory can be made");
    fs::write(directory.path().join("given"), "given\n").expect("it is written");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let source = directory.path().to_str().expect("it is text");
    let session = start(builder.volume(Volume::new(source, "/mnt/data"))).await;
    assert_eq!(output(&session, sh("cat /mnt/data/given")).await, "given\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_container_that_was_made_without_it_is_not_gone_on_in() {
    let Some(builder) = builder() else { return };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let go_on = |name: &Name| {
        builder.clone().container_name(name.as_str()).stop_container(false).work_dir(directory.path())
    };
    let open = Name::of_container();
    start(go_on(&open)).await.stop().await.expect("it stops");
    let error = refusal(go_on(&open).lockdown(true)).await;
    assert!(error.to_string().contains("it was made without lockdown"), "{error}");
    let locked = Name::of_container();
    start(go_on(&locked).lockdown(true)).await.stop().await.expect("it stops");
    let error = refusal(go_on(&locked).lockdown(true).memory(64 << 20)).await;
    assert!(error.to_string().contains("other limits"), "{error}");
    let session = start(go_on(&locked).lockdown(true)).await;
    assert_eq!(output(&session, sh("id -u; echo $HOME")).await, "65534\n/home/stockade\n");
    assert_eq!(policy(&session)["network"], "none");
    session.stop().await.expect("it stops");
    // What it denies is told whoever goes on in it.
    let session = start(go_on(&open)).await;
    assert_eq!(policy(&session)["network"], "default");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_session_tells_of_its_lockdown() {
    for builder in builders() {
        let session = start(builder.lockdown(true).cpus(1.0)).await;
        let expected = json!({
            "no_new_privileges": true, "network": "none", "read_only": true,
            "capabilities": {"dropped": ["ALL"], "added": []},
            "pids_limit": 256, "memory": 1 << 30, "cpus": 1.0, "user": "65534:65534",
        });
        assert_eq!(policy(&session), expected);
        session.stop().await.expect("it stops");
    }
}
