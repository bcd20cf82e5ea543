//! Real work: what people have models write code for goes on working in the sandbox, at each of its levels, for root and
//! for an ordinary user, and in a container with what that is denied by default. Owns the programs and what must come of
//! them; what the same places must deny is tested elsewhere.
//!
//! A case is an `async fn` whose name is the promise, and gets a [`Place`](places::Place); [`work`] makes a test of it for
//! each place that it is promised for. Where a level can't do something, a case says how it fails there.
//! (That packages of Debian's install in a container is told by `tests/docker/hardening.rs`.)

/// Makes a test of each case in each of the places. On this host there are two: for root, and for a user who is not.
macro_rules! work {
    ($places:tt $($case:ident)+) => { $( work!(@ $case $places); )+ };
    (@ $case:ident [$($place:ident)+]) => {
        mod $case {
            $( work!(@@ $case $place); )+
        }
    };
    (@@ $case:ident namespaces) => { work!(@@@ $case namespaces NAMESPACES as_root as_user); };
    (@@ $case:ident landlock) => { work!(@@@ $case landlock LANDLOCK as_root as_user); };
    (@@ $case:ident docker) => { work!(@@@ $case docker DOCKER as_root); };
    (@@@ $case:ident $place:ident $constant:ident $($who:ident)+) => {
        mod $place {
            $(
                #[tokio::test]
                async fn $who() {
                    let test = concat!(module_path!(), "::", stringify!($who));
                    crate::places::$who(crate::places::$constant, test, super::super::$case).await;
                }
            )+
        }
    };
}

mod compilers;
mod files;
mod git;
mod javascript;
mod packages;
mod parallel;
mod places;
mod plots;
mod servers;
mod shell;
#[path = "../conformance/support/mod.rs"]
#[allow(unused_imports, reason = "each suite uses a part of this")]
mod support;
