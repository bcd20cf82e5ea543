//! The escape suite: attempts to get out of the places where code runs, at both levels of the local sandbox and in a
//! default container; locally by root's code and by an ordinary user's.
//!
//! An attempt is a row of a table: Python code, what it aims at, how its denial shows, and a twin that must succeed.
//! [`attempts!`] makes a test of each in each of its places, `subject::attempt::place`. What needs a session of its own
//! (limits, races, leftovers, a terminal) is a test of its own. Where a group of attempts leaves out a place, a comment
//! says why.
//!
//! ```text
//! attempt     a row, and how what became of it is judged
//! place       where attempts are made, and by whom
//! report      making them, once for all tests
//! honeypot    what of this host they aim at, and whether anything came of that
//! ```

/// Makes a table of attempts, and a test of each in each of its places.
macro_rules! attempts {
    (@test [$($place:ident)+] $name:ident) => {
        mod $name {
            $(
                #[test]
                fn $place() {
                    $crate::report::check(module_path!(), stringify!($place));
                }
            )+
        }
    };
    (@row [$($place:ident)+] $name:ident $attempt:expr) => {
        $crate::attempt::Row {
            name: concat!(module_path!(), "::", stringify!($name)),
            places: &[$(stringify!($place)),+],
            attempt: $attempt,
        }
    };
    ($($places:tt { $($name:ident: $attempt:expr),+ $(,)? })+) => {
        pub(crate) const ATTEMPTS: &[$crate::attempt::Row] = &[$($(attempts!(@row $places $name $attempt)),+),+];
        $($(attempts!(@test $places $name);)+)+
    };
}

mod attempt;
mod calls;
mod changes;
mod devices;
mod exhaustion;
mod files;
mod honeypot;
mod leftovers;
mod namespaces;
mod network;
mod place;
mod privileges;
mod processes;
mod races;
mod report;
mod runner;
mod settings;
mod sockets;
#[path = "../conformance/support/mod.rs"]
mod support;
mod terminal;
mod user;

/// All that is tried.
const TABLES: &[&[attempt::Row]] = &[
    calls::ATTEMPTS,
    changes::ATTEMPTS,
    devices::ATTEMPTS,
    files::ATTEMPTS,
    namespaces::ATTEMPTS,
    network::ATTEMPTS,
    privileges::ATTEMPTS,
    processes::ATTEMPTS,
    runner::ATTEMPTS,
    settings::ATTEMPTS,
    sockets::ATTEMPTS,
];
