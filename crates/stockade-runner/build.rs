//! Hands the place of this crate's sources to the crate that builds the static runner from them
//! (`DEP_STOCKADE_RUNNER_SOURCE` in its build script).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::metadata=source={}",
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR")
    );
}
