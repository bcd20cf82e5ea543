//! The conformance suite: what every executor promises, as cases that run unchanged in every place.
//!
//! `cases` has a module for each line of the contract. A case is an `async fn` whose name is the promise, and
//! gets a [`Place`](harness::Place); [`every_place`] makes a test of it for each place. A case uses nothing but
//! the public API and what any container with a shell and Python has. What is particular to one place is tested
//! elsewhere (`tests/local` for the local executor).
//!
//! A new place is a module like `local` here and one more module in the macro.

/// Makes a test of each case in each place. A case that is not listed is not run, and the compiler warns of it.
macro_rules! every_place {
    ($($case:ident),+ $(,)?) => {
        mod local {
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::harness::run_case(&$crate::local::Local, super::$case).await;
                }
            )+
        }
    };
}

mod cases;
mod harness;
mod local;
mod support;
