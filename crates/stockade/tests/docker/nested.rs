//! Docker out of Docker: the host program itself runs in a container that has the daemon's socket, and the session's
//! container is its sibling. This very test program is run there, and plays the host program.

use std::{env, fs, path::Path};

use stockade::{DockerCommandLineCodeExecutorBuilder, Error, Session, WorkspaceMode};
use tempfile::TempDir;

use crate::{
    engine::{builder, daemon, docker, image, start, try_docker},
    leftovers::Name,
    support::{
        need, output,
        respawn::{self, is_respawned},
        sh,
    },
};

/// Where the inner program finds the directory of the outer one, and a volume.
const DATA: &str = "/data";
const VOLUME: &str = "/volume";
/// The path of the directory on the daemon's host, for the inner program.
const DATA_ON_HOST: &str = "STOCKADE_TEST_DATA_ON_HOST";

const SOCKET: &str = "/var/run/docker.sock";

/// What the inner program has.
struct Outside {
    data: TempDir,
    volume: Name,
}

impl Outside {
    fn new() -> Self {
        Self { data: tempfile::tempdir().expect("a directory"), volume: Name::of_volume() }
    }

    /// Runs a test, by its full name, in a container; `None` when it is to be skipped.
    fn run(&self, test: &str) -> Option<()> {
        let program = env::current_exe().expect("this program has a path");
        let daemon = daemon()?;
        let socket = daemon.strip_prefix("unix://").unwrap_or(SOCKET);
        let mounts = [
            format!("{socket}:{SOCKET}"),
            format!("{}:/test:ro", program.display()),
            format!("{}:{DATA}", self.data.path().display()),
            format!("{}:{VOLUME}", self.volume.as_str()),
        ];
        let name = Name::of_container();
        let mut arguments = vec!["run", "--rm", "--name", name.as_str()];
        for mount in &mounts {
            arguments.extend(["--volume", mount]);
        }
        let image = image();
        let variables = [
            format!("{}=yes", respawn::ROLE),
            format!("{DATA_ON_HOST}={}", self.data.path().display()),
            format!("STOCKADE_TEST_DOCKER=unix://{SOCKET}"),
            format!("STOCKADE_TEST_IMAGE={image}"),
            "STOCKADE_TEST_REQUIRE=all".to_owned(),
        ];
        for variable in &variables {
            arguments.extend(["--env", variable]);
        }
        arguments.extend(["--entrypoint", "/test", &image]);
        let (runs, said) = try_docker(&[&arguments[..], &["--list"]].concat());
        need::has("nested", runs, &format!("this program does not run in {image}: {said}")).then_some(())?;
        let printed = docker(&[&arguments[..], &[test, "--exact", "--nocapture"]].concat());
        // A wrong name would run no test, and succeed.
        assert!(printed.contains("1 passed"), "{printed}");
        Some(())
    }

    /// A file of the inner program's work_dir, on this host.
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.data.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn mode(session: &Session) -> WorkspaceMode {
    session.info().container.as_ref().expect("it runs in a container").workspace
}

/// A session in a container inside, with a file that was there before and one that its code makes. Both are what they
/// are on both sides.
async fn assert_shares(
    builder: DockerCommandLineCodeExecutorBuilder,
    work_dir: &Path,
    expected: WorkspaceMode,
) {
    fs::create_dir_all(work_dir).expect("it can be made");
    fs::write(work_dir.join("given.txt"), "given\n").expect("it can be written");
    let session = start(builder.work_dir(work_dir)).await;
    assert_eq!(mode(&session), expected);
    let code = sh("cat given.txt; mkdir made; echo made by code >made/by_code.txt");
    assert_eq!(output(&session, code).await, "given\n");
    assert_eq!(fs::read(work_dir.join("made/by_code.txt")).expect("it is here"), b"made by code\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_work_dir_on_a_bind_mount_is_mounted_by_its_path_on_the_host() {
    let Some(builder) = builder() else { return };
    if is_respawned() {
        return assert_shares(builder, &Path::new(DATA).join("a work dir"), WorkspaceMode::Bind).await;
    }
    let outside = Outside::new();
    if outside.run("nested::a_work_dir_on_a_bind_mount_is_mounted_by_its_path_on_the_host").is_some() {
        assert_eq!(outside.read("a work dir/made/by_code.txt"), "made by code\n");
    }
}

#[tokio::test]
async fn a_work_dir_on_a_named_volume_is_mounted() {
    let Some(builder) = builder() else { return };
    if is_respawned() {
        return assert_shares(builder, &Path::new(VOLUME).join("deep"), WorkspaceMode::Bind).await;
    }
    Outside::new().run("nested::a_work_dir_on_a_named_volume_is_mounted");
}

#[tokio::test]
async fn a_work_dir_in_the_layer_of_its_own_container_is_copied() {
    let Some(builder) = builder() else { return };
    if is_respawned() {
        let session = start(builder.clone()).await;
        assert_eq!(mode(&session), WorkspaceMode::Copy);
        assert_eq!(output(&session, sh("echo text >made.txt; cat made.txt")).await, "text\n");
        assert_eq!(fs::read(session.work_dir().join("made.txt")).expect("it came back"), b"text\n");
        session.stop().await.expect("it stops");
        return assert_shares(builder, Path::new("/srv/own layer"), WorkspaceMode::Copy).await;
    }
    Outside::new().run("nested::a_work_dir_in_the_layer_of_its_own_container_is_copied");
}

#[tokio::test]
async fn a_work_dir_that_is_to_be_mounted_and_can_not_be_is_an_error() {
    let Some(builder) = builder() else { return };
    if is_respawned() {
        let executor = builder.work_dir("/srv/own").workspace(WorkspaceMode::Bind).build();
        let error =
            executor.expect("the options are valid").start().await.expect_err("the daemon has no such path");
        assert!(matches!(error, Error::InvalidOption { option: "workspace", .. }), "{error:?}");
        assert!(error.to_string().contains("bind_dir"), "{error}");
        return;
    }
    Outside::new().run("nested::a_work_dir_that_is_to_be_mounted_and_can_not_be_is_an_error");
}

#[tokio::test]
async fn a_bind_dir_says_where_the_host_has_the_work_dir() {
    let Some(builder) = builder() else { return };
    if is_respawned() {
        let on_host = env::var(DATA_ON_HOST).expect("the outer program says it");
        let right = builder.clone().bind_dir(Path::new(&on_host).join("named"));
        assert_shares(right, &Path::new(DATA).join("named"), WorkspaceMode::Bind).await;
        // One that is another directory is no place for the code to be.
        let wrong = builder.work_dir(Path::new(DATA).join("named")).bind_dir(&on_host);
        let error = wrong.build().expect("the options are valid").start().await.expect_err("it is another");
        assert!(matches!(error, Error::Container { .. }), "{error:?}");
        assert!(error.to_string().contains("another directory"), "{error}");
        return;
    }
    let outside = Outside::new();
    if outside.run("nested::a_bind_dir_says_where_the_host_has_the_work_dir").is_some() {
        assert_eq!(outside.read("named/made/by_code.txt"), "made by code\n");
    }
}
