//! What a container is asked for, as its code sees it, or as the daemon knows it where code can't.

use std::{env::consts::ARCH, fs};

use stockade::{DockerCommandLineCodeExecutorBuilder, Error, Pull, Status, Ulimit, Volume};
use tempfile::TempDir;

use crate::{
    engine::{builder, container, docker, image, image_of, inspect, start},
    leftovers::{Name, refusal},
    support::{outcome, output, python, run, sh},
};

/// The number of a capability's bit, and whether the code has it (capabilities(7)).
async fn has_capability(builder: DockerCommandLineCodeExecutorBuilder, bit: u32) -> bool {
    let session = start(builder).await;
    let effective = output(&session, sh("sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status")).await;
    let effective = u64::from_str_radix(effective.trim(), 16).expect("it is hexadecimal");
    effective & (1 << bit) != 0
}

#[tokio::test]
async fn limits_reach_the_container() {
    const LIMITS: &str = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} \
        {{.HostConfig.PidsLimit}} {{.HostConfig.ShmSize}} {{index .Config.Labels \"team\"}}";
    let see = || sh("ulimit -Sn; ulimit -Hn; df -k /dev/shm | awk 'NR == 2 { print $2 }'");
    let Some(limited) = builder() else { return };
    let limited = limited.memory(256 << 20).cpus(1.5).pids_limit(100).shm_size(8 << 20);
    let limited = start(limited.label("team", "blue").ulimit(Ulimit::new("nofile", 500, 600))).await;
    let known = inspect(&container(&limited), LIMITS);
    assert_eq!(known, format!("{0} {0} 1500000000 100 {1} blue", 256 << 20, 8 << 20));
    assert_eq!(output(&limited, see()).await, "500\n600\n8192\n");
    let Some(unlimited) = builder() else { return };
    let unlimited = start(unlimited).await;
    let known = inspect(&container(&unlimited), LIMITS);
    assert_eq!(known, format!("0 0 0 4096 {} <no value>", 64 << 20));
    assert_ne!(output(&unlimited, see()).await, "500\n600\n8192\n");
}

#[tokio::test]
async fn a_limit_of_processes_stops_a_fork_bomb_and_not_the_session() {
    let bomb = python(
        "import os, time\nchildren = 0\ntry:\n    while children < 200:\n        if os.fork() == 0:\n            \
         time.sleep(600)\n        children += 1\nexcept BlockingIOError:\n    pass\nprint(children)\nos._exit(0)",
    );
    for (limit, expected) in [(Some(64), 20..64), (None, 200..201)] {
        let Some(builder) = builder() else { return };
        let session =
            start(limit.into_iter().fold(builder, |builder, limit| builder.pids_limit(limit))).await;
        let children: u32 = output(&session, bomb.clone()).await.trim().parse().expect("it is a number");
        assert!(expected.contains(&children), "{children}");
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn the_network_is_the_one_that_was_asked_for() {
    let interfaces = || sh("ls /sys/class/net | tr '\\n' ' '");
    let Some(cut_off) = builder() else { return };
    assert_eq!(output(&start(cut_off.network("none")).await, interfaces()).await.trim(), "lo");
    let Some(connected) = builder() else { return };
    assert!(output(&start(connected).await, interfaces()).await.contains("eth0"));
}

#[tokio::test]
async fn a_network_that_does_not_exist_is_an_error_with_its_name() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.network("stockade-no-such-network")).await;
    assert!(error.to_string().contains("stockade-no-such-network"), "{error}");
    assert_eq!(error.kind(), "container_failed");
}

#[tokio::test]
async fn hosts_are_known_by_the_names_that_were_added() {
    let Some(builder) = builder() else { return };
    let session = start(builder.extra_host("db.test", "10.1.2.3")).await;
    let look_up = |name: &str| {
        python(format!(
            "import socket\ntry:\n    print(socket.gethostbyname('{name}'))\nexcept OSError:\n    print('unknown')"
        ))
    };
    assert_eq!(output(&session, look_up("db.test")).await, "10.1.2.3\n");
    assert_eq!(output(&session, look_up("other.test")).await, "unknown\n");
}

#[tokio::test]
async fn capabilities_are_given_and_taken() {
    const KILL: u32 = 5;
    const NET_RAW: u32 = 13;
    const SYS_NICE: u32 = 23;
    let Some(plain) = builder() else { return };
    assert!(!has_capability(plain.clone(), SYS_NICE).await);
    assert!(has_capability(plain.clone().cap_add("SYS_NICE"), SYS_NICE).await);
    assert!(has_capability(plain.clone().cap_add("NET_RAW"), NET_RAW).await);
    assert!(!has_capability(plain.clone(), NET_RAW).await);
    assert!(has_capability(plain.clone(), KILL).await);
    assert!(!has_capability(plain.cap_drop("CAP_KILL").user("0:0"), KILL).await);
}

#[tokio::test]
async fn security_options_hold() {
    let privileges = || sh("grep NoNewPrivs /proc/self/status | tr -d '\\t '");
    let Some(plain) = builder() else { return };
    let kept = start(plain.clone().security_opt("no-new-privileges")).await;
    assert_eq!(output(&kept, privileges()).await, "NoNewPrivs:1\n");
    let free = start(plain.security_opt("no-new-privileges=false")).await;
    assert_eq!(output(&free, privileges()).await, "NoNewPrivs:0\n");
}

#[tokio::test]
async fn a_read_only_container_keeps_its_files_and_has_a_workspace() {
    let write =
        || sh("echo x > file; cat file; if echo x 2>/dev/null >/etc/mark; then echo yes; else echo no; fi");
    let Some(plain) = builder() else { return };
    assert_eq!(output(&start(plain.clone().read_only(true)).await, write()).await, "x\nno\n");
    assert_eq!(output(&start(plain).await, write()).await, "x\nyes\n");
}

#[tokio::test]
async fn the_least_of_all_containers_runs_blocks() {
    let Some(builder) = builder() else { return };
    let least = builder.read_only(true).cap_drop("ALL").user("4321:8765").network("none");
    let least = least.security_opt("no-new-privileges").memory(128 << 20).pids_limit(64);
    let session = start(least).await;
    assert_eq!(output(&session, sh("id -u; id -g; echo x > file; cat file")).await, "4321\n8765\nx\n");
    assert_eq!(output(&session, python("print(open('file').read())")).await, "x\n\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn directories_are_mounted_to_write_or_only_to_read() {
    let Some(builder) = builder() else { return };
    let directory = TempDir::new().expect("a directory can be made");
    fs::write(directory.path().join("given"), "given\n").expect("it is written");
    let source = directory.path().to_str().expect("it is text");
    let builder = builder.volume(Volume::new(source, "/mnt/open"));
    let session = start(builder.volume(Volume::new(source, "/mnt/shut").read_only())).await;
    let open = sh("cat /mnt/open/given; echo made > /mnt/open/made");
    assert_eq!(output(&session, open).await, "given\n");
    assert_eq!(fs::read_to_string(directory.path().join("made")).expect("it is there"), "made\n");
    let shut = outcome(&session, sh("cat /mnt/shut/made; echo more > /mnt/shut/more")).await;
    assert_ne!(shut.exit_code, 0);
    assert!(shut.output.text().contains("Read-only file system"), "{}", shut.output);
    assert!(!directory.path().join("more").exists());
}

#[tokio::test]
async fn a_volume_with_a_name_is_there_for_the_next_session() {
    let Some(builder) = builder() else { return };
    let name = Name::of_volume();
    let volume = Volume::new(name.as_str(), "/cache");
    let first = start(builder.clone().volume(volume.clone())).await;
    output(&first, sh("echo kept > /cache/file")).await;
    first.stop().await.expect("it stops");
    let second = start(builder.volume(volume)).await;
    assert_eq!(output(&second, sh("cat /cache/file")).await, "kept\n");
    second.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_mount_of_what_does_not_exist_is_an_error_with_its_path() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.volume(Volume::new("/no/such/source", "/mnt"))).await;
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/source"), "{error}");
}

#[tokio::test]
async fn variables_reach_the_code_and_not_the_daemon() {
    let Some(builder) = builder() else { return };
    let session = start(builder.env("TOKEN_OF_MINE", "open sesame")).await;
    assert_eq!(output(&session, sh("echo $TOKEN_OF_MINE")).await, "open sesame\n");
    let known = docker(&["inspect", &container(&session)]);
    assert!(!known.contains("TOKEN_OF_MINE") && !known.contains("sesame"), "{known}");
}

#[tokio::test]
async fn the_daemon_keeps_no_log_and_checks_no_health() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let template =
        "{{.HostConfig.LogConfig.Type}} {{.Config.Healthcheck.Test}} {{.Config.Tty}} {{.Config.StdinOnce}}";
    assert_eq!(inspect(&container(&session), template), "none [NONE] false true");
}

/// An image that would do something else than run the runner, and checks its own health.
fn obstinate_image() -> Name {
    let (image_name, made) = (Name::of_image(), Name::of_container());
    docker(&["create", "--name", made.as_str(), &image()]);
    let changes = [
        "ENTRYPOINT [\"/bin/false\"]",
        "CMD [\"--always\"]",
        "USER 4321",
        "WORKDIR /srv",
        "ENV FROM_IMAGE=yes",
        "HEALTHCHECK --interval=1s CMD touch /checked",
    ];
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    let commit: Vec<&str> =
        ["commit"].into_iter().chain(changes).chain([made.as_str(), image_name.as_str()]).collect();
    docker(&commit);
    image_name
}

#[tokio::test]
async fn what_the_image_would_run_is_overridden_and_its_variables_are_kept() {
    let Some(builder) = builder() else { return };
    let image = obstinate_image();
    let session = start(builder.image(image.as_str())).await;
    assert_eq!(output(&session, sh("id -u; pwd; echo $FROM_IMAGE")).await, "0\n/workspace\nyes\n");
    let health = "{{.Config.Healthcheck.Test}} {{if .State.Health}}checked{{else}}unchecked{{end}}";
    assert_eq!(inspect(&container(&session), health), "[NONE] unchecked");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn the_init_command_is_run_once_in_the_workspace_before_any_block() {
    let Some(builder) = builder() else { return };
    let session = start(builder.init_command("pwd >> log\ncd /usr/local && echo made > made")).await;
    let see = || sh("cat log /usr/local/made");
    assert_eq!(output(&session, see()).await, "/workspace\nmade\n");
    assert_eq!(output(&session, see()).await, "/workspace\nmade\n");
    let listed = output(&session, sh("# filename: list.sh\nls -A")).await;
    assert_eq!(listed.lines().filter(|name| name.starts_with("tmp_code")).count(), 1, "{listed}");
}

#[tokio::test]
async fn a_failed_init_command_fails_the_start_with_what_it_printed() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.clone().init_command("echo on the way; echo no way >&2; exit 3")).await;
    let Error::InitCommand { exit_code, output } = &error else { panic!("{error:?}") };
    assert_eq!((*exit_code, output.as_str()), (3, "on the way\nno way"));
    assert!(error.to_string().contains("exit code 3") && error.to_string().contains("no way"), "{error}");
}

#[tokio::test]
async fn a_block_that_the_kernel_ends_for_the_memory_limit_is_out_of_memory_and_the_session_goes_on() {
    let Some(builder) = builder() else { return };
    let session = start(builder.memory(96 << 20)).await;
    for _ in 0..2 {
        let greedy =
            outcome(&session, python("print('before', flush=True)\nkept = b'x' * (400 << 20)")).await;
        assert_eq!((greedy.status, greedy.exit_code), (Status::OutOfMemory, 137), "{}", greedy.output);
        assert!(greedy.stdout.text().starts_with("before\n"), "{}", greedy.output);
        assert_eq!(output(&session, python("print('goes on')")).await, "goes on\n");
    }
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_block_that_ends_well_although_the_kernel_ended_its_child_has_exited() {
    let Some(builder) = builder() else { return };
    let session = start(builder.memory(96 << 20)).await;
    let parent = sh("python3 -c \"kept = b'x' * (400 << 20)\" 2>/dev/null; echo child: $?");
    let parent = outcome(&session, parent).await;
    assert_eq!((parent.status, parent.exit_code), (Status::Exited, 0), "{}", parent.output);
    assert!(parent.output.text().contains("child: 137"), "{}", parent.output);
    // And one that somebody else kills is not out of memory.
    let killed = outcome(&session, sh("kill -9 $$")).await;
    assert_eq!((killed.status, killed.signal), (Status::Signaled, Some(9)));
}

#[tokio::test]
async fn an_image_without_a_shell_is_an_error_that_says_so() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.image(image_of("SHELLLESS"))).await;
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    assert!(error.to_string().contains("sh"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("no `sh`")), "{:?}", error.hint());
}

#[tokio::test]
async fn an_image_of_another_architecture_is_an_error_that_names_both() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.image(image_of("FOREIGN"))).await;
    assert!(matches!(error, Error::Image { .. }), "{error:?}");
    let foreign = docker(&["image", "inspect", "--format", "{{.Architecture}}", &image_of("FOREIGN")]);
    // Docker's names are not Rust's.
    let foreign = if foreign == "arm64" { "aarch64" } else { &foreign };
    let says = |word: &str| error.to_string().contains(word);
    assert!(says(foreign) && says(ARCH) && says(&image_of("FOREIGN")), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("platform")), "{:?}", error.hint());
}

#[tokio::test]
async fn an_image_that_is_not_there_and_not_to_be_pulled_is_an_error_with_its_name() {
    let Some(builder) = builder() else { return };
    let error = refusal(builder.image("stockade-test/no-such-image").pull(Pull::Never)).await;
    assert!(matches!(error, Error::Image { .. }), "{error:?}");
    assert!(error.to_string().contains("stockade-test/no-such-image"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("pull")), "{:?}", error.hint());
}

#[tokio::test]
async fn busybox_runs_shell_blocks_and_says_that_python_is_missing() {
    let Some(builder) = builder() else { return };
    let session = start(builder.image(image_of("BUSYBOX"))).await;
    let result = run(&session, &[sh("echo hello"), python("print('hello')"), sh("echo not reached")]).await;
    assert_eq!(result.exit_code, 127, "{}", result.output);
    assert!(result.output.starts_with("hello\n") && result.output.contains("python3"), "{}", result.output);
    assert_eq!(result.blocks.last().map(|block| block.status), Some(Status::NotRun));
    let python =
        session.languages().await.expect("it lists them").into_iter().find(|found| found.name == "python");
    assert!(python.is_some_and(|python| python.interpreter.is_none()));
}
