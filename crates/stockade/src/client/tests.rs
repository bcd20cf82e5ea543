//! A conversation with a runner that is broken, or out to harm its host: it says what no runner says, too much, or
//! nothing. Each ends in the right fault, in time, and nothing panics or grows without bound. There is no process:
//! the test is at the other end of the stream.

use std::future::poll_fn;

use proptest::prelude::*;
use stockade_runner::{
    outcome::{Outcome, Status},
    wire::message::{ChangedFile, LIVE_WINDOW, Piece, Stream, VERSION},
};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;

/// What the pipe to the other end holds.
const PIPE: usize = 64 << 10;
/// Long enough for a busy machine: what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The other end.
struct Runner {
    stream: DuplexStream,
    decoder: Decoder,
    /// Held until the runner has ended, as if a process did not tell how.
    obituary: Option<oneshot::Sender<String>>,
    doomed: CancellationToken,
}

type Starting = JoinHandle<Result<Client, StartError>>;

impl Runner {
    /// The other end of a conversation that has begun.
    fn called() -> (Self, Starting) {
        let (here, there) = duplex(PIPE);
        let (told, obituary) = oneshot::channel();
        let doomed = CancellationToken::new();
        let transport = Transport {
            stream: here,
            socket: None,
            obituary,
            doomed: doomed.clone(),
            heartbeat: None,
            lingers: false,
        };
        let io = Handle::current();
        let starting = io.spawn(Client::start(transport, io.clone(), SessionSpec::default()));
        (Self { stream: there, decoder: Decoder::new(), obituary: Some(told), doomed }, starting)
    }

    /// The other end of one that has come to a session.
    async fn ready() -> (Self, Client) {
        let (mut runner, starting) = Self::called();
        runner.greet().await;
        assert!(matches!(runner.hear().await, Request::Start(_)));
        runner.say(&Reply::Ready { pid: 1, confined: None }).await;
        let client = starting.await.expect("no panic").expect("it starts");
        (runner, client)
    }

    async fn greet(&mut self) {
        self.say(&Reply::Hello { version: VERSION }).await;
    }

    async fn say(&mut self, reply: &Reply) {
        self.say_bytes(&encode(reply).expect("it is small")).await;
    }

    /// What is said after the host has hung up is lost.
    async fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    async fn hear(&mut self) -> Request {
        let mut buffer = vec![0; PIPE];
        loop {
            if let Some(request) = self.decoder.next().expect("the host speaks well") {
                return request;
            }
            let length = self.stream.read(&mut buffer).await.expect("a pipe in memory");
            assert_ne!(length, 0, "the host has hung up");
            self.decoder.push(&buffer[..length]);
        }
    }

    /// Ends as a process does.
    fn end(mut self, how: &str) {
        let _ = self.obituary.take().map(|told| told.send(how.to_owned()));
    }
}

/// The fault with which a start ends.
async fn fault_of(starting: Starting) -> Fault {
    match timeout(LIMIT, starting).await.expect("it does not hang").expect("no panic") {
        Err(StartError::Ended(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// The fault with which a session ends, once it is told of; every later call has it too.
async fn fault_in(client: &Client) -> Fault {
    let ended = async {
        loop {
            match client.run(spec(false)) {
                Ok(mut run) => drop(end(&mut run).await),
                Err(Error::SessionEnded { fault, .. }) => return fault,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let fault = timeout(LIMIT, ended).await.expect("it does not hang");
    let later = client.languages().await.expect_err("it is over");
    assert!(matches!(later, Error::SessionEnded { fault: again, .. } if again == fault));
    fault
}

fn is_protocol(fault: &Fault, expected: &str) -> bool {
    matches!(fault, Fault::Protocol { why } if why.contains(expected))
}

fn spec(live: bool) -> RunSpec {
    RunSpec { language: "sh".into(), timeout_ms: 60_000, live, output_limit: 1000, ..RunSpec::default() }
}

fn outcome() -> Outcome {
    Outcome::without_process("sh", Status::Exited { code: 0 }, None, String::new())
}

async fn next(run: &mut RunHandle) -> RunEvent {
    timeout(LIMIT, poll_fn(|context| run.poll_event(context))).await.expect("it does not hang")
}

async fn end(run: &mut RunHandle) -> RunEnd {
    loop {
        if let RunEvent::Finished(end) = next(run).await {
            return end;
        }
    }
}

// The greeting.

#[tokio::test]
async fn a_runner_that_greets_and_is_ready_is_a_session() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(spec(false)).expect("it is sent");
    let Request::Run(RunSpec { run: id, .. }) = runner.hear().await else { panic!("a run was asked for") };
    runner.say(&Reply::Finished { run: id, result: Ok(outcome()) }).await;
    assert!(matches!(end(&mut run).await, RunEnd::Outcome(..)));
    assert!(!runner.doomed.is_cancelled());
}

#[tokio::test]
async fn a_runner_of_another_version_is_refused() {
    for version in [0, VERSION - 1, VERSION + 1, u32::MAX] {
        let (mut runner, starting) = Runner::called();
        runner.say(&Reply::Hello { version }).await;
        let fault = fault_of(starting).await;
        assert!(is_protocol(&fault, &format!("version {version} of the wire")), "{fault:?}");
        assert!(runner.doomed.is_cancelled());
    }
}

#[tokio::test]
async fn what_is_no_runner_is_quoted() {
    let (mut runner, starting) = Runner::called();
    runner.say_bytes(b"Welcome to this image!\nToday is a good day.\n").await;
    let fault = fault_of(starting).await;
    assert!(is_protocol(&fault, "it said: \"Welcome to this image!\\nToday is a good day.\""), "{fault:?}");
    assert!(runner.doomed.is_cancelled());
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_before_it_comes() {
    let (mut runner, starting) = Runner::called();
    runner.greet().await;
    runner.say_bytes(&u32::MAX.to_le_bytes()).await;
    let fault = fault_of(starting).await;
    assert!(is_protocol(&fault, "over the limit"), "{fault:?}");
}

#[tokio::test]
async fn a_frame_that_holds_no_message_is_refused() {
    let (mut runner, client) = Runner::ready().await;
    runner.say_bytes(&[3, 0, 0, 0, 255, 255, 255]).await;
    let fault = fault_in(&client).await;
    assert!(is_protocol(&fault, "no message"), "{fault:?}");
}

#[tokio::test]
async fn a_runner_that_does_not_greet_first_is_refused() {
    let (mut runner, starting) = Runner::called();
    runner.say(&Reply::Ready { pid: 1, confined: None }).await;
    let fault = fault_of(starting).await;
    assert!(is_protocol(&fault, "before its greeting"), "{fault:?}");
}

#[tokio::test]
async fn a_second_greeting_is_refused() {
    let (mut runner, client) = Runner::ready().await;
    runner.greet().await;
    let fault = fault_in(&client).await;
    assert!(is_protocol(&fault, "a second greeting"), "{fault:?}");
    assert!(runner.doomed.is_cancelled());
}

// The end of the stream, and silence.

#[tokio::test]
async fn the_end_of_the_stream_is_a_fault_at_every_point_of_a_start() {
    let hello = encode(&Reply::Hello { version: VERSION }).expect("it is small");
    let ready = encode(&Reply::Ready { pid: 300, confined: None }).expect("it is small");
    let said = [hello, ready].concat();
    for length in 0..said.len() {
        let (mut runner, starting) = Runner::called();
        runner.say_bytes(&said[..length]).await;
        runner.end("it was over");
        let expected = Fault::RunnerDied { how: Some("it was over".to_owned()) };
        assert_eq!(fault_of(starting).await, expected, "after {length} bytes");
    }
    let (mut runner, starting) = Runner::called();
    runner.say_bytes(&said).await;
    assert!(starting.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn the_end_of_the_stream_ends_whatever_was_asked() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(spec(true)).expect("it is sent");
    let answers = async {
        let part = client.read(b"x", 0, 10);
        let (part, changes, written) =
            tokio::join!(part, client.changes(), client.write(b"x", Entry::Directory));
        [part.is_err(), changes.is_err(), written.is_err(), client.stop(Fault::Stopped).await.is_err()]
    };
    let ending = async {
        // The run, and three requests.
        for _ in 0..4 {
            runner.hear().await;
        }
        runner.end("it was killed");
    };
    let (all_failed, ()) = timeout(LIMIT, async { tokio::join!(answers, ending) }).await.expect("no hang");
    assert_eq!(all_failed, [true; 4]);
    let RunEnd::Ended(fault) = end(&mut run).await else { panic!("the run is not over") };
    assert_eq!(fault, Fault::RunnerDied { how: Some("it was killed".to_owned()) });
}

#[tokio::test]
async fn a_runner_of_whose_end_nobody_tells_is_a_fault_all_the_same() {
    let (runner, client) = Runner::ready().await;
    let Runner { stream, obituary: _held, .. } = runner;
    drop(stream);
    assert_eq!(fault_in(&client).await, Fault::RunnerDied { how: None });
}

#[tokio::test]
async fn a_runner_that_never_greets_is_ended_by_force() {
    let (runner, starting) = Runner::called();
    assert_eq!(fault_of(starting).await, Fault::Unresponsive { after: PATIENCE });
    assert!(runner.doomed.is_cancelled());
}

#[tokio::test]
async fn a_runner_that_answers_nothing_is_ended_by_force() {
    let (runner, client) = Runner::ready().await;
    let asked = async { tokio::join!(client.languages(), client.changes(), client.read(b"x", 0, 1)) };
    let (languages, changes, part) = timeout(LIMIT, asked).await.expect("it does not hang");
    assert!(languages.is_err() && changes.is_err() && part.is_err());
    assert!(runner.doomed.is_cancelled());
}

#[tokio::test]
async fn a_run_that_is_started_and_never_ends_is_a_fault_soon_after_its_deadline() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(RunSpec { timeout_ms: 50, ..spec(false) }).expect("it is sent");
    runner.say(&Reply::Started { run: 0, language: "sh".into(), file: ByteBuf::new() }).await;
    let RunEnd::Ended(fault) = end(&mut run).await else { panic!("the run is not over") };
    assert!(matches!(fault, Fault::Unresponsive { .. }), "{fault:?}");
    assert!(runner.doomed.is_cancelled());
}

#[tokio::test]
async fn a_run_that_waits_is_no_fault_while_the_runner_shows_that_it_lives() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(RunSpec { timeout_ms: 50, ..spec(false) }).expect("it is sent");
    for _ in 0..2 {
        while runner.hear().await != Request::Heartbeat {}
        runner.say(&Reply::Heartbeat).await;
    }
    runner.say(&Reply::Finished { run: 0, result: Ok(outcome()) }).await;
    assert!(matches!(end(&mut run).await, RunEnd::Outcome(..)));
}

#[tokio::test]
async fn a_runner_that_stays_after_the_goodbye_is_ended_by_force() {
    let (mut runner, client) = Runner::ready().await;
    let stopping = async {
        assert!(client.stop(Fault::Stopped).await.expect("it answers").is_empty());
        client.close();
    };
    let answering = async {
        assert_eq!(runner.hear().await, Request::Stop);
        runner.say(&Reply::Stopped { survivors: Vec::new() }).await;
    };
    tokio::join!(stopping, answering);
    timeout(LIMIT, runner.doomed.cancelled()).await.expect("it is ended");
}

// Answers.

#[tokio::test]
async fn an_answer_to_nothing_that_was_asked_is_refused() {
    let answers = [
        Reply::Ready { pid: 2, confined: None },
        Reply::Languages(Vec::new()),
        Reply::Written { id: 7, result: Ok(ByteBuf::new()) },
        Reply::Read { id: 7, result: Ok(Part { contents: ByteBuf::new(), size: 0, executable: false }) },
        Reply::Changes { id: 7, changes: Changes::default() },
        Reply::Stopped { survivors: vec![1] },
    ];
    for answer in answers {
        let (mut runner, client) = Runner::ready().await;
        runner.say(&answer).await;
        let fault = fault_in(&client).await;
        assert!(is_protocol(&fault, "an answer to nothing that was asked"), "{answer:?}: {fault:?}");
    }
}

#[tokio::test]
async fn what_is_said_of_unknown_runs_is_ignored() {
    let (mut runner, client) = Runner::ready().await;
    let data = ByteBuf::from(vec![0; 100]);
    let pieces = vec![Piece::Data(Stream::Stdout, data.clone()); 100];
    for reply in [
        Reply::Started { run: 99, language: "sh".into(), file: ByteBuf::new() },
        Reply::Live { run: 99, stream: Stream::Stdout, data, lost: u64::MAX },
        Reply::Output { run: 99, pieces },
        Reply::Finished { run: 99, result: Ok(Outcome { survivors: vec![1], ..outcome() }) },
        Reply::Heartbeat,
    ] {
        runner.say(&reply).await;
    }
    let mut run = client.run(spec(false)).expect("it is sent");
    runner.say(&Reply::Finished { run: 0, result: Ok(outcome()) }).await;
    assert!(matches!(end(&mut run).await, RunEnd::Outcome(..)));
}

#[tokio::test]
async fn a_run_that_starts_twice_is_refused() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(spec(false)).expect("it is sent");
    for _ in 0..2 {
        runner.say(&Reply::Started { run: 0, language: "sh".into(), file: ByteBuf::new() }).await;
    }
    let RunEnd::Ended(fault) = end(&mut run).await else { panic!("the run is not over") };
    assert!(is_protocol(&fault, "a second start"), "{fault:?}");
}

#[tokio::test]
async fn a_larger_part_of_a_file_than_was_asked_for_is_refused() {
    for (length, is_allowed) in [(10, true), (11, false)] {
        let (mut runner, client) = Runner::ready().await;
        let contents = ByteBuf::from(vec![0; length]);
        let answering = async {
            runner.hear().await;
            let part = Part { contents, size: u64::MAX, executable: false };
            runner.say(&Reply::Read { id: 0, result: Ok(part) }).await;
        };
        let (part, ()) = tokio::join!(client.read(b"x", 0, 10), answering);
        assert_eq!(part.is_ok(), is_allowed, "{part:?}");
        if !is_allowed {
            assert!(is_protocol(&fault_in(&client).await, "a larger part"));
        }
    }
}

#[tokio::test]
async fn changes_are_handed_on_as_they_are_said_for_files_to_judge() {
    let (mut runner, client) = Runner::ready().await;
    let file = |path: &[u8]| ChangedFile { path: ByteBuf::from(path), size: u64::MAX };
    let said =
        Changes { changed: vec![file(b"../../etc/passwd"), file(b""), file(b"/x")], ..Changes::default() };
    let answering = async {
        assert_eq!(runner.hear().await, Request::Changes { id: 0 });
        runner.say(&Reply::Changes { id: 0, changes: said.clone() }).await;
    };
    let (changes, ()) = tokio::join!(client.changes(), answering);
    assert_eq!(changes.expect("it answers"), said);
}

// Floods.

#[tokio::test]
async fn more_output_than_may_be_kept_is_refused() {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(spec(false)).expect("it is sent");
    let pieces = vec![Piece::Data(Stream::Stdout, ByteBuf::from(vec![0; 10_000]))];
    let flood = async {
        loop {
            runner.say(&Reply::Output { run: 0, pieces: pieces.clone() }).await;
        }
    };
    let end = tokio::select! {
        end = end(&mut run) => end,
        () = flood => unreachable!("it goes on and on"),
    };
    let RunEnd::Ended(fault) = end else { panic!("the run is not over") };
    assert!(is_protocol(&fault, "more output than may be kept"), "{fault:?}");
}

/// What a listener gets who takes nothing until the end: bytes, events, and the bytes that were left out.
async fn flooded(piece: usize, count: usize) -> (usize, usize, u64) {
    let (mut runner, client) = Runner::ready().await;
    let mut run = client.run(spec(true)).expect("it is sent");
    let live = Reply::Live { run: 0, stream: Stream::Stdout, data: ByteBuf::from(vec![0; piece]), lost: 0 };
    let frame = encode(&live).expect("it is small");
    for _ in 0..count {
        runner.say_bytes(&frame).await;
    }
    runner.say(&Reply::Finished { run: 0, result: Ok(outcome()) }).await;
    // An answer to a later question: all that was said before has been taken in.
    let answering = async {
        while runner.hear().await != Request::Languages {}
        runner.say(&Reply::Languages(Vec::new())).await;
    };
    let (answered, ()) = tokio::join!(client.languages(), answering);
    answered.expect("it answers");
    let (mut bytes, mut events, mut lost) = (0, 0, 0);
    loop {
        match next(&mut run).await {
            RunEvent::Live { data, .. } => {
                bytes += data.len();
                events += 1;
            }
            RunEvent::LiveLost { bytes } => lost += bytes,
            RunEvent::Started { .. } => {}
            RunEvent::Finished(_) => return (bytes, events, lost),
        }
    }
}

#[tokio::test]
async fn a_flood_of_live_output_is_bounded_and_counted() {
    const PIECE: usize = 1 << 20;
    let (bytes, _, lost) = flooded(PIECE, 32).await;
    assert!(bytes as u64 >= LIVE_WINDOW && bytes < 10 * PIECE, "{bytes}");
    assert_eq!(bytes as u64 + lost, 32 * PIECE as u64);
}

#[tokio::test]
async fn a_flood_of_tiny_pieces_is_bounded_by_the_room_that_they_take() {
    const COUNT: usize = 1 << 19;
    let (bytes, events, lost) = flooded(1, COUNT).await;
    assert!(events < COUNT / 2, "{events}");
    assert_eq!(bytes as u64 + lost, COUNT as u64);
}

#[tokio::test]
async fn a_flood_of_background_output_is_bounded_and_counted() {
    let (mut runner, client) = Runner::ready().await;
    let mut watcher = client.watch_background().expect("it is asked for");
    const PIECE: usize = 8 << 20;
    let data = ByteBuf::from(vec![0; PIECE]);
    for _ in 0..4 {
        let (stream, bytes) = (Stream::Stdout, PIECE as u64);
        runner.say(&Reply::Background { run: 9, stream, bytes, data: data.clone() }).await;
    }
    runner.end("it was over");
    let (mut bytes, mut held) = (0, 0);
    while let Some(output) = poll_fn(|context| watcher.poll_next(context)).await {
        bytes += output.bytes;
        held += output.data.as_bytes().len();
    }
    assert_eq!((bytes, client.background_bytes()), (4 * PIECE as u64, 4 * PIECE as u64));
    assert!(held as u64 <= 4 * LIVE_WINDOW, "{held}");
}

// Anything at all.

fn any_stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]
}

fn any_bytes() -> impl Strategy<Value = ByteBuf> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(ByteBuf::from)
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, any::<u64>()]
}

fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        (any_stream(), any_bytes()).prop_map(|(stream, data)| Piece::Data(stream, data)),
        (any_stream(), any_number()).prop_map(|(stream, dropped)| Piece::Dropped(stream, dropped)),
    ];
    proptest::collection::vec(piece, 0..4)
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let pids = || proptest::collection::vec(any::<u32>(), 0..2);
    prop_oneof![
        Just(Reply::Hello { version: VERSION }),
        any::<u32>().prop_map(|pid| Reply::Ready { pid, confined: None }),
        (any_number(), any_bytes()).prop_map(|(run, file)| Reply::Started {
            run,
            language: "x".into(),
            file
        }),
        (any_number(), any_stream(), any_bytes(), any_number())
            .prop_map(|(run, stream, data, lost)| Reply::Live { run, stream, data, lost }),
        (any_number(), any_pieces()).prop_map(|(run, pieces)| Reply::Output { run, pieces }),
        (any_number(), pids()).prop_map(|(run, survivors)| {
            Reply::Finished { run, result: Ok(Outcome { survivors, ..outcome() }) }
        }),
        (any_number(), any_stream(), any_number(), any_bytes())
            .prop_map(|(run, stream, bytes, data)| Reply::Background { run, stream, bytes, data }),
        Just(Reply::Languages(Vec::new())),
        Just(Reply::Preloaded(Preloaded::Ready)),
        (any_number(), any_bytes()).prop_map(|(id, path)| Reply::Written { id, result: Ok(path) }),
        (any_number(), any_bytes(), any_number()).prop_map(|(id, contents, size)| Reply::Read {
            id,
            result: Ok(Part { contents, size, executable: true })
        }),
        any_number().prop_map(|id| Reply::Changes { id, changes: Changes::default() }),
        Just(Reply::Heartbeat),
        pids().prop_map(|survivors| Reply::Stopped { survivors }),
    ]
}

/// Frames of replies, frames of anything, and bytes in no order.
fn any_speech() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => any_reply().prop_map(|reply| encode(&reply).expect("it is small")),
        2 => (0..16u8, any_bytes()).prop_map(|(kind, body)| {
            let length = body.len() as u32 + 1;
            [&length.to_le_bytes()[..], &[kind], &body].concat()
        }),
        1 => any_bytes().prop_map(ByteBuf::into_vec),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Says it to a host that has asked for everything, and ends. Whatever it was, all that was asked comes to an end.
async fn hear_out(speech: &[u8]) {
    let (mut runner, client) = Runner::ready().await;
    let _watcher = client.watch_background().expect("it is asked for");
    let mut runs = [spec(true), spec(false)].map(|spec| client.run(spec).expect("it is sent"));
    let asked = async {
        let [one, other] = runs.each_mut();
        let preload = client.preload(vec!["x".into()], Vec::new(), Duration::ZERO);
        let answers =
            async { tokio::join!(client.read(b"x", 0, 8), client.changes(), client.languages(), preload) };
        let (_ended, _also, _answered) = tokio::join!(end(one), end(other), answers);
    };
    let speaking = async {
        runner.say_bytes(speech).await;
        runner.end("it was over");
    };
    let all = async { tokio::join!(asked, speaking) };
    // A task that panicked would tell nobody of the end, and what was asked would have to wait for its limit.
    timeout(PATIENCE / 2, all).await.expect("nothing is left to wait for");
}

proptest! {
    #[test]
    fn whatever_a_runner_says_everything_that_was_asked_comes_to_an_end(speech in any_speech()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(hear_out(&speech));
    }
}
