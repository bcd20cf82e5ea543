//! Line 9: nothing to read and nobody to ask. A block's process starts with a clean slate.

use crate::{
    harness::{Options, Place, start, start_with},
    support::{outcome, output, python, sh},
};

every_place!(
    stdin_is_empty,
    a_prompt_fails_at_once,
    there_is_no_terminal,
    a_process_starts_with_default_signals_and_no_descriptors_of_others,
    python_is_not_buffered_unless_the_caller_says_so,
    pip_does_not_ask,
);

async fn stdin_is_empty(place: &dyn Place) {
    let session = start(place).await;
    assert_eq!(output(&session, sh("cat; wc -c")).await.trim(), "0");
    assert_eq!(output(&session, python("import sys; print(repr(sys.stdin.read()))")).await, "''\n");
}

async fn a_prompt_fails_at_once(place: &dyn Place) {
    let session = start(place).await;
    let asked = outcome(&session, python("print('hello')\nname = input('Name? ')")).await;
    assert_eq!(asked.exit_code, 1);
    assert!(asked.stderr.text().contains("EOFError"), "{}", asked.stderr);
    assert_eq!(asked.stdout.text(), "hello\nName? ");
    assert_eq!(output(&session, sh("read answer || echo no answer")).await, "no answer\n");
    let password = outcome(&session, python("import getpass\ngetpass.getpass()")).await;
    assert!(password.stderr.text().contains("EOFError"), "{}", password.stderr);
}

async fn there_is_no_terminal(place: &dyn Place) {
    let session = start(place).await;
    let code = "import os, sys\n\
        print([os.isatty(number) for number in range(3)], os.getsid(0) == os.getpid())\n\
        try: open('/dev/tty')\n\
        except OSError: print('none')";
    assert_eq!(output(&session, python(code)).await, "[False, False, False] True\nnone\n");
}

async fn a_process_starts_with_default_signals_and_no_descriptors_of_others(place: &dyn Place) {
    let session = start(place).await;
    let signals = output(&session, sh("grep -E 'Sig(Blk|Ign)' /proc/self/status")).await;
    assert_eq!(signals, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    // One is that of the list itself.
    assert_eq!(output(&session, python("import os; print(len(os.listdir('/proc/self/fd')))")).await, "4\n");
    assert_eq!(output(&session, sh("yes | head -n 1")).await, "y\n");
}

async fn python_is_not_buffered_unless_the_caller_says_so(place: &dyn Place) {
    let print = "import os, sys\nprint(repr(os.environ.get('PYTHONUNBUFFERED')), sys.stdout.write_through)";
    assert_eq!(output(&start(place).await, python(print)).await, "'1' True\n");
    let env = vec![("PYTHONUNBUFFERED".into(), "".into())];
    let session = start_with(place, Options { env, ..Options::default() }).await;
    assert_eq!(output(&session, python(print)).await, "'' False\n");
}

async fn pip_does_not_ask(place: &dyn Place) {
    let session = start(place).await;
    let variables = "echo $PIP_NO_INPUT $PIP_DISABLE_PIP_VERSION_CHECK $PIP_PROGRESS_BAR";
    assert_eq!(output(&session, sh(variables)).await, "1 1 off\n");
}
