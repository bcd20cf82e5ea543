//! The transport to a daemon on another machine: as Docker's own command does, each connection is an ssh that
//! runs `docker system dial-stdio` over there. Owns these processes, which end with their connection, and
//! what they say when they fail. Keys, known hosts and jump hosts are the affair of ssh's own configuration;
//! nothing is asked.

use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::{Response, Uri, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{ANSWER_TIMEOUT, address::Remote};

/// The most of ssh's own words that are kept, in bytes.
const WORDS: u64 = 4096;
/// How long a failed ssh is waited for to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client whose every request is an ssh.
pub(super) fn client(remote: &Remote) -> Result<Docker, Error> {
    client_through(&["ssh"], remote)
}

/// The same with another command in ssh's place.
fn client_through(ssh: &[&str], remote: &Remote) -> Result<Docker, Error> {
    let command = ssh.iter().map(|&word| word.to_owned()).chain(arguments(remote));
    let command: Arc<[String]> = command.collect();
    let transport = move |request: BollardRequest| {
        let command = Arc::clone(&command);
        async move { send(&command, request).await.map_err(Error::from) }
    };
    // What stands for the host is seen by the daemon alone, which does not care.
    Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        ANSWER_TIMEOUT,
        API_DEFAULT_VERSION,
    )
}

async fn send(command: &[String], request: BollardRequest) -> io::Result<Response<Incoming>> {
    let (connection, stderr) = dial(command)?;
    // Read to its end in any case: an ssh that can't write its warnings might stop.
    let words = tokio::spawn(read_words(stderr));
    let answer = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(in_origin_form(request)).await
    };
    match answer.await {
        Ok(response) => Ok(response),
        Err(error) => match timeout(LAST_WORDS, words).await {
            Ok(Ok(words)) if !words.is_empty() => Err(io::Error::other(words)),
            _ => Err(io::Error::other(error)),
        },
    }
}

fn dial(words: &[String]) -> io::Result<(Connection, ChildStderr)> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).kill_on_drop(true);
    // A Ctrl-C at the terminal is for this program, which may still have to say something over there.
    command.process_group(0);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::other("the program ssh is not installed"),
                _ => io::Error::other(format!("the program ssh can't be started: {error}")),
            },
        )?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        unreachable!("all three were asked for");
    };
    Ok((Connection { _child: child, stdin: Some(stdin), stdout }, stderr))
}

fn arguments(remote: &Remote) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"].map(str::to_owned).to_vec();
    if let Some(user) = &remote.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = remote.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), remote.host.clone(), "docker".to_owned()]);
    if let Some(socket) = &remote.socket {
        arguments.push(format!("--host=unix://{socket}"));
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    arguments
}

/// With the path alone in its first line, as servers want it.
fn in_origin_form(mut request: BollardRequest) -> BollardRequest {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("docker"));
    request
}

/// What ssh said, in one line.
async fn read_words(mut stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    let _ = (&mut stderr).take(WORDS).read_to_end(&mut words).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    let words = String::from_utf8_lossy(&words);
    words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The two pipes of an ssh, as one stream. The process is killed when it is dropped.
struct Connection {
    _child: Child,
    /// `None` once closed.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closes the pipe: that is how the other side learns of the end.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn remote() -> Remote {
        Remote { user: None, host: "build".to_owned(), port: None, socket: None }
    }

    /// A client for which this script takes the place of ssh.
    fn client_of(script: &str) -> (tempfile::TempDir, Docker) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh");
        fs::write(&path, script).unwrap();
        let client = client_through(&["sh", path.to_str().unwrap()], &remote()).unwrap();
        (directory, client)
    }

    #[tokio::test]
    async fn requests_go_through_ssh_in_the_form_that_servers_want() {
        let script = r#"
            while read -r line && [ "${#line}" -gt 1 ]; do echo "$line" >>"$0.request"; done
            body='{"ApiVersion":"1.41"}'
            printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n%s' "${#body}" "$body"
        "#;
        let (directory, client) = client_of(script);
        let client = client.negotiate_version().await.unwrap();
        assert_eq!(client.client_version().to_string(), "1.41");
        let request = fs::read_to_string(directory.path().join("ssh.request")).unwrap();
        assert!(request.starts_with("GET /version HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("host: docker\r\n"), "{request}");
    }

    #[tokio::test]
    async fn what_ssh_says_when_it_fails_is_the_reason() {
        let (_directory, client) = client_of("echo 'Host key verification failed.' >&2; exit 255");
        assert_eq!(client.version().await.unwrap_err().to_string(), "Host key verification failed.");
        let missing = client_through(&["/nonexistent/ssh"], &remote()).unwrap();
        assert_eq!(missing.version().await.unwrap_err().to_string(), "the program ssh is not installed");
    }

    #[test]
    fn ssh_is_given_what_the_address_says_and_told_to_ask_nothing() {
        let full = Remote {
            user: Some("me".to_owned()),
            host: "build".to_owned(),
            port: Some(2222),
            socket: Some("/run/d.sock".to_owned()),
        };
        assert_eq!(
            arguments(&full).join(" "),
            "-T -o BatchMode=yes -o ConnectTimeout=5 -l me -p 2222 -- build docker --host=unix:///run/d.sock \
             system dial-stdio"
        );
        assert_eq!(
            arguments(&remote()).join(" "),
            "-T -o BatchMode=yes -o ConnectTimeout=5 -- build docker system dial-stdio"
        );
    }
}
