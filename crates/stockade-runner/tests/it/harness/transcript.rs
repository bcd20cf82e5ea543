//! What was told of one run, put together.

use stockade_runner::{
    outcome::{Outcome, Status},
    wire::message::{Failure, Piece, Reply, RunId, Stream},
};

/// A run that has finished.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ran {
    pub(crate) result: Result<Outcome, Failure>,
    /// What was kept of the output.
    pub(crate) pieces: Vec<Piece>,
    /// Of live output: what came, and how many bytes were left out.
    pub(crate) live: Vec<u8>,
    pub(crate) live_lost: u64,
}

impl Ran {
    pub(super) fn new(wanted: RunId, result: Result<Outcome, Failure>, heard: &[Reply]) -> Self {
        let mut ran = Self { result, pieces: Vec::new(), live: Vec::new(), live_lost: 0 };
        for reply in heard {
            match reply {
                Reply::Output { run, pieces } if *run == wanted => ran.pieces.extend_from_slice(pieces),
                Reply::Live { run, data, lost, .. } if *run == wanted => {
                    ran.live.extend_from_slice(data);
                    ran.live_lost += lost;
                }
                _ => {}
            }
        }
        ran
    }

    #[track_caller]
    pub(crate) fn outcome(&self) -> &Outcome {
        self.result.as_ref().expect("the run has an outcome")
    }

    #[track_caller]
    pub(crate) fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("the run failed")
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        self.outcome().status
    }

    #[track_caller]
    pub(crate) fn notice(&self) -> &str {
        self.outcome().notice.as_deref().expect("there is something to say")
    }

    /// What was kept of one stream.
    pub(crate) fn bytes(&self, wanted: Stream) -> Vec<u8> {
        let pieces = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Data(stream, bytes) if *stream == wanted => Some(bytes.as_slice()),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.bytes(Stream::Stdout)).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.bytes(Stream::Stderr)).into_owned()
    }

    /// How it ended and what it printed, for comparing at once.
    #[track_caller]
    pub(crate) fn status_and_stdout(&self) -> (Status, String) {
        (self.status(), self.stdout())
    }

    /// The files that it was told to have made or changed.
    #[track_caller]
    pub(crate) fn files(&self) -> Vec<(String, u64, stockade_runner::outcome::Change)> {
        let files = self.outcome().files.iter();
        files.map(|file| (String::from_utf8_lossy(&file.path).into_owned(), file.size, file.change)).collect()
    }
}

/// Ended by itself with this exit code.
pub(crate) const fn exited(code: i32) -> Status {
    Status::Exited { code }
}
