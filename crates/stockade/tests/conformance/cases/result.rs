//! Line 3: what comes back.

use std::time::Duration;

use serde_json::Value;
use stockade::{Change, CodeBlock, Status};

use crate::{
    harness::{Place, start},
    support::{outcome, python, run, sh},
};

every_place!(
    every_field_of_an_outcome_is_filled,
    usage_counts_the_children_that_were_waited_for,
    a_result_sums_its_blocks_up,
    an_exit_code_is_the_codes_own,
    a_signal_is_128_and_its_number,
    a_result_as_json_has_the_fields_that_others_build_on,
);

async fn every_field_of_an_outcome_is_filled(place: &dyn Place) {
    let session = start(place).await;
    let code = "import sys, time\n\
        memory = b'x' * (64 << 20)\n\
        while time.process_time() < 0.3: pass\n\
        time.sleep(0.2)\n\
        print('out')\n\
        print('err', file=sys.stderr)\n\
        open('made.txt', 'w').write('12345')\n";
    let outcome = outcome(&session, CodeBlock::new(" Python ", code)).await;
    assert_eq!((outcome.index, outcome.language.as_str()), (0, "python"));
    assert_eq!((outcome.status, outcome.exit_code, outcome.signal), (Status::Exited, 0, None));
    assert_eq!((outcome.stdout.text(), outcome.stderr.text()), ("out\n".into(), "err\n".into()));
    let mut lines: Vec<String> = outcome.output.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!((lines.concat().as_str(), outcome.dropped_bytes), ("errout", 0));
    assert!((Duration::from_millis(500)..Duration::from_secs(60)).contains(&outcome.duration), "{outcome:?}");
    assert!((Duration::from_millis(290)..outcome.duration).contains(&outcome.cpu), "{outcome:?}");
    assert!((64 << 20..1 << 30).contains(&outcome.max_rss_bytes), "{outcome:?}");
    let [made] = &outcome.files[..] else { panic!("{:?}", outcome.files) };
    assert_eq!((made.path.to_str(), made.size), (Some("made.txt"), 5));
    assert_eq!((made.mime.as_str(), made.change), ("text/plain", Change::Created));
    assert!(!outcome.files_truncated);
    assert!(outcome.code_file.is_some_and(|file| file.is_absolute()));
}

async fn usage_counts_the_children_that_were_waited_for(place: &dyn Place) {
    let session = start(place).await;
    let code = "import subprocess, sys\n\
        child = 'import time; memory = b\"x\" * (48 << 20)\\nwhile time.process_time() < 0.3: pass'\n\
        subprocess.run([sys.executable, '-c', child], check=True)\n";
    let outcome = outcome(&session, python(code)).await;
    assert_eq!(outcome.exit_code, 0, "{}", outcome.output);
    assert!(outcome.cpu >= Duration::from_millis(290), "{outcome:?}");
    assert!(outcome.max_rss_bytes >= 48 << 20, "{outcome:?}");
}

async fn a_result_sums_its_blocks_up(place: &dyn Place) {
    let session = start(place).await;
    let blocks = [sh("# filename: first.sh\necho one"), sh("echo two >&2"), sh("echo three; exit 7")];
    let result = run(&session, &blocks).await;
    assert_eq!((result.exit_code, result.output.as_str()), (7, "one\ntwo\nthree\n"));
    assert_eq!(result.code_file, result.blocks[0].code_file);
    assert!(result.code_file.is_some_and(|file| file.ends_with("first.sh")));
}

async fn an_exit_code_is_the_codes_own(place: &dyn Place) {
    let session = start(place).await;
    // Those that stand for something else when Stockade says them are no different.
    for code in [0, 1, 2, 3, 124, 125, 126, 127, 128, 137, 255] {
        let outcome = outcome(&session, sh(format!("exit {code}"))).await;
        assert_eq!((outcome.status, outcome.exit_code, outcome.signal), (Status::Exited, code, None));
        assert!(outcome.output.is_empty(), "{}", outcome.output);
    }
}

async fn a_signal_is_128_and_its_number(place: &dyn Place) {
    let session = start(place).await;
    for (name, number) in [("KILL", 9), ("TERM", 15), ("HUP", 1), ("PIPE", 13), ("USR1", 10)] {
        let outcome = outcome(&session, sh(format!("echo before; kill -{name} $$"))).await;
        assert_eq!((outcome.status, outcome.signal), (Status::Signaled, Some(number)));
        assert_eq!((outcome.exit_code, outcome.output.text()), (128 + number, "before\n".into()));
    }
}

async fn a_result_as_json_has_the_fields_that_others_build_on(place: &dyn Place) {
    let session = start(place).await;
    let blocks = [sh("# filename: a.sh\nprintf out; printf '<p>' > page.html"), sh("kill -KILL $$")];
    let mut result = serde_json::to_value(run(&session, &blocks).await).expect("it is JSON");
    let take = |value: &mut Value, field: &str| value[field].take();
    for block in result["blocks"].as_array_mut().expect("an array") {
        assert!(take(block, "duration_ms").is_f64() && take(block, "cpu_ms").is_f64());
        assert!(take(block, "max_rss_bytes").is_u64());
        assert!(take(block, "code_file").is_string());
    }
    assert!(take(&mut result, "code_file").as_str().is_some_and(|file| file.ends_with("/a.sh")));
    let block = |index: usize, status: &str, exit_code: i32, signal: Option<i32>, out: &str, files: Value| {
        serde_json::json!({
            "index": index, "language": "sh", "code_file": null, "status": status, "exit_code": exit_code,
            "signal": signal, "stdout": out, "stderr": "", "output": out, "dropped_bytes": 0,
            "duration_ms": null, "cpu_ms": null, "max_rss_bytes": null, "files_truncated": false, "files": files,
        })
    };
    let page =
        serde_json::json!([{"path": "page.html", "size": 3, "mime": "text/html", "change": "created"}]);
    let blocks = [
        block(0, "exited", 0, None, "out", page),
        block(1, "signaled", 137, Some(9), "", serde_json::json!([])),
    ];
    let expected =
        serde_json::json!({"exit_code": 137, "output": "out", "code_file": null, "blocks": blocks});
    assert_eq!(result, expected);
}
