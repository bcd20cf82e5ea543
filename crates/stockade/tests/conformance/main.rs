//! The conformance suite: what every executor promises, as cases that run unchanged in every place.
//!
//! `cases` has a module for each line of the contract. A case is an `async fn` whose name is the promise, and
//! gets a [`Place`](harness::Place); [`every_place`] makes a test of it for each place: this host without a sandbox
//! (`local`) and at each level of it (`namespaces`, `landlock`), and containers at Docker with the work_dir mounted (`docker`) and copied (`docker_copy`) and at Podman (`podman`).
//! A case uses nothing but the public API and what any container with a shell and Python has, and asks
//! [`Offers`](harness::Offers) before it looks at a promise from this host. What is particular to one place is
//! tested elsewhere (`tests/local` for the local executor, `tests/docker` for the Docker executor).
//!
//! A new place is a module like `local` here and one more line in the macro.

/// Makes a test of each case in each place. A case that is not listed is not run, and the compiler warns of it.
macro_rules! every_place {
    ($($case:ident),+ $(,)?) => {
        every_place!(@ local, $crate::local::LOCAL, $($case)+);
        every_place!(@ namespaces, $crate::local::NAMESPACES, $($case)+);
        every_place!(@ landlock, $crate::local::LANDLOCK, $($case)+);
        every_place!(@ docker, $crate::container::DOCKER, $($case)+);
        every_place!(@ docker_copy, $crate::container::DOCKER_COPY, $($case)+);
        every_place!(@ podman, $crate::container::PODMAN, $($case)+);
    };
    (@ $module:ident, $place:expr, $($case:ident)+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::harness::run_case(&$place, super::$case).await;
                }
            )+
        }
    };
}

mod cases;
mod container;
mod harness;
mod local;
mod ordinary_user;
mod support;
