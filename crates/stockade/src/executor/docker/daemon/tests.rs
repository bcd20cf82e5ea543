//! The search for a daemon, with sockets of the tests' own: no test reads this process's environment, and
//! none needs a daemon.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    thread,
};

use super::{
    context::tests::{add_context, configured},
    *,
};

fn shown(asked: Option<&str>, surroundings: &Surroundings) -> Vec<String> {
    candidates(asked, surroundings).into_iter().map(|candidate| candidate.shown).collect()
}

/// Where nothing is installed but what the test puts there.
fn bare(home: &Path) -> Surroundings {
    Surroundings {
        home: Some(home.to_owned()),
        runtime_dir: Some(home.join("runtime")),
        config_dir: Some(home.join(".docker")),
        ..Surroundings::default()
    }
}

/// Answers each request with `body` and closes the connection.
fn answer(mut stream: impl Read + Write, body: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            // The connection that only looks whether somebody listens.
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

fn listen_on_socket(path: &Path, body: &'static str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, body)));
}

fn listen_on_port(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, body)));
    address
}

const DOCKER: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
const PODMAN: &str =
    r#"{"Components":[{"Name":"Podman Engine","Version":"4.3.1"}],"Version":"4.3.1","ApiVersion":"1.41"}"#;

#[test]
fn the_option_comes_before_docker_host_before_the_context_before_the_usual_sockets() {
    let (directory, mut surroundings) = configured(r#"{"currentContext":"remote"}"#);
    add_context(directory.path(), "remote", r#"{"Endpoints":{"docker":{"Host":"tcp://b:1"}}}"#);
    surroundings.docker_host = Some("tcp://a:1".to_owned());
    assert_eq!(shown(Some("tcp://o:1"), &surroundings), ["tcp://o:1"]);
    assert_eq!(shown(None, &surroundings), ["tcp://a:1"]);
    surroundings.docker_host = None;
    assert_eq!(shown(None, &surroundings), ["the docker context remote (tcp://b:1)"]);
    surroundings.docker_context = Some("default".to_owned());
    assert_eq!(shown(None, &surroundings)[0], "/var/run/docker.sock");
}

#[test]
fn the_usual_sockets_are_those_of_the_known_daemons() {
    assert_eq!(
        shown(None, &bare(Path::new("/home/me"))),
        [
            "/var/run/docker.sock",
            "/home/me/runtime/docker.sock",
            "/home/me/.docker/run/docker.sock",
            "/home/me/.docker/desktop/docker.sock",
            "/home/me/.colima/default/docker.sock",
            "/home/me/.orbstack/run/docker.sock",
            "/home/me/.rd/docker.sock",
            "/home/me/runtime/podman/podman.sock",
            "/run/podman/podman.sock",
        ]
    );
    assert_eq!(shown(None, &Surroundings::default()), ["/var/run/docker.sock", "/run/podman/podman.sock"]);
}

#[test]
fn a_broken_configuration_is_in_the_list_and_the_usual_sockets_are_tried() {
    let (directory, surroundings) = configured("{");
    let places = candidates(None, &surroundings);
    let config = directory.path().join("config.json").display().to_string();
    assert_eq!(places[0].shown, config);
    assert!(places[0].address.as_ref().unwrap_err().starts_with("is not what Docker writes: EOF"));
    assert_eq!(places[1].shown, "/var/run/docker.sock");
}

#[test]
fn docker_tls_verify_makes_tcp_mean_tls() {
    let mut surroundings = bare(Path::new("/home/me"));
    assert_eq!(surroundings.address("tcp://a"), Ok(Address::Tcp { authority: "a:2375".to_owned() }));
    surroundings.tls_verify = true;
    let tls = |certificates: &str| {
        Ok(Address::Tls { authority: "a:2376".to_owned(), certificates: certificates.into() })
    };
    assert_eq!(surroundings.address("tcp://a"), tls("/home/me/.docker"));
    surroundings.cert_path = Some("/certificates".into());
    assert_eq!(surroundings.address("tcp://a"), tls("/certificates"));
}

#[tokio::test]
async fn connects_to_docker_and_podman_at_the_version_they_know() {
    let home = tempfile::tempdir().unwrap();
    for (name, body) in [("docker.sock", DOCKER), ("podman.sock", PODMAN)] {
        let path = home.path().join(name);
        listen_on_socket(&path, body);
        let daemon = connect_from(path.to_str(), &bare(home.path())).await.unwrap();
        assert_eq!(daemon.address, Address::Unix(path));
        assert_eq!(daemon.docker.client_version().to_string(), "1.41");
    }
    let address = listen_on_port(DOCKER);
    let daemon = connect_from(Some(&address), &bare(home.path())).await.unwrap();
    assert_eq!(daemon.address.to_string(), address);
    assert_eq!(daemon.docker.client_version().to_string(), "1.41");
}

#[tokio::test]
async fn a_socket_of_no_use_does_not_hide_a_later_one() {
    let home = tempfile::tempdir().unwrap();
    let [dead, alive] = [".docker/run/docker.sock", ".rd/docker.sock"].map(|path| home.path().join(path));
    std::fs::create_dir_all(dead.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&dead).unwrap());
    listen_on_socket(&alive, DOCKER);
    let surroundings = bare(home.path());
    let own = |place: &Candidate| place.shown.starts_with(home.path().to_str().unwrap());
    let places = || usual(&surroundings).filter(own);
    let daemon = first_that_answers(places().collect()).await.unwrap();
    assert_eq!(daemon.address, Address::Unix(alive));

    let others = places().filter(|place| !place.shown.ends_with(".rd/docker.sock"));
    let error = first_that_answers(others.collect()).await.unwrap_err();
    let reasons: Vec<_> = error.tried.iter().map(|attempt| attempt.failure.to_string()).collect();
    let refused = "connection refused: the daemon is not running";
    let missing = "no such file";
    assert_eq!(reasons, [missing, refused, missing, missing, missing, missing]);
    assert_eq!(error.hint(), "start the daemon, on most systems with `sudo systemctl start docker`");
}

/// The message and the hint when only `asked` is tried.
async fn refusal(asked: &str, surroundings: &Surroundings) -> (String, String) {
    let error = connect_from(Some(asked), surroundings).await.unwrap_err();
    (error.to_string(), error.hint())
}

#[tokio::test]
async fn a_place_that_was_named_is_the_only_one_and_the_hint_says_who_named_it() {
    let home = tempfile::tempdir().unwrap();
    let mut surroundings = bare(home.path());
    let (message, hint) = refusal("unix:///nonexistent/d.sock", &surroundings).await;
    assert_eq!(message, "connect to a Docker daemon; tried\n  unix:///nonexistent/d.sock: no such file");
    assert_eq!(
        hint,
        "start the daemon that has its socket there, or correct the path; the address comes from the \
         executor's options"
    );
    surroundings.docker_host = Some("fd://".to_owned());
    let error = connect_from(None, &surroundings).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "connect to a Docker daemon; tried\n  fd:// is for the daemon's own use: give the socket's path, unix://…"
    );
    assert_eq!(error.hint(), "correct it; the address comes from DOCKER_HOST");
    surroundings.docker_host = None;
    surroundings.docker_context = Some("gone".to_owned());
    let error = connect_from(None, &surroundings).await.unwrap_err();
    assert!(error.to_string().contains("\n  the docker context gone does not exist: "), "{error}");
    assert!(error.hint().ends_with("the docker context that DOCKER_CONTEXT chooses"), "{}", error.hint());
}

#[tokio::test]
async fn every_kind_of_failure_has_its_reason() {
    let home = tempfile::tempdir().unwrap();
    let surroundings = bare(home.path());
    let reason = async |asked: &str| {
        let (message, _) = refusal(asked, &surroundings).await;
        message.rsplit_once(&format!("{asked}: ")).unwrap_or_else(|| panic!("{message}")).1.to_owned()
    };
    assert_eq!(reason(&listen_on_port("{}")).await, "what answers there is not Docker");
    assert_eq!(reason(&listen_on_port("hello")).await, "what answers there is not Docker");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(reason(&format!("tcp://{free}")).await, "connection refused: the daemon is not running");

    let mute = home.path().join("mute.sock");
    let _mute = UnixListener::bind(&mute).unwrap();
    assert_eq!(reason(mute.to_str().unwrap()).await, "no answer within 10s");

    let missing = home.path().join(".docker/ca.pem");
    assert_eq!(
        reason("https://127.0.0.1:1").await,
        format!("Cannot open/read certificate with path: {}", missing.display())
    );
}

#[test]
fn a_socket_that_denies_this_user_gets_the_hint_about_the_group() {
    let denied = Failure::from_io(io::ErrorKind::PermissionDenied.into());
    let attempt = |shown: &str, failure| Attempt { shown: shown.to_owned(), origin: Origin::Usual, failure };
    let error = Unreachable {
        tried: vec![
            attempt("/var/run/docker.sock", denied),
            attempt("/run/podman/podman.sock", Failure::Missing),
        ],
    };
    assert_eq!(
        error.to_string(),
        "connect to a Docker daemon; tried\n  /var/run/docker.sock: permission denied: this user is not in the \
         group of the socket, usually docker\n  /run/podman/podman.sock: no such file"
    );
    assert!(error.hint().starts_with("add this user to the group docker"), "{}", error.hint());
}
