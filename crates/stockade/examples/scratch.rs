//! scratch
use std::time::Instant;
use stockade::*;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let kind = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let level = if kind == "landlock" { SandboxLevel::Landlock } else { SandboxLevel::Namespaces };
    let e = if kind == "none" {
        LocalCommandLineCodeExecutor::builder().no_sandbox()
    } else {
        LocalCommandLineCodeExecutor::builder().sandbox(Sandbox::default().level(level))
    }
    .build()
    .unwrap();
    let mut times = Vec::new();
    for _ in 0..n {
        let t = Instant::now();
        let session = e.start().await.unwrap();
        times.push(t.elapsed());
        session.stop().await.unwrap();
    }
    times.sort();
    println!(
        "{kind} min {:?} p10 {:?} p50 {:?} p90 {:?}",
        times[0],
        times[n / 10],
        times[n / 2],
        times[n * 9 / 10]
    );
}
