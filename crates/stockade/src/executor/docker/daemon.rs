//! The connection to a daemon that speaks Docker's API: Docker's own, Podman's, or another machine's. Owns
//! where it is looked for, in which order, and the reasons of those that did not answer. What is asked of the
//! daemon afterwards is the callers' affair.

mod address;
mod context;
mod ssh;

use std::{
    env, error, fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as DockerError};
use tokio::{net::UnixStream, time::timeout};

pub(crate) use address::Address;
use address::{DEFAULT_SOCKET, Tls};

/// How long a request may take until the daemon begins to answer, in seconds. An answer, once begun, may take
/// any time: streams of output and of events do.
const ANSWER_TIMEOUT: u64 = 120;
/// How long a daemon may take to say which version it is. One whose machine is busy was seen to take more than two
/// seconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon that answered.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The client, at a version of the API that both sides know.
    pub(crate) docker: Docker,
    /// Where it listens.
    pub(crate) address: Address,
    /// Who named that place.
    pub(crate) origin: Origin,
}

/// Finds a daemon and connects to it: the one at the address that was `asked` for, else the one that the
/// environment and the configuration of Docker's own command name, else the first of the usual sockets that
/// answers.
///
/// # Errors
/// Everything that was tried, each with the reason.
pub(crate) async fn connect(asked: Option<&str>) -> Result<Daemon, Unreachable> {
    connect_from(asked, &Surroundings::from_env()).await
}

async fn connect_from(asked: Option<&str>, surroundings: &Surroundings) -> Result<Daemon, Unreachable> {
    first_that_answers(candidates(asked, surroundings)).await
}

async fn first_that_answers(candidates: Vec<Candidate>) -> Result<Daemon, Unreachable> {
    let mut tried = Vec::new();
    for Candidate { shown, origin, address } in candidates {
        let answered = match address {
            Ok(address) => dial(&address).await.map(|docker| (docker, address)),
            Err(why) => Err(Failure::Unusable(why)),
        };
        match answered {
            Ok((docker, address)) => {
                tracing::debug!(%address, %origin, "connected to a Docker daemon");
                return Ok(Daemon { docker, address, origin });
            }
            Err(failure) => tried.push(Attempt { shown, origin, failure }),
        }
    }
    Err(Unreachable { tried })
}

/// What of this process's environment says where daemons are.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) home: Option<PathBuf>,
    /// Where this user's daemons have their sockets.
    pub(super) runtime_dir: Option<PathBuf>,
    pub(super) docker_host: Option<String>,
    pub(super) docker_context: Option<String>,
    pub(super) tls_verify: bool,
    pub(super) cert_path: Option<PathBuf>,
    /// The configuration of Docker's own command: contexts and credentials.
    pub(super) config_dir: Option<PathBuf>,
}

impl Surroundings {
    /// A variable that is empty counts as missing, as it does for Docker.
    pub(super) fn from_env() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name| variable(name).map(PathBuf::from);
        let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
        // A service or a cron job has no XDG_RUNTIME_DIR, but its user's daemons have their sockets there.
        let user = rustix::process::getuid().as_raw();
        let runtime_dir = path("XDG_RUNTIME_DIR").or_else(|| Some(format!("/run/user/{user}").into()));
        Self {
            runtime_dir,
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            tls_verify: variable("DOCKER_TLS_VERIFY").is_some(),
            cert_path: path("DOCKER_CERT_PATH"),
            config_dir: path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker"))),
            home,
        }
    }

    fn address(&self, text: &str) -> Result<Address, String> {
        let certificates = self.cert_path.as_deref().or(self.config_dir.as_deref());
        let certificates = certificates.unwrap_or(Path::new("/"));
        Address::parse(text, Tls { wanted: self.tls_verify, certificates })
    }
}

/// Where this user's daemons have their sockets.
pub(crate) fn runtime_dir() -> Option<PathBuf> {
    Surroundings::from_env().runtime_dir
}

/// A place where a daemon may be.
struct Candidate {
    /// As the user wrote it, or would.
    shown: String,
    origin: Origin,
    address: Result<Address, String>,
}

/// Who named a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The executor's option.
    Option,
    /// The variable.
    DockerHost,
    /// A docker context, chosen by a variable or a file.
    Context { chosen_by: String },
    /// Nobody: it is where such daemons usually are.
    Usual,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Option => write!(formatter, "the executor's options"),
            Origin::DockerHost => write!(formatter, "DOCKER_HOST"),
            Origin::Context { chosen_by } => write!(formatter, "the docker context that {chosen_by} chooses"),
            Origin::Usual => write!(formatter, "the usual sockets"),
        }
    }
}

/// The places to try. Where one is named it is the only one, as for Docker's own command: blocks must not end
/// up on another machine than the one that was meant.
fn candidates(asked: Option<&str>, surroundings: &Surroundings) -> Vec<Candidate> {
    let named = |text: &str, origin| {
        vec![Candidate { shown: text.to_owned(), origin, address: surroundings.address(text) }]
    };
    if let Some(text) = asked {
        return named(text, Origin::Option);
    }
    if let Some(text) = &surroundings.docker_host {
        return named(text, Origin::DockerHost);
    }
    match context::chosen(surroundings) {
        Ok(Some(context)) => {
            let address = context.address(surroundings);
            let place = address.as_ref().map_or(String::new(), |address| format!(" ({address})"));
            let shown = format!("the docker context {}{place}", context.name);
            let origin = Origin::Context { chosen_by: context.chosen_by };
            vec![Candidate { shown, origin, address }]
        }
        Ok(None) => usual(surroundings).collect(),
        // Docker's own command warns of it and goes on without it.
        Err((path, why)) => {
            let shown = path.display().to_string();
            let broken = Candidate { shown, origin: Origin::Usual, address: Err(why) };
            [broken].into_iter().chain(usual(surroundings)).collect()
        }
    }
}

/// The sockets of Docker, rootless Docker, Docker Desktop, colima, OrbStack, Rancher Desktop and Podman.
fn usual(surroundings: &Surroundings) -> impl Iterator<Item = Candidate> {
    let in_home = |path| surroundings.home.as_ref().map(|home| home.join(path));
    let in_runtime_dir = |path| surroundings.runtime_dir.as_ref().map(|directory| directory.join(path));
    let paths = [
        Some(DEFAULT_SOCKET.into()),
        in_runtime_dir("docker.sock"),
        in_home(".docker/run/docker.sock"),
        in_home(".docker/desktop/docker.sock"),
        in_home(".colima/default/docker.sock"),
        in_home(".orbstack/run/docker.sock"),
        in_home(".rd/docker.sock"),
        in_runtime_dir("podman/podman.sock"),
        Some("/run/podman/podman.sock".into()),
    ];
    paths.into_iter().flatten().map(|path| Candidate {
        shown: path.display().to_string(),
        origin: Origin::Usual,
        address: Ok(Address::Unix(path)),
    })
}

/// A client of the daemon there, once it has said which versions it knows.
async fn dial(address: &Address) -> Result<Docker, Failure> {
    let answer = async { Ok(client(address).await?.negotiate_version().await?) };
    timeout(VERSION_TIMEOUT, answer).await.unwrap_or(Err(Failure::Silent))
}

async fn client(address: &Address) -> Result<Docker, Failure> {
    let client = match address {
        Address::Unix(path) => {
            // The client would say no more than that it could not connect.
            UnixStream::connect(path).await.map_err(Failure::from_io)?;
            let path = path.to_str().ok_or_else(|| Failure::Unusable("is not UTF-8".to_owned()))?;
            Docker::connect_with_unix(path, ANSWER_TIMEOUT, API_DEFAULT_VERSION)
        }
        Address::Tcp { authority } => {
            Docker::connect_with_http(&format!("http://{authority}"), ANSWER_TIMEOUT, API_DEFAULT_VERSION)
        }
        Address::Tls { authority, certificates } => {
            choose_cryptography();
            let [key, certificate, ca] =
                ["key.pem", "cert.pem", "ca.pem"].map(|name| certificates.join(name));
            let address = format!("https://{authority}");
            Docker::connect_with_ssl(&address, &key, &certificate, &ca, ANSWER_TIMEOUT, API_DEFAULT_VERSION)
        }
        Address::Ssh(remote) => ssh::client(remote),
    };
    Ok(client?)
}

/// A program can be built with several implementations of cryptography. Unless it chose one, rustls panics.
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails when another thread was quicker, and then one is chosen too.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// No daemon answered.
#[derive(Debug)]
pub(crate) struct Unreachable {
    tried: Vec<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    shown: String,
    origin: Origin,
    failure: Failure,
}

/// Why one did not answer.
#[derive(Debug)]
enum Failure {
    Missing,
    Denied,
    Refused,
    Silent,
    /// It can't be tried; what is wrong with it, a sentence without a subject.
    Unusable(String),
    /// In the words of whoever failed.
    Other(String),
}

impl Failure {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Failure::Missing,
            io::ErrorKind::PermissionDenied => Failure::Denied,
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            _ => Failure::Other(error.to_string()),
        }
    }
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        match &error {
            DockerError::DockerResponseServerError { status_code, message } => {
                Failure::Other(format!("answered with status {status_code}: {}", message.trim()))
            }
            DockerError::JsonDataError { .. }
            | DockerError::JsonSerdeError { .. }
            | DockerError::APIVersionParseError {} => {
                Failure::Other("what answers there is not Docker".to_owned())
            }
            _ => {
                let cause = innermost(&error);
                match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
                    Some(io::ErrorKind::ConnectionRefused) => Failure::Refused,
                    _ => Failure::Other(cause.to_string()),
                }
            }
        }
    }
}

/// The outer errors of an HTTP client say no more than that it failed.
fn innermost<'a>(error: &'a (dyn error::Error + 'static)) -> &'a (dyn error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missing => write!(formatter, "no such file"),
            Failure::Denied => {
                write!(
                    formatter,
                    "permission denied: this user is not in the group of the socket, usually docker"
                )
            }
            Failure::Refused => write!(formatter, "connection refused: the daemon is not running"),
            Failure::Silent => write!(formatter, "no answer within {VERSION_TIMEOUT:?}"),
            Failure::Unusable(why) | Failure::Other(why) => write!(formatter, "{why}"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What can't be tried is the subject of its reason.
        let colon = if matches!(self.failure, Failure::Unusable(_)) { "" } else { ":" };
        write!(formatter, "{}{colon} {}", self.shown, self.failure)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "connect to a Docker daemon; tried")?;
        self.tried.iter().try_for_each(|attempt| write!(formatter, "\n  {attempt}"))
    }
}

impl error::Error for Unreachable {}

impl Unreachable {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        let what = self.remedy();
        match self.tried.last().map(|attempt| &attempt.origin) {
            Some(Origin::Usual) | None => what.to_owned(),
            Some(origin) => format!("{what}; the address comes from {origin}"),
        }
    }

    /// The failure that is the nearest to success tells the most.
    fn remedy(&self) -> &'static str {
        let any = |wanted: fn(&Failure) -> bool| self.tried.iter().any(|attempt| wanted(&attempt.failure));
        if any(|failure| matches!(failure, Failure::Denied)) {
            "add this user to the group docker (`sudo usermod -aG docker $USER`) and log in again, or use \
             rootless Docker or Podman"
        } else if any(|failure| matches!(failure, Failure::Silent | Failure::Other(_))) {
            "see whether `docker version` gets an answer there"
        } else if any(|failure| matches!(failure, Failure::Refused)) {
            "start the daemon, on most systems with `sudo systemctl start docker`"
        } else if self.tried.iter().all(|attempt| attempt.origin == Origin::Usual) {
            "install Docker or Podman and start its daemon (`sudo systemctl start docker`, or `systemctl --user \
             start podman.socket`), or set DOCKER_HOST to the address of one"
        } else if any(|failure| matches!(failure, Failure::Missing)) {
            "start the daemon that has its socket there, or correct the path"
        } else {
            "correct it"
        }
    }
}

#[cfg(test)]
mod tests;
