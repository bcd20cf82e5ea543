//! What a container is denied by default, each with its twin that is allowed: by an option, or because packages are
//! installed that way. The tests of rights run at Docker and at Podman, whose words differ.

use std::path::Path;

use serde_json::{Value, json};
use stockade::{DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorBuilder, Session, Volume};

use crate::{
    engine::{builder, container, daemon, image, inspect, start},
    support::{MAKE_WHEEL, need, output, python, run, sh},
};

/// A builder for each engine; those that are missing are said aloud.
pub(crate) fn builders() -> Vec<DockerCommandLineCodeExecutorBuilder> {
    let podman = need::variable("STOCKADE_TEST_PODMAN");
    need::has("podman", podman.is_some(), "STOCKADE_TEST_PODMAN is not set: `cargo xtask test` sets it");
    let podman =
        podman.map(|address| DockerCommandLineCodeExecutor::builder().daemon(address).image(image()));
    builder().into_iter().chain(podman).collect()
}

/// What a session tells of its policy.
pub(crate) fn policy(session: &Session) -> Value {
    serde_json::to_value(&session.info().policy).expect("it is JSON")
}

/// Tries it, and prints `allowed` or the name of the error.
fn attempt(code: &str) -> String {
    format!(
        "import errno, os, socket, struct\ntry:\n    {code}\n    print('allowed')\n\
         except OSError as error:\n    print(errno.errorcode[error.errno])"
    )
}

/// A capability that is dropped by default, and what needs it.
const DROPPED: &[(&str, &str)] = &[
    ("NET_RAW", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    ("MKNOD", "os.mknod('/tmp/null', 0o20666, os.makedev(1, 3))"),
    ("SYS_CHROOT", "os.chroot('/')"),
    (
        "SETFCAP",
        "open('/tmp/mighty', 'w').close(); \
         os.setxattr('/tmp/mighty', 'security.capability', struct.pack('<5I', 0x2000001, 1 << 10, 0, 0, 0))",
    ),
];

#[tokio::test]
async fn rights_that_code_does_not_need_are_denied_unless_they_are_added() {
    for builder in builders() {
        let plain = start(builder.clone()).await;
        for (capability, code) in DROPPED {
            assert_eq!(output(&plain, python(attempt(code))).await, "EPERM\n", "{capability}");
        }
        plain.stop().await.expect("it stops");
        let all = DROPPED.iter().fold(builder, |builder, (capability, _)| builder.cap_add(*capability));
        let given = start(all).await;
        for (capability, code) in DROPPED {
            assert_eq!(output(&given, python(attempt(code))).await, "allowed\n", "{capability}");
        }
        given.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn what_root_does_with_its_own_files_and_processes_is_allowed() {
    let own = "os.chown('/tmp/x', 1, 2) if not open('/tmp/x', 'w').close() else 0; os.mkfifo('/tmp/fifo'); \
               os.chmod('/tmp/x', 0o4755); socket.create_server(('', 80)).close(); \
               pid = os.fork() or os.setuid(1000) or os.execlp('sleep', 'sleep', '600'); os.kill(pid, 9)";
    for builder in builders() {
        let session = start(builder).await;
        assert_eq!(output(&session, python(attempt(own))).await, "allowed\n");
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_setuid_program_gives_nobody_more_rights_unless_that_is_asked_for() {
    let become_root = || {
        python(
            "import os, shutil, subprocess\nshutil.copy('/usr/bin/id', '/opt/id')\nos.chmod('/opt/id', 0o4755)\n\
             print(subprocess.run(['/opt/id', '-u'], user=65534, group=65534, extra_groups=[], \
             capture_output=True, text=True).stdout, end='')",
        )
    };
    for builder in builders() {
        let session = start(builder.clone()).await;
        assert_eq!(output(&session, become_root()).await, "65534\n");
        assert_eq!(policy(&session)["no_new_privileges"], true);
        session.stop().await.expect("it stops");
        for off in ["no-new-privileges=false", "no-new-privileges:false"] {
            let session = start(builder.clone().security_opt(off)).await;
            assert_eq!(output(&session, become_root()).await, "0\n", "{off}");
            assert_eq!(policy(&session)["no_new_privileges"], false);
            session.stop().await.expect("it stops");
        }
    }
}

#[tokio::test]
async fn processes_end_at_the_default_limit_and_not_without_one() {
    let many = || {
        python(
            "import threading\nthreading.stack_size(65536)\ngo_on, count = threading.Event(), 0\ntry:\n    \
             while count < 4500:\n        threading.Thread(target=go_on.wait, daemon=True).start()\n        \
             count += 1\nexcept RuntimeError:\n    pass\nprint(count)\ngo_on.set()",
        )
    };
    for builder in builders() {
        let limited = start(builder.clone()).await;
        let count: u32 = output(&limited, many()).await.trim().parse().expect("it is a number");
        assert!((4000..4096).contains(&count), "{count}");
        limited.stop().await.expect("it stops");
        let unlimited = start(builder.pids_limit(0)).await;
        assert_eq!(output(&unlimited, many()).await, "4500\n");
        assert_eq!(policy(&unlimited)["pids_limit"], Value::Null);
        unlimited.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_pool_of_a_hundred_processes_is_fine() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let pool = "# filename: pool.py\nimport multiprocessing\nbarrier = multiprocessing.Barrier(100)\n\
                def work(number):\n    barrier.wait()\n    return number\nif __name__ == '__main__':\n    \
                with multiprocessing.get_context('fork').Pool(100) as pool:\n        \
                print(sum(pool.map(work, range(100), chunksize=1)))";
    assert_eq!(output(&session, python(pool)).await, "4950\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn pip_installs_a_wheel() {
    let Some(builder) = builder() else { return };
    // Debian's pip asks for it; others don't know it.
    let session = start(builder.env("PIP_BREAK_SYSTEM_PACKAGES", "1")).await;
    let install = "pip install --quiet --no-index ./given-1.0-py3-none-any.whl && given";
    let result = run(&session, &[python(MAKE_WHEEL), sh(install)]).await;
    assert_eq!((result.exit_code, result.output.as_str()), (0, "given\n"));
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn dpkg_and_apt_get_install_a_package_whose_scripts_do_what_scripts_do() {
    let make = "set -e
mkdir -p given/DEBIAN given/usr/bin
cat >given/DEBIAN/control <<'END'
Package: given
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a test
END
cat >given/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
useradd --system --create-home --home-dir /var/lib/given given
touch /var/lib/given/data
chown given:given /var/lib/given/data
chmod 2750 /var/lib/given
su given -s /bin/sh -c 'id -un >/var/lib/given/data'
END
cat >given/usr/bin/given <<'END'
#!/bin/sh
stat -c %U /var/lib/given/data
cat /var/lib/given/data
END
chmod 755 given/DEBIAN/postinst given/usr/bin/given
mkdir -p /tmp/built
dpkg-deb --root-owner-group --build given /tmp/built/given.deb >/dev/null";
    for install in ["dpkg -i /tmp/built/given.deb", "apt-get install -qq /tmp/built/given.deb"] {
        let Some(builder) = builder() else { return };
        let session = start(builder).await;
        let install = sh(format!("{install} >log 2>&1 || {{ cat log; exit 1; }}; given"));
        let result = run(&session, &[sh(make), install]).await;
        assert_eq!((result.exit_code, result.output.as_str()), (0, "given\ngiven\n"));
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_session_tells_what_its_container_is_denied() {
    let dropped = ["NET_RAW", "MKNOD", "AUDIT_WRITE", "SYS_CHROOT", "SETFCAP", "SETPCAP"];
    for builder in builders() {
        let plain = start(builder.clone()).await;
        let expected = json!({
            "no_new_privileges": true, "network": "default", "read_only": false,
            "capabilities": {"dropped": dropped, "added": []},
            "pids_limit": 4096, "memory": null, "cpus": null, "user": "0:0",
        });
        assert_eq!(policy(&plain), expected);
        let seen = output(&plain, sh("sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status")).await;
        let seen = u64::from_str_radix(seen.trim(), 16).expect("it is hexadecimal");
        let bits = [13, 27, 29, 18, 31, 8];
        assert!(bits.iter().all(|bit| seen & (1_u64 << bit) == 0) && seen & 1 == 1, "{seen:x}");
        plain.stop().await.expect("it stops");

        let asked = builder.memory(64 << 20).cpus(0.5).pids_limit(64).network("none").read_only(true);
        let asked = asked.user("nobody").cap_add("NET_RAW").cap_drop("NET_BIND_SERVICE");
        let asked = start(asked).await;
        let dropped = [&["NET_BIND_SERVICE"][..], &dropped[1..]].concat();
        let expected = json!({
            "no_new_privileges": true, "network": "none", "read_only": true,
            "capabilities": {"dropped": dropped, "added": ["NET_RAW"]},
            "pids_limit": 64, "memory": 64 << 20, "cpus": 0.5, "user": "nobody",
        });
        assert_eq!(policy(&asked), expected);
        asked.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_mount_that_gives_the_code_a_daemon_is_warned_of() {
    let (Some(builder), Some(address)) = (builder(), daemon()) else { return };
    let socket = address.strip_prefix("unix://").expect("the tests' daemon is on this host");
    let directory = Path::new(socket).parent().and_then(Path::to_str).expect("it is text");
    for (source, what) in [(socket, "is the socket"), (directory, "holds the socket")] {
        let session = start(builder.clone().volume(Volume::new(source, "/mnt/given").read_only())).await;
        let warnings = policy(&session)["warnings"].clone();
        let warnings: Vec<&str> =
            warnings.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert!(warnings.len() == 1 && warnings[0].starts_with(&format!("{source} {what}")), "{warnings:?}");
        session.stop().await.expect("it stops");
    }
    let other = tempfile::tempdir().expect("a directory can be made");
    let other = other.path().to_str().expect("it is text");
    let session = start(builder.volume(Volume::new(other, "/mnt/given"))).await;
    assert_eq!(policy(&session).get("warnings"), None);
    // And nobody gets one unasked.
    assert!(!inspect(&container(&session), "{{json .Mounts}}").contains(".sock"));
    session.stop().await.expect("it stops");
}
