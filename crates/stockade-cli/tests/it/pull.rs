//! What is seen of a pull. The daemon is a stand-in that has no image and pulls one as slowly as a test
//! wants.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use rustix::process::Signal;

use crate::{
    cancel::signal,
    support::{PATIENCE, Place, assert_page, wait_for_end},
    terminal::Screen,
};

/// What the daemon tells of its pull.
const PROGRESS: &[&str] = &[
    r#"{"status":"Pulling from library/python","id":"3"}"#,
    r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aaa"}"#,
    r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}"#,
    r#"{"status":"Pull complete","progressDetail":{},"id":"aaa"}"#,
    r#"{"status":"Downloading","progressDetail":{"current":50,"total":100},"id":"bbb"}"#,
];

/// How a pull ends when it does.
const FAILURE: &str =
    r#"{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown: manifest unknown"}"#;

/// A daemon on this machine.
struct Daemon {
    address: String,
    /// Hears of each pull.
    pulls: Receiver<()>,
}

impl Daemon {
    /// A daemon whose pulls fail after some progress, or never end.
    fn start(pulls_end: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = format!("tcp://{}", listener.local_addr().expect("it is bound"));
        let (told, pulls) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let told = told.clone();
                // A client that goes away in the middle is what some tests are about.
                thread::spawn(move || drop(answer(stream, &told, pulls_end)));
            }
        });
        Self { address, pulls }
    }
}

/// Answers one request.
fn answer(mut stream: TcpStream, told: &Sender<()>, pulls_end: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    lines.by_ref().map_while(Result::ok).find(String::is_empty);
    let mut say = |status: &str, body: &str| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}"
        )?;
        stream.flush()
    };
    if request.contains("/images/create") {
        say("200 OK", &PROGRESS.join("\n"))?;
        // Nobody hears it in tests that wait for something else.
        let _ = told.send(());
        if pulls_end {
            return writeln!(stream, "\n{FAILURE}");
        }
        // Until the client has gone.
        lines.for_each(drop);
        return Ok(());
    }
    match request {
        request if request.contains("/images/") => say("404 Not Found", r#"{"message":"no such image"}"#),
        request if request.contains("/containers/json") => say("200 OK", "[]"),
        _ => say("200 OK", r#"{"Version":"20.10.0","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#),
    }
}

fn args(daemon: &Daemon) -> [&str; 9] {
    ["run", "--docker", "--docker-host", &daemon.address, "--pull=missing", "-l", "sh", "-c", "true"]
}

#[test]
fn pull_is_one_line_where_nobody_watches() {
    let daemon = Daemon::start(true);
    assert_page!(Place::new().stockade(args(&daemon)), @"
    status: Some(70)
    --- stdout
    --- stderr
    note: pulling python:3-slim …
    error: failed to get the image python:3-slim: no such image: manifest unknown
    hint: check the image's name and tag
    ");
}

#[test]
fn pull_is_silent_for_machines() {
    let daemon = Daemon::start(true);
    let ended = Place::new().stockade([args(&daemon).as_slice(), &["--json"]].concat());
    assert_eq!(ended.json()["error"]["kind"], "image_unavailable");
    assert!(!ended.stderr.contains("pulling"), "{ended}");
}

#[test]
fn pull_is_a_bar_on_a_terminal_which_an_interrupt_takes_away() {
    let daemon = Daemon::start(false);
    let mut screen = Screen::start(&Place::new(), &args(&daemon));
    screen.wait_for("pulling python:3-slim");
    screen.wait_for("50 B of 100 B, 1 of 2 layers");
    screen.type_in("\x03");
    let (page, status) = screen.end();
    assert_eq!(status, Some(125), "{page}");
    assert!(page.contains("cancelled before the first block was run"), "{page}");
}

#[test]
fn signal_during_a_pull_ends_the_command() {
    let daemon = Daemon::start(false);
    let child = Place::new().command(args(&daemon)).spawn().expect("the command starts");
    daemon.pulls.recv_timeout(PATIENCE).expect("the image is asked for");
    signal(&child, Signal::TERM);
    let ended = wait_for_end(child);
    assert_eq!((ended.stdout.as_str(), ended.status), ("", Some(125)), "{ended}");
}
