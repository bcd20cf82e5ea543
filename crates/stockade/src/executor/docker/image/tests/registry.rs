//! A registry on loopback, which daemons take as one that needs no encryption. It has images of one layer
//! whose names begin with `pulled-once`, each different from all others, and knows no other.

use std::{
    env, fmt,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// Listens until the tests end.
pub(super) struct Registry {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

/// What it serves.
struct Content {
    authorization: Option<String>,
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

impl Registry {
    /// With a user and a password it is for that user alone.
    pub(super) fn start(login: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let authorization =
            login.map(|(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        let content = Arc::new(Content::new(&address.to_string(), authorization));
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, counter) = (Arc::clone(&content), Arc::clone(&counter));
                thread::spawn(move || content.serve(&stream, &counter));
            }
        });
        Self { address, requests }
    }

    pub(super) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn image(&self, name: &str) -> String {
        format!("{}/{name}:1", self.address)
    }

    /// How many requests it has had.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Content {
    fn new(unique: &str, authorization: Option<String>) -> Self {
        let layer = archive("unique", format!("{unique} {}", std::process::id()).as_bytes());
        let architecture = match env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "size": config.len(), "digest": digest(&config) },
            "layers": [{ "mediaType": LAYER, "size": layer.len(), "digest": digest(&layer) }],
        });
        Self { authorization, layer, config, manifest: manifest.to_string().into_bytes() }
    }

    /// Answers the requests of a connection until it is closed.
    fn serve(&self, stream: &TcpStream, requests: &AtomicUsize) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        while let Some(request) = lines.next().transpose()? {
            let mut authorization = None;
            for header in lines.by_ref() {
                let header = header?;
                match header.split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                        authorization = Some(value.to_owned());
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            requests.fetch_add(1, Ordering::SeqCst);
            self.answer(stream, &request, authorization.as_deref())?;
        }
        Ok(())
    }

    fn answer(&self, stream: &TcpStream, request: &str, authorization: Option<&str>) -> io::Result<()> {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, kind, body): (_, _, &[u8]) =
            if self.authorization.as_deref() != authorization && self.authorization.is_some() {
                let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
                ("401 Unauthorized", "application/json", body)
            } else if path.trim_end_matches('/') == "/v2" {
                ("200 OK", "application/json", b"{}")
            } else if path.starts_with("/v2/pulled-once") {
                match path.rsplit_once('/') {
                    Some((_, id)) if id == digest(&self.layer) => ("200 OK", LAYER, &self.layer),
                    Some((_, id)) if id == digest(&self.config) => ("200 OK", CONFIG, &self.config),
                    _ => ("200 OK", MANIFEST, &self.manifest),
                }
            } else {
                let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                ("404 Not Found", "application/json", body)
            };
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nDocker-Content-Digest: {}\r\n",
            body.len(),
            digest(body)
        );
        if status.starts_with("401") {
            head += "WWW-Authenticate: Basic realm=\"test\"\r\n";
        }
        let mut stream = stream;
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if method == "HEAD" { Ok(()) } else { stream.write_all(body) }
    }
}

fn digest(bytes: &[u8]) -> String {
    struct Hex<'a>(&'a [u8]);
    impl fmt::Display for Hex<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
        }
    }
    format!("sha256:{}", Hex(&Sha256::digest(bytes)))
}

/// A tar archive with one small file.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
