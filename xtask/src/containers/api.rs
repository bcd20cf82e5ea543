//! An engine's HTTP interface on its unix socket, as far as set-up needs it: does it answer, has it an image, take
//! this one. Docker and Podman both speak it, so no command line client has to be installed or understood. Owns
//! requests and their limits, one connection for each; keeps no connection and reads no JSON.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an engine may be silent: one that answers at all does so at once.
const SILENCE: Duration = Duration::from_secs(5);
/// A registry that has nothing to say for so long counts as out of reach.
const SILENCE_OF_REGISTRY: Duration = Duration::from_secs(15);
/// Storing an image on a slow disk.
const SILENCE_OF_STORAGE: Duration = Duration::from_secs(300);

pub(super) struct Api {
    socket: PathBuf,
}

struct Reply {
    status: u16,
    body: String,
}

impl Api {
    pub(super) fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// As `DOCKER_HOST` has it.
    pub(super) fn address(&self) -> OsString {
        let mut address = OsString::from("unix://");
        address.push(&self.socket);
        address
    }

    pub(super) fn answers(&self) -> Result<(), String> {
        self.expect("/_ping").map_err(|reason| format!("{} does not answer: {reason}", self.socket.display()))
    }

    pub(super) fn has_image(&self, name: &str) -> bool {
        self.expect(&format!("/images/{name}/json")).is_ok()
    }

    fn expect(&self, path: &str) -> Result<(), String> {
        let reply = self.request("GET", path, None, SILENCE).map_err(|error| error.to_string())?;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(format!("status {}: {}", reply.status, reply.body.trim()))
        }
    }

    /// Takes an image from its registry.
    pub(super) fn pull(&self, repository: &str, tag: &str) -> Result<(), String> {
        let path = format!("/images/create?fromImage={repository}&tag={tag}");
        let reply = self.request("POST", &path, None, SILENCE_OF_REGISTRY);
        self.expect_image(&format!("{repository}:{tag}"), reply)
    }

    /// Takes an image from an archive that holds it by the name `name`.
    pub(super) fn load(&self, name: &str, archive: &Path) -> Result<(), String> {
        let reply = self.request("POST", "/images/load", Some(archive), SILENCE_OF_STORAGE);
        self.expect_image(name, reply)
    }

    /// Failures are part of a reply that says 200, so it is the image that tells.
    fn expect_image(&self, name: &str, reply: io::Result<Reply>) -> Result<(), String> {
        let reply = reply.map_err(|error| format!("ask {} for {name}: {error}", self.socket.display()))?;
        if reply.status == 200 && self.has_image(name) {
            return Ok(());
        }
        Err(reply.body.lines().last().unwrap_or("no reason given").to_owned())
    }

    /// In HTTP 1.0 a reply ends with its connection.
    fn request(&self, method: &str, path: &str, body: Option<&Path>, silence: Duration) -> io::Result<Reply> {
        let mut body = body.map(File::open).transpose()?;
        let length = body.as_ref().map_or(Ok(0), |file| file.metadata().map(|found| found.len()))?;
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(silence))?;
        stream.set_write_timeout(Some(silence))?;
        let head = "Host: engine\r\nContent-Type: application/x-tar";
        let head = format!("{method} {path} HTTP/1.0\r\n{head}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        if let Some(file) = &mut body {
            io::copy(file, &mut stream)?;
        }
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        parse(&String::from_utf8_lossy(&reply)).ok_or_else(|| io::Error::other("its reply is no HTTP"))
    }
}

fn parse(reply: &str) -> Option<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;
    use crate::containers::Scratch;

    /// An engine that gives each of its callers the next of `replies`, and returns what it was asked.
    fn engine(folder: &Path, replies: &'static [&'static str]) -> (Api, thread::JoinHandle<Vec<String>>) {
        let socket = folder.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = move |reply: &&str| {
            let mut stream = listener.accept().unwrap().0;
            let head =
                BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            let asked = head.collect::<Vec<_>>().remove(0);
            stream.write_all(reply.as_bytes()).unwrap();
            asked
        };
        (Api::at(socket), thread::spawn(move || replies.iter().map(serve).collect()))
    }

    #[test]
    fn an_engine_answers_or_it_is_said_why_not() {
        let scratch = Scratch::new(&env::temp_dir(), "api").unwrap();
        let failure = Api::at(scratch.0.join("nothing")).answers().unwrap_err();
        assert!(failure.contains("nothing does not answer: No such file"), "{failure}");
        let (api, asked) =
            engine(&scratch.0, &["HTTP/1.0 200 OK\r\n\r\nOK", "HTTP/1.1 500 Broken\r\n\r\nno disk", "what?"]);
        assert_eq!(api.answers(), Ok(()));
        let failure = api.answers().unwrap_err();
        assert!(failure.ends_with("status 500: no disk"), "{failure}");
        let failure = api.answers().unwrap_err();
        assert!(failure.ends_with("its reply is no HTTP"), "{failure}");
        assert_eq!(asked.join().unwrap()[0], "GET /_ping HTTP/1.0");
    }
}
