//! What the command does differently when it runs on a terminal.

use std::{
    io::{Read, Write},
    process::Child,
    sync::{Arc, Mutex},
};

use crate::support::{Place, wait_for};

/// A terminal on which the command runs.
pub(crate) struct Screen {
    keyboard: pty_process::blocking::Pty,
    child: Child,
    page: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
    read_to: usize,
}

impl Screen {
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::start_with(place, args, &[])
    }

    pub(crate) fn start_with(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let (keyboard, terminal) = pty_process::blocking::open().expect("a terminal can be opened");
        let mut command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_stockade"));
        command = command.args(args).current_dir(place.path()).env_clear().env("TERM", "xterm-256color");
        command = command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command = command.envs(environment.iter().copied());
        let child = command.spawn(terminal).expect("the command starts");
        let page = Arc::new(Mutex::new(Vec::new()));
        let copy = page.clone();
        let mut output = std::fs::File::from(rustix::io::dup(&keyboard).expect("descriptors are left"));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that all programs have closed is an error to read, not an end.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                copy.lock().expect("not poisoned").extend_from_slice(&bytes[..count]);
            }
        });
        Self { keyboard, child, page, reader, read_to: 0 }
    }

    /// Waits until the text has appeared after what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let read_to = self.read_to;
        self.read_to = wait_for(text, || {
            let page = self.page.lock().expect("not poisoned");
            let found = page[read_to..].windows(text.len()).position(|part| part == text.as_bytes());
            found.map(|position| read_to + position + text.len())
        });
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Waits for the command's end; everything on the page, and the exit status.
    pub(crate) fn end(mut self) -> (String, Option<i32>) {
        let status =
            wait_for("the end of the command", || self.child.try_wait().expect("the command is ours"));
        self.reader.join().expect("the reader ends with the terminal");
        let page = self.page.lock().expect("not poisoned");
        (String::from_utf8_lossy(&page).into_owned(), status.code())
    }
}

#[test]
fn headers_and_summary_are_coloured() {
    let place = Place::with("a.md", "```sh\necho one\n```\n```sh\nexit 3\n```\n");
    let (page, status) = Screen::start(&place, &["run", "a.md"]).end();
    assert!(page.contains("\x1b[2m[1/2] sh"), "{page:?}");
    assert!(page.contains("\x1b[31mexit code 3"), "{page:?}");
    assert_eq!(status, Some(3));
}

#[test]
fn no_color_is_honoured() {
    let place = Place::with("a.md", "```sh\necho one\n```\n```sh\nexit 3\n```\n");
    let (page, _) = Screen::start_with(&place, &["run", "a.md"], &[("NO_COLOR", "1")]).end();
    assert!(!page.contains('\x1b'), "{page:?}");
}

#[test]
fn block_can_colour_its_output_but_not_command_the_terminal() {
    let place = Place::new();
    let code = r"printf '\033[32mgreen\033[0m\n\033]0;title\007\033[6n\033[2Jafter\n'";
    let (page, _) = Screen::start(&place, &["run", "--no-sandbox", "-l", "sh", "-c", code]).end();
    assert!(page.contains("\x1b[32mgreen\x1b[0m\r\nafter\r\n"), "{page:?}");
}

#[test]
fn unfinished_line_of_a_block_is_ended_before_the_summary() {
    let (page, _) =
        Screen::start(&Place::new(), &["run", "--no-sandbox", "-l", "sh", "-c", "printf unfinished"]).end();
    assert!(page.contains("unfinished\r\n"), "{page:?}");
}

#[test]
fn json_on_a_terminal_is_still_json() {
    let (page, _) =
        Screen::start(&Place::new(), &["run", "--no-sandbox", "--json", "-l", "sh", "-c", "true"]).end();
    serde_json::from_str::<serde_json::Value>(page.trim_end()).expect("nothing but JSON");
}
