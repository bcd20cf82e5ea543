//! How the pull of an image is shown, on stderr: as a bar on a terminal, and else as one line. Owns the bar;
//! what it tells comes from the daemon.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};
use stockade::PullProgress;

use crate::{render::show_note, terminal::visible};

/// Shows a pull. Its clones are one display.
#[derive(Clone)]
pub(crate) struct PullDisplay {
    shown: Shown,
    under_way: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Shown {
    Nothing,
    Line { text: String, said: Arc<AtomicBool> },
    Bar(ProgressBar),
}

impl PullDisplay {
    /// The display of a pull that may come.
    pub(crate) fn new(image: &str, for_people: bool) -> Self {
        let image = visible(image).into_owned();
        let shown = if !for_people {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(image))
        } else {
            Shown::Line { text: format!("pulling {image} …"), said: Arc::default() }
        };
        Self { shown, under_way: Arc::default() }
    }

    /// Shows how far the pull has come.
    pub(crate) fn show(&self, progress: &PullProgress) {
        self.under_way.store(progress.layers_done < progress.layers, Ordering::Relaxed);
        match &self.shown {
            Shown::Nothing => {}
            Shown::Line { text, said } if !said.swap(true, Ordering::Relaxed) => show_note(text),
            Shown::Line { .. } => {}
            Shown::Bar(bar) => {
                bar.set_length(progress.bytes_total);
                bar.set_prefix(format!("{} of {} layers", progress.layers_done, progress.layers));
                bar.set_position(progress.bytes_done);
            }
        }
    }

    /// Whether layers are still to come.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// A bar that appears with the first news.
fn bar(image: String) -> ProgressBar {
    let template = "pulling {msg} [{bar:30}] {bytes} of {total_bytes}, {prefix}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_message(image)
}
