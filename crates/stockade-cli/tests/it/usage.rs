//! The help, and what is refused before anything runs.

use crate::support::{Place, assert_page};

fn refused(args: &[&str]) -> crate::support::Ended {
    let ended = Place::new().stockade(args);
    assert_eq!(ended.status, Some(2), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
    ended
}

#[test]
fn help_lists_the_commands() {
    assert_page!(Place::new().stockade(["--help"]), @"
    status: Some(0)
    --- stdout
    Runs code blocks, each in a new process, and tells what they did

    Usage: stockade <COMMAND>

    Commands:
      run          Run the code blocks of Markdown files, a source file, or one block given as text
      languages    List the languages and what runs them on this machine, or in a container
      doctor       Try out what this machine can do, and say how to fix what it can't
      ps           List the containers of sessions
      prune        Remove the containers that nobody needs any more
      completions  Print a completion script for a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    --- stderr
    ");
}

#[test]
fn help_of_run_lists_its_flags() {
    assert_page!(Place::new().stockade(["run", "-h"]), @"
    status: Some(0)
    --- stdout
    Run the code blocks of Markdown files, a source file, or one block given as text

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    Arguments:
      [FILE]...  Markdown files, whose fenced blocks run in order, or source files; `-` reads Markdown
                 from stdin

    Options:
      -c, --code <CODE>          Run this code as one block; needs --language
      -l, --language <LANGUAGE>  The language of CODE; with FILE or `-`, take the whole input as one
                                 block of this language
          --executor <EXECUTOR>  Where the blocks run [default: local, or docker with --docker or
                                 --image] [possible values: local, docker]
      -w, --work-dir <DIR>       The directory where blocks are saved and run [default: a temporary one,
                                 removed at the end]
          --timeout <TIME>       How long a block may run: seconds, or a number with ms, s, m or h
                                 [default: 60]
          --venv <DIR>           Use this Python virtual environment; it is created when missing
      -e, --env <NAME[=VALUE]>   Set an environment variable for the blocks, or pass one through by its
                                 name alone; repeatable
          --preload <MODULE>     Import these Python modules once, for all Python blocks to begin with:
                                 numpy,pandas
          --keep-going           Run the remaining blocks when one fails
          --confirm              Show each block and ask before it runs
          --format <FORMAT>      What to print [default: text] [possible values: text, json, jsonl]
          --json                 Short for --format json
      -h, --help                 Print help (see more with '--help')

    Sandbox on this machine:
          --sandbox <WORD>         What the sandbox is like, one or more words: by what it holds blocks
                                   back (auto, namespaces, landlock), strict, best-effort [default:
                                   auto]
          --no-sandbox             Run without a sandbox: blocks have all of your rights
          --allow-read <PATH>      Show blocks a file or directory, read-only; repeatable
          --allow-write <PATH>     Let blocks change a file or directory; repeatable
          --workspace-size <SIZE>  The most bytes of all files in the work directory, which blocks get a
                                   copy of: bytes, or a number with k, m or g

    Network and limits:
          --network <NETWORK>          The network: none or host; in a container also bridge or the name
                                       of one [default: none; bridge in a container]
      -m, --memory <SIZE>              The most memory of all processes together: bytes, or a number
                                       with k, m or g
          --cpus <NUMBER>              The most CPU time, in CPUs: 1.5
          --pids-limit <NUMBER>        The most processes and threads; 0 for no limit [default in a
                                       container: 4096]
          --ulimit <NAME=SOFT[:HARD]>  Limit every process: nofile=1024; on this machine nofile, fsize
                                       (bytes) and cpu (seconds); repeatable

    Container:
          --docker                       Run in a Docker container: short for --executor docker
          --image <IMAGE>                The container's image; implies --docker [default:
                                         python:3-slim]
          --docker-host <ADDRESS>        The Docker daemon, as in DOCKER_HOST [default: DOCKER_HOST, the
                                         docker context, the usual sockets]
          --pull <WHEN>                  When the image is pulled [default: missing] [possible values:
                                         missing, always, never]
          --platform <PLATFORM>          The image's platform, where it has several: linux/arm64
      -u, --user <USER>                  Who runs the blocks: a user of the image, or UID[:GID]
                                         [default: root]
      -v, --volume <SOURCE:TARGET[:ro]>  Mount a directory or a volume; repeatable
          --gpus <GPUS>                  The GPUs: all, a number, or device=ID,ID
          --init-command <COMMAND>       Run this shell command first; the run fails when it does
          --name <NAME>                  The container's name [default: one is made up]
          --keep-container               Keep the container for inspection; the next run of the same
                                         --name and --work-dir goes on in it
          --no-rm                        Leave the container behind, stopped
          --workspace <MODE>             How the work directory gets into the container [default: bind
                                         where the daemon sees it] [possible values: bind, copy]
          --bind-dir <DIR>               The work directory's path on the daemon's host, when that is
                                         another
          --delete-tmp-files             Remove the files of blocks that named none
          --lockdown                     Deny all that blocks can do without: no network, no root, no
                                         capability, read-only but for the work directory, with limits
                                         of memory (1g), CPUs (2) and processes (256)
          --read-only                    Make the image's files read-only; the work directory is not
          --cap-add <CAPABILITY>         Give the container a capability, such as NET_RAW; repeatable
          --cap-drop <CAPABILITY>        Take a capability from the container; repeatable
          --security-opt <OPTION>        A security option of the daemon's, such as
                                         no-new-privileges=false, for sudo; repeatable
          --shm-size <SIZE>              The size of /dev/shm [default: the daemon's, 64m]
          --add-host <NAME:ADDRESS>      Add a line to /etc/hosts; repeatable
          --label <NAME[=VALUE]>         Label the container; repeatable
          --runtime <RUNTIME>            The container runtime: runsc, kata [default: the daemon's]

    Exit status: that of the last block that ran; 124 when its time was up, 125 when it was cancelled,
    127 when its interpreter is missing, 128+n when signal n ended it. 2 for wrong usage, 70 when
    Stockade itself failed.

    With --format text, stdout carries only what the blocks print to stdout. On a terminal, control
    sequences other than colours and line editing are left out of it; a pipe or a file gets every byte.
    --- stderr
    ");
}

#[test]
fn version_is_printed() {
    let ended = Place::new().stockade(["--version"]);
    assert_eq!(ended.stdout, concat!("stockade ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(ended.status, Some(0));
}

#[test]
fn command_alone_shows_the_help() {
    let ended = refused(&[]);
    assert!(ended.stderr.contains("Usage: stockade <COMMAND>"), "{ended}");
}

#[test]
fn run_needs_something_to_run() {
    assert_page!(refused(&["run"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      <FILE|--code <CODE>>

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn code_needs_a_language() {
    assert_page!(refused(&["run", "-c", "print(1)"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      --language <LANGUAGE>

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn code_and_files_exclude_each_other() {
    assert_page!(refused(&["run", "-l", "sh", "-c", "true", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: the argument '--code <CODE>' cannot be used with '[FILE]...'

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn timeout_of_nothing_is_refused() {
    assert_page!(refused(&["run", "--timeout", "0", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value '0' for '--timeout <TIME>': a timeout must be at least 1ms

    For more information, try '--help'.
    ");
}

#[test]
fn negative_timeout_is_refused() {
    assert_page!(refused(&["run", "--timeout", "-3", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value '-3' for '--timeout <TIME>': a timeout must be more than 0

    For more information, try '--help'.
    ");
}

#[test]
fn timeout_that_is_no_time_is_refused() {
    assert_page!(refused(&["run", "--timeout", "soon", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value 'soon' for '--timeout <TIME>': give seconds such as 30 or 1.5, or a number with ms, s, m or h

    For more information, try '--help'.
    ");
}

#[test]
fn variable_that_can_not_be_passed_through_is_refused() {
    assert_page!(refused(&["run", "-e", "NOT_SET_ANYWHERE", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value 'NOT_SET_ANYWHERE' for '--env <NAME[=VALUE]>': it is not set in the environment; give NAME=VALUE to set it

    For more information, try '--help'.
    ");
}

#[test]
fn executor_that_does_not_exist_is_refused() {
    assert_page!(refused(&["run", "--executor", "moon", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value 'moon' for '--executor <EXECUTOR>'
      [possible values: local, docker]

    For more information, try '--help'.
    ");
}

#[test]
fn limit_that_nothing_enforces_is_refused() {
    assert_page!(refused(&["run", "--no-sandbox", "-m", "512m", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: nothing enforces '--memory' without a sandbox: leave out --no-sandbox, or run in a container

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn lockdown_of_this_machine_is_refused() {
    let ended = refused(&["run", "--lockdown", "a.md"]);
    assert!(
        ended.stderr.starts_with("error: nothing enforces '--lockdown' for blocks that run on this machine"),
        "{ended}"
    );
}

#[test]
fn flag_that_contradicts_lockdown_is_refused_before_anything_is_started() {
    let locked = ["run", "--docker", "--docker-host", "unix:///nonexistent.sock", "--lockdown"];
    let block = ["-l", "sh", "-c", "true"];
    for (flag, value, why) in [
        ("--network", "host", "\"host\" is one, and there is to be none"),
        ("--cap-add", "NET_RAW", "NET_RAW is one, and there is to be none"),
        ("--user", "root", "\"root\" is root"),
        ("--user", "0:0", "\"0:0\" is root"),
        ("--security-opt", "seccomp=unconfined", "seccomp=unconfined may take protection away"),
        ("--security-opt", "no-new-privileges=false", "it turns no-new-privileges off"),
        ("--pids-limit", "0", "0 is no limit, and there is to be one"),
    ] {
        let ended = refused(&[&locked[..], &[flag, value], &block].concat());
        let expected = format!(
            "error: failed to configure the executor: {flag} contradicts lockdown: {why}; leave one of them out\n"
        );
        assert_eq!((ended.stderr.as_str(), ended.status), (expected.as_str(), Some(2)), "{ended}");
    }
    for (flag, value) in
        [("--network", "none"), ("--cap-drop", "CHOWN"), ("--user", "nobody"), ("--memory", "2g")]
    {
        let ended = Place::new().stockade([&locked[..], &[flag, value], &block].concat());
        assert_eq!(ended.status, Some(70), "only the daemon is missing: {ended}");
    }
}

#[test]
fn flag_of_a_container_needs_one() {
    assert_page!(refused(&["run", "--read-only", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: '--read-only' needs a container: add --docker

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn docker_and_this_machine_exclude_each_other() {
    assert_page!(refused(&["run", "--docker", "--executor", "local", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: '--docker' and '--executor local' contradict each other: leave one of them out

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn virtual_environment_is_refused_in_a_container() {
    assert_page!(refused(&["run", "--docker", "--venv", "x", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: '--venv' is for blocks that run on this machine: in a container, --init-command can install what they need

    Usage: stockade run [OPTIONS] <FILE>...
           stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>

    For more information, try '--help'.
    ");
}

#[test]
fn size_that_is_no_size_is_refused() {
    assert_page!(refused(&["run", "--docker", "-m", "much", "a.md"]), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: invalid value 'much' for '--memory <SIZE>': give bytes, or a number with b, k, m or g, such as 512m

    For more information, try '--help'.
    ");
}

#[test]
fn value_that_no_container_can_have_is_refused_before_anything_is_started() {
    let args = ["run", "--docker", "--docker-host", "unix:///nonexistent.sock", "-l", "sh", "-c", "true"];
    assert_page!(refused(&[args.as_slice(), &["-m", "1m"]].concat()), @"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to configure the executor: --memory must be at least 6 MiB
    ");
    assert_page!(refused(&[args.as_slice(), &["--name", "a b"]].concat()), @r#"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to configure the executor: --name must begin with a letter or digit and go on with those, `_`, `.` or `-`: "a b"
    "#);
}

#[test]
fn json_and_another_format_exclude_each_other() {
    let ended = refused(&["run", "--json", "--format", "text", "a.md"]);
    assert!(ended.stderr.contains("cannot be used with"), "{ended}");
}

#[test]
fn confirm_needs_a_terminal() {
    use std::os::unix::process::CommandExt;
    // Without `setsid`, a test that runs on a terminal would have one.
    let place = Place::new();
    let mut command = std::process::Command::new("setsid");
    let inner = place.command(["run", "--confirm", "-l", "sh", "-c", "echo ran"]);
    command.arg("--wait").arg(inner.get_program()).args(inner.get_args()).process_group(0);
    let ended = crate::support::Ended::new(command.output().expect("setsid is part of util-linux"));
    assert_page!(ended, @"
    status: Some(2)
    --- stdout
    --- stderr
    error: failed to open a terminal for --confirm: No such device or address (os error 6)
    hint: run it in a terminal, or leave out --confirm
    ");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = Place::new().stockade(["completions", shell]);
        assert_eq!(ended.status, Some(0), "{ended}");
        assert!(ended.stdout.contains("keep-going"), "{ended}");
    }
}
