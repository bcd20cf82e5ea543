//! Making the attempts: all of a place in one session, once for all tests, and once more as an ordinary user when this
//! is root. Owns what the tests ask; what an attempt must become is its own affair.

use std::{collections::BTreeMap, fs, sync::LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade::Session;

use crate::{
    TABLES,
    attempt::{Became, Row, Twin},
    calls,
    honeypot::Honeypot,
    place::{Place, is_mighty, is_root, start_outside},
    support::{need, outcome, patiently, python},
    user::{self, Ordinary},
};

const PRELUDE: &str = include_str!("attempts.py");

/// What became of all attempts of one user's code in one place.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    rows: BTreeMap<String, Became>,
    /// What was done to this host all the same.
    touched: Vec<String>,
    /// What the twins outside did to what was theirs.
    noticed: Vec<String>,
}

/// By the user's name.
type Reports = Vec<(&'static str, Report)>;

fn reports(place: Place) -> &'static Reports {
    static NAMESPACES: LazyLock<Reports> = LazyLock::new(|| make(Place::Namespaces));
    static LANDLOCK: LazyLock<Reports> = LazyLock::new(|| make(Place::Landlock));
    static DOCKER: LazyLock<Reports> = LazyLock::new(|| make(Place::Docker));
    match place {
        Place::Namespaces => &NAMESPACES,
        Place::Landlock => &LANDLOCK,
        Place::Docker => &DOCKER,
    }
}

/// The test of one attempt in one place.
pub(crate) fn check(name: &str, place: &str) {
    let place = Place::named(place);
    if !place.is_there() {
        return;
    }
    let row = rows().find(|row| row.name == name).expect("it is in a table");
    for (user, report) in reports(place) {
        let became = &report.rows[name];
        if became.twin.as_deref() == Some("ABSENT") {
            need::has("ipv6", false, "this host has no such address");
        } else if let Err(why) = row.attempt.judge(became) {
            panic!("as {user}: {why}");
        }
    }
}

/// After everything that was tried, this host is as it was.
mod nothing_of_this_host_is_touched {
    use super::{Place, check_untouched};

    #[test]
    fn namespaces() {
        check_untouched(Place::Namespaces);
    }

    #[test]
    fn landlock() {
        check_untouched(Place::Landlock);
    }

    #[test]
    fn docker() {
        check_untouched(Place::Docker);
    }
}

/// The second process runs one of these tests, and makes the report of its user.
fn check_untouched(place: Place) {
    if let Some(notes) = user::notes() {
        let text = serde_json::to_string(&run(place)).expect("it is JSON");
        fs::write(notes, text).expect("the file is ours");
    } else if place.is_there() {
        for (user, report) in reports(place) {
            assert_eq!(report.touched, [""; 0], "as {user}");
            let notices = |what: &str| report.noticed.iter().any(|noticed| noticed.contains(what));
            let all = [
                "reached STREAM",
                "reached ABSTRACT_DATAGRAM",
                "reached TCP",
                "to UDP",
                "signals",
                "priority",
            ];
            assert!(
                all.into_iter().all(notices),
                "as {user} too little was noticed outside: {:?}",
                report.noticed
            );
        }
    }
}

/// A container's processes have users of their own, whoever asks the daemon for it: there the code is root.
fn make(place: Place) -> Reports {
    let mut reports = vec![(if is_root() { "root" } else { "an ordinary user" }, run(place))];
    let ordinary = || Ordinary::new().filter(|_| place.level().is_some());
    if let Some(ordinary) = ordinary() {
        let name = place.level().map(|level| level.to_string()).unwrap_or_default();
        let notes = ordinary.run(&format!("report::nothing_of_this_host_is_touched::{name}"));
        reports.push(("an ordinary user", serde_json::from_str(&notes).expect("it wrote its report")));
    }
    reports
}

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.iter().copied().flatten()
}

/// Makes every attempt of a place, and then their twins outside, with other honeypots.
fn run(place: Place) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(patiently("all attempts", async {
        let rows: Vec<&Row> =
            rows().filter(|row| row.places.iter().any(|name| Place::named(name) == place)).collect();
        let honeypot = Honeypot::new();
        let session = place.start(honeypot.path("SHOWN_FOLDER"), honeypot.path("GRANTED")).await;
        let mut report =
            Report { rows: tried(&session, &honeypot, inside(&rows)).await, ..Report::default() };
        session.stop().await.expect("it stops");
        report.touched = honeypot.touched();

        let honeypot = Honeypot::new();
        let session = start_outside().await;
        for (name, became) in tried(&session, &honeypot, outside(&rows)).await {
            report.rows.get_mut(&name).expect("it was tried inside").twin = became.twin;
        }
        session.stop().await.expect("it stops");
        report.noticed = honeypot.touched();
        report
    }))
}

/// The attempts, and the twins that are made in the same place.
fn inside(rows: &[&Row]) -> Value {
    let attempts = rows.iter().map(|row| json!([row.name, "attempt", row.attempt.code, row.attempt.aim]));
    let twins = rows.iter().filter_map(|row| match row.attempt.twin {
        Twin::Beside(aim) => Some(json!([row.name, "twin", row.attempt.code, aim])),
        Twin::Outside | Twin::OutsideAsRoot => None,
    });
    attempts.chain(twins).collect()
}

fn outside(rows: &[&Row]) -> Value {
    let is_mighty = is_mighty();
    let has_one = |row: &&&Row| match row.attempt.twin {
        Twin::Beside(_) => false,
        Twin::Outside => true,
        Twin::OutsideAsRoot => is_mighty,
    };
    rows.iter()
        .filter(has_one)
        .map(|row| json!([row.name, "twin", row.attempt.code, row.attempt.aim]))
        .collect()
}

/// Tries all of it in one block.
async fn tried(session: &Session, honeypot: &Honeypot, rows: Value) -> BTreeMap<String, Became> {
    let mut code = String::from("import json\n");
    for (name, value) in [("NAMES", json!(honeypot.names)), ("CALLS", calls::numbers()), ("ROWS", rows)] {
        // A text of JSON is one of Python's, too.
        let text = serde_json::to_string(&value.to_string()).expect("text is JSON");
        code.push_str(&format!("{name} = json.loads({text})\n"));
    }
    let ran = outcome(session, python(code + PRELUDE)).await;
    let mut became: BTreeMap<String, Became> = BTreeMap::new();
    for line in ran.stdout.text().lines() {
        let (name, which, what): (String, String, String) =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let became = became.entry(name).or_default();
        match which.as_str() {
            "attempt" => became.attempt = what,
            _ => became.twin = Some(what),
        }
    }
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr.text());
    became
}
