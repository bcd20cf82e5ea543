//! The work_dir's way into a container where it is mounted: its name and size, whose its files are, and who the code
//! is there.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;
use stockade::{Error, Session, WorkspaceMode};
use tempfile::TempDir;

use crate::{
    engine::{builder, container, gone, start},
    leftovers::refusal,
    support::{eventually, need, outcome, output, python, sh, wait_for_file},
};

/// Somebody whom neither this host nor the image knows.
const OWNER: (u32, u32) = (51234, 51235);

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

/// A directory of [`OWNER`]'s; `None`, said aloud, where it can't be had.
fn of_owner() -> Option<TempDir> {
    let is_root = need::has("root", geteuid().is_root(), "only root gives directories away");
    is_root.then(|| {
        let directory = temporary();
        chown(directory.path(), Some(OWNER.0), Some(OWNER.1)).expect("we are root");
        directory
    })
}

/// A directory that everybody may write to.
fn of_everybody() -> TempDir {
    let directory = temporary();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("it is ours");
    directory
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("it is there");
    (found.uid(), found.gid())
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn workspace_mode(session: &Session) -> WorkspaceMode {
    session.info().container.as_ref().expect("it runs in a container").workspace
}

#[tokio::test]
async fn files_are_shared_and_nothing_else_is_put_there() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let work_dir = directory.path().join("to/be/made");
    let session = start(builder.work_dir(&work_dir)).await;
    assert_eq!(workspace_mode(&session), WorkspaceMode::Bind);
    assert_eq!((session.work_dir(), session.workspace()), (work_dir.as_path(), Path::new("/workspace")));
    assert_eq!(fs::read_dir(&work_dir).expect("it is made").count(), 0);
    fs::write(work_dir.join("given"), "given\n").expect("it is written");
    assert_eq!(output(&session, sh("cat given; echo made > made")).await, "given\n");
    assert_eq!(fs::read_to_string(work_dir.join("made")).expect("it is there"), "made\n");
}

#[tokio::test]
async fn a_work_dir_may_have_any_name_that_is_text() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let work_dir = directory.path().join("my data: it's \"odd\", ro=1 $HOME ünï 漢字 🙂");
    let session = start(builder.work_dir(&work_dir)).await;
    assert_eq!(workspace_mode(&session), WorkspaceMode::Bind);
    let ran = outcome(&session, sh("# filename: src/made here.sh\npwd; touch 'a file'")).await;
    assert_eq!((ran.exit_code, ran.output.text().as_ref()), (0, "/workspace\n"));
    assert_eq!(ran.code_file, Some(work_dir.join("src/made here.sh")));
    assert!(work_dir.join("a file").exists() && work_dir.join("src/made here.sh").exists());
}

#[tokio::test]
async fn a_work_dir_whose_name_no_daemon_can_be_told_is_copied() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let work_dir = directory.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&work_dir).expect("it is made");
    fs::write(work_dir.join("given"), "given\n").expect("it is written");
    let session = start(builder.work_dir(&work_dir)).await;
    assert_eq!(workspace_mode(&session), WorkspaceMode::Copy);
    assert_eq!(output(&session, sh("cat given; echo made > made")).await, "given\n");
    assert!(work_dir.join("made").exists());
    let names = fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(names, 1, "no directory of another name is made");
}

#[tokio::test]
async fn a_work_dir_of_a_hundred_thousand_files_is_mounted_and_too_much_to_be_copied() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    for folder in 0..100 {
        let folder = directory.path().join(folder.to_string());
        fs::create_dir(&folder).expect("it is made");
        for file in 0..1000 {
            File::create(folder.join(file.to_string())).expect("it is made");
        }
    }
    let builder = builder.work_dir(directory.path());
    let session = start(builder.clone()).await;
    assert_eq!(output(&session, sh("echo kept > 99/made; cat 99/made")).await, "kept\n");
    session.stop().await.expect("it stops");
    assert_eq!(owner(directory.path().join("99/made")), owner(directory.path()));
    let error = refusal(builder.workspace(WorkspaceMode::Copy)).await;
    assert!(matches!(error, Error::Copy { .. }), "{error:?}");
    assert!(error.to_string().contains("10000 files"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("smaller work_dir")), "{:?}", error.hint());
}

#[tokio::test]
async fn a_work_dir_that_can_not_be_used_is_refused() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("it is written");
    let error = refusal(builder.work_dir(&file)).await;
    assert!(matches!(&error, Error::WorkDir { path, .. } if *path == file), "{error:?}");
}

#[tokio::test]
async fn what_blocks_make_belongs_to_the_owner_of_the_work_dir() {
    let (Some(builder), Some(directory)) = (builder(), of_owner()) else { return };
    let work_dir = directory.path();
    fs::write(work_dir.join("part.py"), "").expect("it is written");
    let session = start(builder.work_dir(work_dir)).await;
    let make = "# filename: src/make.py\nimport os, sys\nsys.path.insert(0, '.')\nimport part\n\
        os.makedirs('deep/down')\nopen('deep/down/made', 'w').close()\nos.symlink('made', 'deep/down/link')\n\
        print(os.getuid())";
    assert_eq!(output(&session, python(make)).await, "0\n");
    let caches = fs::read_dir(work_dir.join("__pycache__")).expect("python caches").flatten();
    let made = ["src", "src/make.py", "deep", "deep/down", "deep/down/made", "deep/down/link", "__pycache__"];
    let made = made.map(|name| work_dir.join(name)).into_iter().chain(caches.map(|entry| entry.path()));
    let owners: Vec<(PathBuf, (u32, u32))> = made.map(|path| (path.clone(), owner(path))).collect();
    assert!(owners.len() > 7 && owners.iter().all(|(_, owner)| *owner == OWNER), "{owners:?}");
    // A file that was there and is not touched stays whose it is.
    assert_eq!(owner(work_dir.join("part.py")), (0, 0));
}

#[tokio::test]
async fn what_a_background_process_makes_belongs_to_the_owner_when_the_session_stops() {
    let (Some(builder), Some(directory)) = (builder(), of_owner()) else { return };
    let session = start(builder.work_dir(directory.path())).await;
    let later = format!("({}mkdir late; touch late/made late/done) & :", wait_for_file("go"));
    output(&session, sh(later)).await;
    fs::write(directory.path().join("go"), "").expect("it is written");
    let done = directory.path().join("late/done");
    eventually("the background process", || done.exists().then_some(())).await;
    session.stop().await.expect("it stops");
    for name in ["late", "late/made", "late/done"] {
        assert_eq!(owner(directory.path().join(name)), OWNER, "{name}");
    }
}

#[tokio::test]
async fn no_setuid_or_setgid_bit_survives_on_a_file_and_other_bits_do() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let session = start(builder.work_dir(directory.path())).await;
    output(
        &session,
        sh("cp /bin/sh both; chmod 6755 both; mkdir in; cp /bin/sh in/user; chmod 4711 in/user"),
    )
    .await;
    assert_eq!((mode(directory.path().join("both")), mode(directory.path().join("in/user"))), (0o755, 0o711));
    let later = format!("({}cp /bin/sh late; chmod 4755 late; touch done) & :", wait_for_file("go"));
    output(&session, sh(later)).await;
    fs::write(directory.path().join("go"), "").expect("it is written");
    let done = directory.path().join("done");
    eventually("the background process", || done.exists().then_some(())).await;
    session.stop().await.expect("it stops");
    assert_eq!(mode(directory.path().join("late")), 0o755);
}

#[tokio::test]
async fn blocks_run_as_the_user_that_was_asked_for() {
    let Some(builder) = builder() else { return };
    let who = || sh("id -u; id -g; touch made; echo x 2>/dev/null > /etc/mark && echo mighty; true");
    for (asked, expected) in
        [("51234", "51234\n0\n"), ("nobody", "65534\n65534\n"), ("51234:51235", "51234\n51235\n")]
    {
        let directory = of_everybody();
        let session = start(builder.clone().user(asked).work_dir(directory.path())).await;
        assert_eq!(output(&session, who()).await, expected);
        let made = owner(directory.path().join("made"));
        assert_eq!(made, owner(directory.path()), "the work_dir's owner has what {asked} made");
    }
    assert_eq!(output(&start(builder).await, who()).await, "0\n0\nmighty\n");
}

#[tokio::test]
async fn a_temporary_work_dir_is_the_users_own() {
    let Some(builder) = builder() else { return };
    let session = start(builder.user("51234:51235")).await;
    assert_eq!(
        output(&session, sh("umask; echo x > made; cat made; stat -c %u . made")).await,
        "0022\nx\n51234\n51234\n"
    );
    assert_eq!(fs::read(session.work_dir().join("made")).expect("it is there"), b"x\n");
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_user_whom_the_container_does_not_know_is_refused() {
    let Some(builder) = builder() else { return };
    for (user, why) in
        [("no-such-user", "no user no-such-user"), ("nobody:no-such-group", "no group no-such-group")]
    {
        let error = refusal(builder.clone().user(user)).await;
        assert!(matches!(error, Error::InvalidOption { option: "user", .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn without_capabilities_blocks_run_as_the_owner_of_the_work_dir() {
    let (Some(builder), Some(directory)) = (builder(), of_owner()) else { return };
    let session = start(builder.cap_drop("ALL").work_dir(directory.path())).await;
    assert_eq!(workspace_mode(&session), WorkspaceMode::Bind);
    assert_eq!(output(&session, sh("id -u; id -g; echo x > made; cat made")).await, "51234\n51235\nx\n");
    assert_eq!(owner(directory.path().join("made")), OWNER);
}

#[tokio::test]
async fn without_capabilities_a_work_dir_of_roots_is_copied_and_not_mounted() {
    let Some(builder) = builder() else { return };
    if !need::has("root", geteuid().is_root(), "a directory of root's is needed") {
        return;
    }
    let directory = temporary();
    fs::write(directory.path().join("given"), "given\n").expect("it is written");
    let builder = builder.cap_drop("ALL").work_dir(directory.path());
    let session = start(builder.clone()).await;
    assert_eq!(workspace_mode(&session), WorkspaceMode::Copy);
    assert_eq!(output(&session, sh("id -u; cat given; echo made > made")).await, "0\ngiven\n");
    assert_eq!(fs::read_to_string(directory.path().join("made")).expect("it came"), "made\n");
    let error = refusal(builder.workspace(WorkspaceMode::Bind)).await;
    assert!(matches!(error, Error::InvalidOption { option: "cap_drop", .. }), "{error:?}");
    assert!(error.to_string().contains("choose a `user`"), "{error}");
}

#[tokio::test]
async fn code_that_could_trace_the_runner_is_refused_unless_it_has_a_user_of_its_own() {
    let Some(builder) = builder() else { return };
    let builder = builder.cap_add("SYS_PTRACE");
    let error = refusal(builder.clone()).await;
    assert!(matches!(error, Error::InvalidOption { option: "cap_add", .. }), "{error:?}");
    assert!(error.to_string().contains("choose a `user` that is not root"), "{error}");
    let session = start(builder.user("nobody")).await;
    let look = sh("id -u; cat /proc/1/environ 2>/dev/null || echo shut");
    assert_eq!(output(&session, look).await, "65534\nshut\n");
}

#[tokio::test]
async fn a_temporary_work_dir_goes_with_its_session() {
    let Some(builder) = builder() else { return };
    for user in [None, Some("nobody")] {
        let builder = user.into_iter().fold(builder.clone(), |builder, user| builder.user(user));
        let made = || sh("mkdir -p shut/in; touch shut/in/file; chmod 0 shut/in shut");
        let stopped = start(builder.clone()).await;
        output(&stopped, made()).await;
        let (work_dir, parent) = of(&stopped);
        assert_eq!(mode(&parent) & 0o077, 0, "nobody else may look into it");
        stopped.stop().await.expect("it stops");
        assert!(!work_dir.exists() && !parent.exists(), "{}", parent.display());
        let dropped = start(builder).await;
        output(&dropped, made()).await;
        let (work_dir, parent) = of(&dropped);
        assert!(work_dir.exists());
        let id = container(&dropped);
        drop(dropped);
        gone(&id).await;
        eventually("the end of the work_dir", || (!parent.exists()).then_some(())).await;
    }
}

/// The work_dir of a session, and the directory that it is in.
fn of(session: &Session) -> (PathBuf, PathBuf) {
    let work_dir = session.work_dir().to_owned();
    let parent = work_dir.parent().expect("it is in a directory").to_owned();
    (work_dir, parent)
}

#[tokio::test]
async fn two_executors_share_a_work_dir() {
    let Some(builder) = builder() else { return };
    let directory = temporary();
    let builder = builder.work_dir(directory.path()).delete_tmp_files(true);
    let (one, two) = tokio::join!(start(builder.clone()), start(builder));
    output(&one, sh("echo one > made")).await;
    assert_eq!(output(&two, sh("cat made")).await, "one\n");
    // The same block at the same time: each removes its file only when nobody runs it any more.
    let same = || {
        sh(
            "# a block of both\necho $$ >> started; until [ $(wc -l < started) = 2 ]; do sleep 0.02; done; echo met",
        )
    };
    let (first, second) = tokio::join!(output(&one, same()), output(&two, same()));
    assert_eq!((first.as_str(), second.as_str()), ("met\n", "met\n"));
    // The same file by its name: one waits for the other.
    let named =
        |text: &str| sh(format!("# filename: named.sh\necho {text}; sleep 0.05; grep -c {text} named.sh"));
    let (first, second) = tokio::join!(output(&one, named("first")), output(&two, named("second")));
    assert_eq!((first.as_str(), second.as_str()), ("first\n1\n", "second\n1\n"));
    one.stop().await.expect("it stops");
    assert_eq!(output(&two, sh("# filename: list.sh\nls -A")).await, "list.sh\nmade\nnamed.sh\nstarted\n");
}

/// A directory that is mounted at another place, until this is dropped.
struct MountedAgain(TempDir);

impl MountedAgain {
    fn new(directory: &Path) -> Self {
        let place = temporary();
        let mounted = Command::new("mount").arg("--bind").args([directory, place.path()]).status();
        assert!(mounted.is_ok_and(|status| status.success()), "root mounts directories");
        Self(place)
    }
}

impl Drop for MountedAgain {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_bind_dir_is_the_same_directory_by_another_path() {
    let Some(builder) = builder() else { return };
    let (directory, links) = (temporary(), temporary());
    let link = links.path().join("link");
    symlink(directory.path(), &link).expect("it is made");
    let again = need::has("root", geteuid().is_root(), "only root mounts directories")
        .then(|| MountedAgain::new(directory.path()));
    let paths: BTreeSet<PathBuf> =
        again.iter().map(|again| again.0.path().to_owned()).chain([link]).collect();
    for (number, path) in paths.into_iter().enumerate() {
        let session = start(builder.clone().work_dir(directory.path()).bind_dir(&path)).await;
        assert_eq!(workspace_mode(&session), WorkspaceMode::Bind);
        output(&session, sh(format!("touch made-{number}"))).await;
        assert!(directory.path().join(format!("made-{number}")).exists(), "{}", path.display());
        session.stop().await.expect("it stops");
    }
}

#[tokio::test]
async fn a_bind_dir_that_is_another_directory_is_refused() {
    let Some(builder) = builder() else { return };
    let (directory, other) = (temporary(), temporary());
    fs::write(other.path().join("kept"), "").expect("it is written");
    let error = refusal(builder.clone().work_dir(directory.path()).bind_dir(other.path())).await;
    assert!(matches!(error, Error::Container { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("bind_dir")), "{error}: {:?}", error.hint());
    assert_eq!(fs::read_dir(other.path()).expect("it is there").count(), 1, "nothing is put there");
    let error = refusal(builder.work_dir(directory.path()).bind_dir("/no/such/directory")).await;
    assert!(error.to_string().contains("/no/such/directory"), "{error}");
    assert!(!Path::new("/no/such/directory").exists());
}
