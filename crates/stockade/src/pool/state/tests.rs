use super::*;

/// The books of a pool whose sessions are names.
type Books = State<&'static str>;

fn books(min_idle: usize, max_total: usize) -> Books {
    State::new(Limits { min_idle, max_total, max_idle_time: None })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refusal() -> Error {
    Error::start("start a session", std::io::Error::other("no"))
}

impl Books {
    /// Starts what is to be started, with these names.
    fn start(&mut self, now: Instant, names: &[&'static str]) -> Vec<u64> {
        assert_eq!(self.begin_starts(now), names.len());
        names.iter().map(|name| self.begun(now, name)).collect()
    }

    fn begun(&mut self, now: Instant, name: &'static str) -> u64 {
        let (number, unwanted) = self.started(name, seconds(1), now);
        assert_eq!(unwanted, None);
        number
    }

    /// Takes one, and lets the breath pass.
    fn take_any(&mut self) -> Option<Handed<&'static str>> {
        let now = Instant::now();
        let taken = self.take(now, |_| true);
        self.end_pause(now + BREATH);
        taken
    }

    /// idle, in use, starting, ending, waiting
    fn numbers(&self) -> [usize; 5] {
        let told = self.metrics();
        [told.idle, told.in_use, told.starting, told.ending, told.waiting]
    }
}

fn name_of(taken: &mut oneshot::Receiver<Result<Handed<&'static str>>>) -> &'static str {
    taken.try_recv().expect("it was told").expect("a session").session
}

#[test]
fn as_many_are_started_as_are_to_be_idle_and_each_that_is_taken_is_followed_by_another() {
    let (mut books, now) = (books(2, 4), Instant::now());
    books.start(now, &["a", "b"]);
    assert_eq!(books.begin_starts(now), 0);
    let taken = books.take_any().unwrap();
    assert_eq!(taken.session, "a", "the oldest");
    books.start(now, &["c"]);
    assert_eq!(books.numbers(), [2, 1, 0, 0, 0]);
}

#[test]
fn the_refill_leaves_the_machine_to_the_first_block_and_not_to_those_that_follow() {
    let (mut books, now) = (books(2, 10), Instant::now());
    books.start(now, &["a", "b"]);
    books.take(now, |_| true).unwrap();
    assert_eq!((books.begin_starts(now), books.next_due()), (0, Some(now + BREATH)));
    books.take(now + BREATH / 2, |_| true).unwrap();
    assert_eq!(books.next_due(), Some(now + BREATH));
    let (_, mut waiting) = books.wait();
    books.start(now + BREATH / 2, &["c"]);
    assert_eq!(name_of(&mut waiting), "c", "who waits does not wait for that");
    books.end_pause(now + BREATH);
    books.start(now + BREATH, &["d", "e"]);
}

#[test]
fn there_are_never_more_than_the_most_and_a_place_is_free_only_when_it_is_gone() {
    let (mut books, now) = (books(1, 2), Instant::now());
    books.start(now, &["a"]);
    let first = books.take_any().unwrap();
    books.start(now, &["b"]);
    books.take_any().unwrap();
    let (_, mut waiting) = books.wait();
    assert_eq!(books.begin_starts(now), 0, "two are in use");
    books.ended(first.number);
    books.start(now, &["c"]);
    assert_eq!(name_of(&mut waiting), "c");
    assert_eq!(books.numbers(), [0, 2, 0, 0, 0]);
}

#[test]
fn who_came_first_is_served_first_and_who_left_is_passed_over() {
    let (mut books, now) = (books(0, 10), Instant::now());
    let mut places: Vec<_> = (0..4).map(|_| books.wait()).collect();
    assert_eq!(books.begin_starts(now), 4);
    // One says so, one is just gone.
    let (ticket, _) = places.remove(1);
    books.leave(ticket);
    drop(places.remove(1));
    assert_eq!(books.numbers(), [0, 0, 4, 0, 3]);
    for name in ["a", "b", "c"] {
        books.begun(now, name);
    }
    assert_eq!(name_of(&mut places[0].1), "a");
    assert_eq!(name_of(&mut places[1].1), "b");
    assert_eq!(books.numbers(), [1, 2, 1, 0, 0], "the third is for whoever comes next");
}

#[test]
fn a_session_that_comes_back_unused_is_the_next_waiters_or_idle_as_old_as_it_was() {
    let (mut books, now) = (books(2, 10), Instant::now());
    books.start(now, &["old", "young"]);
    let old = books.take_any().unwrap();
    assert_eq!(books.give_back(old), None);
    let old = books.take_any().unwrap();
    assert_eq!(old.session, "old", "it is the oldest again");
    books.take_any().unwrap();
    let (_, mut waiting) = books.wait();
    assert_eq!(books.give_back(old), None);
    assert_eq!(name_of(&mut waiting), "old");
}

#[test]
fn a_failed_start_is_told_to_whoever_waits_longest_unless_another_is_on_its_way_for_him() {
    let (mut books, now) = (books(1, 10), Instant::now());
    assert_eq!(books.begin_starts(now), 1);
    let (_, mut waiting) = books.wait();
    assert_eq!(books.begin_starts(now), 1, "one for him and one to be idle");
    books.failed(refusal(), now);
    waiting.try_recv().expect_err("there is hope");
    books.failed(refusal(), now);
    let told = waiting.try_recv().expect("he is told").expect_err("why not");
    assert_eq!(told.kind(), "runner_not_started");
    assert_eq!(books.numbers(), [0; 5]);
}

#[test]
fn the_refill_pauses_after_failures_and_longer_each_time_while_who_waits_is_served_at_once() {
    let (mut books, mut now) = (books(1, 10), Instant::now());
    for pause in [100, 200, 400] {
        assert_eq!(books.begin_starts(now), 1);
        books.failed(refusal(), now);
        assert_eq!(books.begin_starts(now), 0);
        assert_eq!(books.next_due(), Some(now + Duration::from_millis(pause)));
        now = books.next_due().unwrap();
    }
    assert_eq!(books.begin_starts(now), 1);
    books.failed(refusal(), now);
    let (_, mut waiting) = books.wait();
    books.start(now, &["a"]);
    assert_eq!(name_of(&mut waiting), "a");
    assert_eq!(books.next_due(), None, "a success ends the pause");
    books.start(now, &["b"]);
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
}

#[test]
fn a_session_that_ends_or_breaks_while_it_is_idle_is_replaced() {
    let (mut books, now) = (books(3, 10), Instant::now());
    let numbers = books.start(now, &["ends", "breaks", "was seen too late"]);
    books.ended(numbers[0]);
    assert_eq!(books.failed_while_idle(numbers[1]), Some("breaks"));
    assert_eq!(books.numbers(), [1, 0, 0, 1, 0]);
    assert!(books.take(now, |name| *name != "was seen too late").is_none());
    assert_eq!(books.numbers(), [0, 0, 0, 2, 0]);
    books.start(now, &["a", "b", "c"]);
    numbers[1..].iter().for_each(|number| books.ended(*number));
    assert_eq!(books.numbers(), [3, 0, 0, 0, 0]);
    assert_eq!(books.counts.ended_while_idle, 3);
}

#[test]
fn one_that_breaks_while_it_is_in_use_is_its_holders() {
    let (mut books, now) = (books(1, 10), Instant::now());
    let numbers = books.start(now, &["a"]);
    books.take_any().unwrap();
    assert_eq!(books.failed_while_idle(numbers[0]), None);
    assert_eq!(books.numbers(), [0, 1, 0, 0, 0]);
}

#[test]
fn what_is_idle_for_too_long_is_replaced() {
    let limits = Limits { min_idle: 1, max_total: 10, max_idle_time: Some(seconds(60)) };
    let (mut books, begin) = (Books::new(limits), Instant::now());
    let numbers = books.start(begin, &["a"]);
    assert_eq!(books.next_due(), Some(begin + seconds(60)));
    assert!(books.expire(begin + seconds(59)).is_empty());
    assert_eq!(books.expire(begin + seconds(60)), ["a"]);
    books.start(begin + seconds(60), &["b"]);
    assert_eq!(books.numbers(), [1, 0, 0, 1, 0]);
    books.ended(numbers[0]);
    assert_eq!((books.numbers(), books.counts.expired_while_idle), ([1, 0, 0, 0, 0], 1));
}

#[test]
fn who_waits_for_a_full_pool_is_told_when_it_is_full_or_why_not() {
    let (mut books, now) = (books(2, 10), Instant::now());
    let mut full = books.wait_until_full();
    books.start(now, &["a", "b"]);
    full.try_recv().expect("it was told").expect("it is full");
    books.wait_until_full().try_recv().expect("it was told").expect("it is full");
    books.take_any().unwrap();
    let mut full = books.wait_until_full();
    assert_eq!(books.begin_starts(now), 1);
    books.failed(refusal(), now);
    full.try_recv().expect("it was told").expect_err("a start failed");
    let mut again = books.wait_until_full();
    books.start(now, &["c"]);
    again.try_recv().expect("the pause is not for who waits").expect("it is full");
}

#[test]
fn a_pool_is_full_when_those_in_use_leave_no_more_room() {
    let (mut books, now) = (books(2, 2), Instant::now());
    books.start(now, &["a", "b"]);
    books.take_any().unwrap();
    books.wait_until_full().try_recv().expect("it was told").expect("there is no room");
    // Also when the last room is taken by those who wait.
    let mut books = State::new(books.limits);
    let (_first, _second) = (books.wait(), books.wait());
    let mut full = books.wait_until_full();
    books.start(now, &["a", "b"]);
    full.try_recv().expect("it was told").expect("there is no room");
}

#[test]
fn who_waits_no_more_for_a_full_pool_ends_no_pause() {
    let (mut books, now) = (books(1, 2), Instant::now());
    assert_eq!(books.begin_starts(now), 1);
    books.failed(refusal(), now);
    drop(books.wait_until_full());
    assert_eq!(books.begin_starts(now), 0);
    let _waits = books.wait_until_full();
    assert_eq!(books.begin_starts(now), 1);
}

#[test]
fn a_closed_pool_gives_nothing_out_and_is_drained_when_all_of_it_is_gone() {
    let (mut books, now) = (books(2, 3), Instant::now());
    let numbers = books.start(now, &["a", "b"]);
    books.take_any().unwrap();
    assert_eq!(books.begin_starts(now), 1);
    assert_eq!(books.close(), ["b"]);
    assert_eq!(books.begin_starts(now), 0);
    assert_eq!(books.numbers(), [0, 1, 1, 1, 0]);
    let (late, unwanted) = books.started("c", seconds(1), now);
    assert_eq!(unwanted, Some("c"), "it comes too late");
    for number in [numbers[0], numbers[1], late] {
        assert!(!books.is_drained());
        books.ended(number);
    }
    assert!(books.is_drained());
}

#[test]
fn the_queue_of_a_closed_pool_is_told_by_its_end() {
    let mut books = books(1, 1);
    let (_, mut waiting) = books.wait();
    let mut full = books.wait_until_full();
    books.close();
    assert_eq!(waiting.try_recv().expect_err("nothing comes"), oneshot::error::TryRecvError::Closed);
    assert_eq!(full.try_recv().expect_err("nothing comes"), oneshot::error::TryRecvError::Closed);
}

#[test]
fn who_waited_in_vain_is_told_what_takes_the_places_and_what_to_do() {
    let (mut books, now) = (books(1, 2), Instant::now());
    books.start(now, &["a"]);
    books.take_any().unwrap();
    assert_eq!(books.begin_starts(now), 1);
    let slow = books.exhausted(seconds(3));
    assert_eq!(
        slow.to_string(),
        "failed to acquire a session within 3.0s: of at most 2 (max_total), 1 are in use and 1 are being started"
    );
    assert!(slow.hint().is_some_and(|hint| hint.contains("min_idle")));
    books.begun(now, "b");
    books.take_any().unwrap();
    let full = books.exhausted(seconds(3));
    assert!(full.hint().is_some_and(|hint| hint.contains("max_total")));
    assert_eq!(books.counts.timed_out, 2);
}
