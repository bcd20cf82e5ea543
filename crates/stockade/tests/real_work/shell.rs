//! What shells are used for: streams, background jobs, substitutions, and the tools around them.

use crate::{
    places::{Place, bash, fails, is_noted},
    support::{output, python},
};

work! {
    [namespaces landlock docker]
    pipelines_and_here_documents_work
    processes_are_substituted_for_files
    background_jobs_are_waited_for
    a_named_pipe_connects_two_jobs
    tools_for_text_and_files_work
    tools_tell_of_the_system
}

work! {
    [landlock]
    a_terminal_is_refused_with_a_clear_error_and_that_is_noted
}

work! {
    [namespaces docker]
    terminals_of_its_own_can_be_opened
    all_that_is_there_can_be_looked_through
}

fn has_bash(place: Place) -> bool {
    place.has("bash", "bash", &["--version"])
}

const STREAMS: &str = r#"set -euo pipefail
seq 1 100000 | grep 7 | sort -rn | head -n 3 | paste -sd+ || true
if false | true; then echo lost; else echo "a pipeline fails with its parts"; fi
cat <<END | tr a-z A-Z
here $((6 * 7))
END
cat <<'END'
not $expanded
END
read -r first rest <<<"one two three"
echo "$rest, $first"
large=$(printf '%0200000d' 0)
wc -c <<END
$large
END
{ echo out; echo err >&2; } 2>&1 >/dev/null | sed s/err/swapped/
exec 3>notes; echo kept >&3; exec 3>&-; cat notes
printf '%s\n' {a..c}{1,2} | xargs -n 2 -P 3 echo | wc -l
"#;

async fn pipelines_and_here_documents_work(place: Place) {
    let expected = "99997+99987+99979\na pipeline fails with its parts\nHERE 42\nnot $expanded\ntwo three, one\n200001\n\
                    swapped\nkept\n3\n";
    if has_bash(place) {
        place.prints(bash(STREAMS), expected).await;
    }
}

const SUBSTITUTED: &str = "
diff <(printf '1\\n2\\n') <(printf '1\\n3\\n')
paste -d, <(seq 2) <(seq 3 4)
seq 5 | tee >(wc -l >counted) >/dev/null
until [ -s counted ]; do sleep 0.01; done
cat counted
coproc cat
echo through >&\"${COPROC[1]}\"
read -r line <&\"${COPROC[0]}\"
echo $line
echo named >/dev/fd/1
cat /dev/stdin <<<last";

async fn processes_are_substituted_for_files(place: Place) {
    let expected = "2c2\n< 2\n---\n> 3\n1,3\n2,4\n5\nthrough\nnamed\nlast\n";
    if has_bash(place) {
        place.prints(bash(SUBSTITUTED), expected).await;
    }
}

const JOBS: &str = "
for number in 1 2 3; do (echo $number >job-$number; exit $number) & ids[$number]=$!; done
for number in 1 2 3; do wait ${ids[$number]}; echo \"$number: $?\"; done
cat job-*
sleep 600 & sleeper=$!
kill %1 && wait $sleeper; echo $?
timeout 0.05 sleep 600; echo $?
nohup sh -c 'echo on its own' 2>/dev/null
(flock 9; echo locked) 9>lock
setsid -w echo session
trap 'echo cleaned up' EXIT";

async fn background_jobs_are_waited_for(place: Place) {
    let expected = "1: 1\n2: 2\n3: 3\n1\n2\n3\n143\n124\non its own\nlocked\nsession\ncleaned up\n";
    if has_bash(place) {
        place.prints(bash(JOBS), expected).await;
    }
}

async fn a_named_pipe_connects_two_jobs(place: Place) {
    let code = "mkfifo pipe\nseq 1000 >pipe &\nwc -l <pipe\nwait\nls -l pipe | cut -c 1\nrm pipe";
    if has_bash(place) {
        place.prints(bash(code), "1000\np\n").await;
    }
}

const TOOLS: &str = r#"set -e
printf 'name,age\nada,36\nbob,41\n' >people.csv
awk -F, 'NR > 1 { sum += $2 } END { print sum / (NR - 1) }' people.csv
sed -i 's/bob/Bob/' people.csv
grep -c Bob people.csv
mkdir -p src/deep && touch src/a.py src/deep/b.py
find . -name '*.py' -exec basename {} \; | sort | paste -sd' '
seq 200000 | shuf | sort -n -S 100K | tail -n 1
split -l 2 people.csv part- && cat part-* | cmp - people.csv && echo same
dd if=/dev/urandom of=random bs=64K count=4 status=none && stat -c %s random
head -c 100 /dev/zero | base64 -w 0 | base64 -d | wc -c
install -D -m 755 people.csv bin/tool && stat -c %a bin/tool
date -u -d @0 +%F
ln -s people.csv link && readlink -f link | xargs basename
du -s . >/dev/null && df . >/dev/null && echo measured
"#;

async fn tools_for_text_and_files_work(place: Place) {
    let expected = "38.5\n1\na.py b.py\n200000\nsame\n262144\n100\n755\n1970-01-01\npeople.csv\nmeasured\n";
    if has_bash(place) {
        place.prints(bash(TOOLS), expected).await;
    }
}

/// What a model asks for first: who and where it is, and what it has.
const SYSTEM: &str = r#"set -e
id -un >/dev/null && id -u | grep -qx "$(stat -c %u .)" && echo me
getent passwd "$(id -un)" | cut -d: -f1 | grep -qx "$(whoami)" && echo known
test "$(nproc)" -gt 0 && grep -q MemTotal /proc/meminfo && test -r /proc/cpuinfo && echo machine
. /etc/os-release && test -n "$ID" && uname -sr | grep -q Linux && echo system
test -w "$HOME" && cd && cd - >/dev/null && echo home
ls -l /usr/bin /etc /proc/self >/dev/null && echo listed
env | grep -q ^PATH= && locale >/dev/null && date +%Z >/dev/null && echo environment
getent hosts localhost | grep -q localhost && echo hosts
python3 -c 'import getpass, platform, socket
print(bool(getpass.getuser()), platform.system(), bool(socket.gethostname()))'
"#;

async fn tools_tell_of_the_system(place: Place) {
    let expected = "me\nknown\nmachine\nsystem\nhome\nlisted\nenvironment\nhosts\nTrue Linux True\n";
    if has_bash(place) && place.has_python("pty") {
        place.prints(bash(SYSTEM), expected).await;
    }
}

const TERMINAL: &str = "
import os, pty
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('sh', ['sh', '-c', 'tty | cut -c 1-9; read line; echo got $line'])
os.write(terminal, b'typed\\n')
seen = b''
try:
    while b'got typed' not in seen:
        seen += os.read(terminal, 1000)
except OSError:
    pass
print(os.waitpid(pid, 0)[1], b'/dev/pts/' in seen, b'got typed' in seen)
";

async fn terminals_of_its_own_can_be_opened(place: Place) {
    if place.has_python("pty") {
        place.prints(python(TERMINAL), "0 True True\n").await;
    }
}

async fn a_terminal_is_refused_with_a_clear_error_and_that_is_noted(place: Place) {
    if place.has_python("pty") {
        let session = place.start().await;
        fails(&session, python("import os\nos.openpty()"), "PermissionError: [Errno 13] Permission denied")
            .await;
        assert!(is_noted(&session, "no terminal can be opened"), "{:?}", session.info());
    }
}

async fn all_that_is_there_can_be_looked_through(place: Place) {
    let code = "ls / | grep -x usr; find / -maxdepth 2 -name os-release 2>/dev/null; du -s /tmp | cut -f 2; \
                ps -e >/dev/null 2>&1 || ls /proc | grep -c '^1$'";
    if has_bash(place) {
        let printed = output(&place.start().await, bash(code)).await;
        assert!(printed.starts_with("usr\n/etc/os-release\n/tmp\n"), "{printed}");
    }
}
