//! How far a pull has come: the daemon tells of each layer by itself, in words, and a progress bar wants
//! sums.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;

/// How far the pull of an image has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// How many layers of the image are there, downloaded and unpacked.
    pub layers_done: usize,
    /// How many layers are known of. It may grow in the beginning.
    pub layers: usize,
    /// How many bytes have been downloaded.
    pub bytes_done: u64,
    /// How many bytes there are to download, as far as the sizes of layers are known: it grows as their
    /// downloads begin. Layers that were there before count nowhere.
    pub bytes_total: u64,
    /// What the daemon is doing, in its own words.
    pub status: String,
}

/// The layers of a pull.
#[derive(Debug, Default)]
pub(super) struct Progress {
    layers: HashMap<String, Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    done: bool,
    bytes_done: u64,
    bytes_total: u64,
}

impl Progress {
    /// Takes in what the daemon says; the sums after it.
    pub(super) fn update(&mut self, told: CreateImageInfo) -> PullProgress {
        let status = told.status.unwrap_or_default();
        if let Some(id) = told.id {
            let detail = told.progress_detail.unwrap_or_default();
            let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
            self.update_layer(id, &status, bytes(detail.current), bytes(detail.total));
        }
        self.sums(status)
    }

    fn update_layer(&mut self, id: String, status: &str, current: Option<u64>, total: Option<u64>) {
        let begins = matches!(status, "Pulling fs layer" | "Waiting" | "Downloading" | "Already exists");
        // The image's own lines carry its tag as their id.
        let layer = match self.layers.get_mut(&id) {
            Some(layer) => layer,
            None if begins => self.layers.entry(id).or_default(),
            None => return,
        };
        match status {
            "Downloading" => {
                layer.bytes_done = current.unwrap_or(layer.bytes_done);
                layer.bytes_total = total.unwrap_or(layer.bytes_total).max(layer.bytes_done);
            }
            "Verifying Checksum" | "Download complete" | "Extracting" => layer.bytes_done = layer.bytes_total,
            "Pull complete" | "Already exists" => {
                layer.bytes_done = layer.bytes_total;
                layer.done = true;
            }
            _ => {}
        }
    }

    /// The sums when all is there. Podman tells the end of downloads alone.
    pub(super) fn finish(mut self, status: String) -> PullProgress {
        for layer in self.layers.values_mut() {
            layer.done = true;
            layer.bytes_done = layer.bytes_total;
        }
        self.sums(status)
    }

    fn sums(&self, status: String) -> PullProgress {
        let sum = |bytes: fn(&Layer) -> u64| {
            self.layers.values().map(bytes).fold(0_u64, |sum, bytes| sum.saturating_add(bytes))
        };
        PullProgress {
            layers_done: self.layers.values().filter(|layer| layer.done).count(),
            layers: self.layers.len(),
            bytes_done: sum(|layer| layer.bytes_done),
            bytes_total: sum(|layer| layer.bytes_total),
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: &str, status: &str, bytes: Option<(i64, i64)>) -> CreateImageInfo {
        let progress_detail = bytes.map(|(current, total)| bollard::models::ProgressDetail {
            current: Some(current),
            total: Some(total),
        });
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail,
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_are_summed_up() {
        let mut progress = Progress::default();
        let mut last = PullProgress::default();
        for (id, status, bytes, expected) in [
            ("3-slim", "Pulling from library/python", None, (0, 0, 0, 0)),
            ("a", "Already exists", None, (1, 1, 0, 0)),
            ("b", "Pulling fs layer", None, (1, 2, 0, 0)),
            ("c", "Pulling fs layer", None, (1, 3, 0, 0)),
            ("b", "Downloading", Some((10, 100)), (1, 3, 10, 100)),
            ("c", "Downloading", Some((5, 50)), (1, 3, 15, 150)),
            ("b", "Download complete", None, (1, 3, 105, 150)),
            ("b", "Extracting", Some((30, 100)), (1, 3, 105, 150)),
            ("b", "Pull complete", None, (2, 3, 105, 150)),
            ("c", "Pull complete", None, (3, 3, 150, 150)),
        ] {
            last = progress.update(told(id, status, bytes));
            let sums = (last.layers_done, last.layers, last.bytes_done, last.bytes_total);
            assert_eq!(sums, expected, "{id} {status}");
        }
        assert_eq!(last.status, "Pull complete");
    }

    #[test]
    fn all_is_done_in_the_end() {
        let mut progress = Progress::default();
        progress.update(told("a", "Pulling fs layer", None));
        progress.update(told("b", "Downloading", Some((1, 2))));
        let last = progress.finish("Download complete".to_owned());
        assert_eq!((last.layers_done, last.layers, last.bytes_done, last.bytes_total), (2, 2, 2, 2));
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let mut progress = Progress::default();
        progress.update(told("a", "Downloading", Some((i64::MAX, -1))));
        progress.update(told("b", "Downloading", Some((i64::MAX, i64::MAX))));
        let last = progress.update(told("c", "Downloading", Some((i64::MAX, 0))));
        assert_eq!(last.layers, 3);
        assert!(last.bytes_done <= last.bytes_total);
    }
}
