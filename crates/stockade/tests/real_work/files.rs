//! Files: databases, temporary ones, large ones, locks, links and archives.

use crate::{
    places::{DOCKER, Place, fails, is_noted, prints},
    support::{need, python, sh},
};

work! {
    [namespaces landlock docker]
    a_database_with_a_write_ahead_log_is_shared_by_processes
    temporary_files_and_folders_can_be_made
    large_files_are_written_mapped_and_read
    files_are_locked_against_other_processes
    files_are_linked_moved_and_watched
    archives_are_packed_and_unpacked
    archives_of_other_users_are_unpacked
    files_are_listed_copied_and_packed_with_all_that_belongs_to_them
    trees_of_the_system_are_copied
}

work! {
    [namespaces docker]
    shared_memory_and_the_usual_temporary_folders_are_there
}

work! {
    [landlock]
    what_knows_no_folder_but_tmp_fails_with_a_clear_error_and_is_noted
}

work! {
    [namespaces landlock]
    temporary_files_are_made_by_other_languages
}

const DATABASE: &str = "
import os, sqlite3, subprocess, sys

WRITE = '''
import sqlite3
database = sqlite3.connect('notes.db', timeout=30)
with database:
    database.executemany('insert into notes values (?, ?)', [(n, f'note {n}') for n in range(1000)])
'''
database = sqlite3.connect('notes.db', timeout=30)
print(database.execute('pragma journal_mode=wal').fetchone()[0])
database.execute('create table notes (id integer, text text)')
database.commit()
children = [subprocess.Popen([sys.executable, '-c', WRITE]) for _ in range(3)]
print([child.wait() for child in children], os.path.exists('notes.db-shm'))
print(database.execute('select count(*), sum(id), max(text) from notes').fetchone())
database.execute('pragma wal_checkpoint(truncate)')
database.execute('vacuum')
database.close()
print(sorted(name for name in os.listdir() if name.startswith('notes')))
";

async fn a_database_with_a_write_ahead_log_is_shared_by_processes(place: Place) {
    let expected = "wal\n[0, 0, 0] True\n(3000, 1498500, 'note 999')\n['notes.db']\n";
    place.prints(python(DATABASE), expected).await;
}

const TEMPORARY: &str = "
import os, shutil, subprocess, tempfile

with tempfile.TemporaryFile() as nameless, tempfile.NamedTemporaryFile('w+') as named:
    nameless.write(b'x')
    named.write('echo run')
    named.flush()
    print(subprocess.check_output(['sh', named.name], text=True), end='')
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'file')
    open(path, 'w').write('moved')
    shutil.move(path, 'here')
print(open('here').read(), os.path.exists(folder))
with tempfile.SpooledTemporaryFile(max_size=1) as spooled:
    spooled.write(b'more than that')
    spooled.seek(0)
    print(spooled.read())
config = os.path.expanduser('~/.config/tool')
os.makedirs(config)
open(config + '/settings', 'w').write('kept')
print(open(config + '/settings').read())
";

async fn temporary_files_and_folders_can_be_made(place: Place) {
    let session = place.start().await;
    prints(&session, python(TEMPORARY), "run\nmoved False\nb'more than that'\nkept\n").await;
    let shell = "file=$(mktemp) && folder=$(mktemp -d) && echo x >\"$file\" && mv \"$file\" \"$folder/y\" && \
                 cat \"$folder/y\" ~/.config/tool/settings";
    prints(&session, sh(shell), "x\nkept").await;
}

/// As written in tutorials, and used by what was made before TMPDIR.
async fn shared_memory_and_the_usual_temporary_folders_are_there(place: Place) {
    let code = "
import mmap, os
for folder in '/tmp', '/var/tmp', '/dev/shm':
    with open(folder + '/data', 'wb+') as file:
        file.truncate(1 << 20)
        mapped = mmap.mmap(file.fileno(), 1 << 20)
        mapped[:4] = b'data'
        mapped.flush()
    print(open(folder + '/data', 'rb').read(4), oct(os.stat(folder).st_mode))
";
    let session = place.start().await;
    prints(&session, python(code), &"b'data' 0o41777\n".repeat(3)).await;
    prints(&session, sh("cat /tmp/data /dev/shm/data | wc -c"), "2097152\n").await;
}

async fn what_knows_no_folder_but_tmp_fails_with_a_clear_error_and_is_noted(place: Place) {
    let session = place.start().await;
    let denied = "PermissionError: [Errno 13] Permission denied: '/";
    for code in ["open('/tmp/data', 'w')", "open('/dev/shm/data', 'w')", "import os\nos.listdir('/')"] {
        fails(&session, python(code), denied).await;
    }
    if need::has_program("cc", "cc", &["--version"]) {
        let code = "echo '#include <stdio.h>\nint main(void) { return tmpfile() ? 0 : (perror(\"tmpfile\"), 1); }' >file.c\n\
                    cc -o file file.c && ./file";
        fails(&session, sh(code), "tmpfile: Permission denied").await;
    }
    assert!(is_noted(&session, "what knows no other place than /tmp"), "{:?}", session.info());
}

const LARGE: &str = "
import mmap, os, shutil
with open('large', 'wb+') as file:
    for _ in range(64):
        file.write(bytes(1 << 20))
    file.seek(5 << 30)
    file.write(b'end')
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0)
    mapped[10:14] = b'here'
    print(len(mapped) == (5 << 30) + 3, mapped[5 << 30:], mapped.find(b'here'))
    os.posix_fallocate(file.fileno(), 0, 64 << 20)
    file.truncate(64 << 20)
shutil.copyfile('large', 'copy')
print(os.path.getsize('copy') >> 20, shutil.disk_usage('.').free > 0)
os.remove('large')
os.remove('copy')
";

async fn large_files_are_written_mapped_and_read(place: Place) {
    place.prints(python(LARGE), "True b'end' 10\n64 True\n").await;
}

const LOCKS: &str = "
import fcntl, subprocess, sys
TRY = '''
import fcntl, sys
try:
    getattr(fcntl, sys.argv[1])(open(sys.argv[2], \"w\"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print(\"free\")
except BlockingIOError:
    print(\"held\")
'''
def attempt(call):
    return subprocess.check_output([sys.executable, '-c', TRY, call, call], text=True).strip()
for call in 'flock', 'lockf':
    file = open(call, 'w')
    getattr(fcntl, call)(file, fcntl.LOCK_EX)
    held = attempt(call)
    file.close()
    print(call, held, attempt(call))
";

async fn files_are_locked_against_other_processes(place: Place) {
    place.prints(python(LOCKS), "flock held free\nlockf held free\n").await;
}

const LINKS: &str = "
import os, pathlib, shutil, stat
root = pathlib.Path('tree')
(root / 'a' / 'b').mkdir(parents=True)
file = root / 'a' / 'file'
file.write_text('text')
os.link(file, root / 'a' / 'b' / 'hard')
os.symlink('../a/file', root / 'soft')
os.replace(root / 'a' / 'b' / 'hard', root / 'moved')
os.chmod(file, 0o600)
os.utime(file, (1, 2))
found = file.stat()
print(found.st_nlink, stat.filemode(found.st_mode), found.st_mtime)
shutil.copytree(root, 'copy', symlinks=True)
os.rename('copy', 'other')
print(sorted(str(path) for path in pathlib.Path('other').rglob('*')))
shutil.rmtree('other')
os.mkfifo('fifo')
os.umask(0o077)
open('private', 'w').close()
print(oct(os.stat('private').st_mode), [entry.name for entry in os.scandir('.') if entry.is_dir()])
";

async fn files_are_linked_moved_and_watched(place: Place) {
    let expected = "2 -rw------- 2.0\n['other/a', 'other/a/b', 'other/a/file', 'other/moved', 'other/soft']\n\
                    0o100600 ['tree']\n";
    place.prints(python(LINKS), expected).await;
}

const ARCHIVES: &str = "set -e
mkdir -p tree/folder
echo text >tree/folder/file
ln -s folder/file tree/link
tar czf tree.tar.gz tree
mkdir out
tar xzf tree.tar.gz -C out
cat out/tree/link
python3 -m zipfile -c tree.zip tree
python3 -m zipfile -e tree.zip zipped
cat zipped/tree/folder/file
gzip -k tree/folder/file
zcat tree/folder/file.gz
sha256sum tree/folder/file >sums
sha256sum -c sums";

async fn archives_are_packed_and_unpacked(place: Place) {
    place.prints(sh(ARCHIVES), "text\ntext\ntext\ntree/folder/file: OK\n").await;
}

/// As downloaded: root's tar gives files to whom they belonged and with all bits of their modes, where it may.
async fn archives_of_other_users_are_unpacked(place: Place) {
    let mode = if place == DOCKER { "4755" } else { "755" };
    let session = place.start().await;
    let make = "
import io, tarfile
with tarfile.open('theirs.tar', 'w') as archive:
    for name, mode, content in ('theirs', 0o2755, None), ('theirs/run', 0o4755, b'#!/bin/sh\\necho run\\n'):
        info = tarfile.TarInfo(name)
        info.uid, info.gid, info.uname, info.gname, info.mode = 4321, 4321, 'ada', 'ada', mode
        info.type = tarfile.REGTYPE if content else tarfile.DIRTYPE
        info.size = len(content or b'')
        archive.addfile(info, io.BytesIO(content or b''))
";
    prints(&session, python(make), "").await;
    prints(
        &session,
        sh("tar xf theirs.tar && theirs/run && stat -c %a theirs/run"),
        &format!("run\n{mode}\n"),
    )
    .await;
    let unpack = "import shutil, tarfile\nshutil.unpack_archive('theirs.tar', 'one')\n\
                  tarfile.open('theirs.tar').extractall('two')\nprint(open('one/theirs/run').read() == open('two/theirs/run').read())";
    prints(&session, python(unpack), "True\n").await;
}

const WITH_ALL: &str = "set -e
mkdir tree
printf 'echo run\\n' >tree/file
chmod 750 tree/file
touch -d @86400 tree/file
ln -s file tree/link
ls -l tree | grep -c -- '-rwxr-x---[^+]'
cp -a tree copied
cp -p tree/file plain
install -m 750 -p tree/file installed
mv tree/file moved
cp -a moved tree/file
tar cf tree.tar tree
mkdir out
tar xpf tree.tar -C out
python3 -c 'import shutil; shutil.copy2(\"moved\", \"copied2\"); shutil.copytree(\"tree\", \"copied3\", symlinks=True)'
stat -c '%a %Y' copied/file plain installed moved tree/file out/tree/file copied2 copied3/file | uniq -c | tr -s ' '
readlink copied/link out/tree/link copied3/link";

/// Without a word of complaint, by tools that would take extended attributes along where they can be read.
async fn files_are_listed_copied_and_packed_with_all_that_belongs_to_them(place: Place) {
    let session = place.start().await;
    let expected = "1\n 8 750 86400\nfile\nfile\nfile\n";
    prints(&session, sh(format!("exec 2>&1\n{WITH_ALL}")), expected).await;
}

async fn trees_of_the_system_are_copied(place: Place) {
    let session = place.start().await;
    let copy = "set -e\ncp -a /usr/share/perl5 one 2>/dev/null || cp -a /usr/share/debconf one\ncp -r one two\n\
                diff -r one two\nfind one -type f | head -1 | wc -l\nchmod -R u+w one\nrm -r one two";
    prints(&session, sh(copy), "1\n").await;
    let copy = "import json, os, shutil\nshutil.copytree(os.path.dirname(json.__file__), 'copied')\n\
                print(os.path.exists('copied/decoder.py'))";
    prints(&session, python(copy), "True\n").await;
}

/// Each in its own way of asking where they belong.
async fn temporary_files_are_made_by_other_languages(place: Place) {
    let session = place.start().await;
    let programs: [(&str, &str, &[&str], &str); 4] = [
        (
            "perl",
            "perl",
            &["-v"],
            "use File::Temp 'tempfile'; my ($f, $n) = tempfile(); print $f 'x'; close $f; print -s $n, \"\\n\";",
        ),
        (
            "ruby",
            "ruby",
            &["-v"],
            "require 'tempfile'; Tempfile.create { |f| f.write('x'); f.flush; puts File.size(f.path) }",
        ),
        (
            "php",
            "php",
            &["-v"],
            "<?php $n = tempnam(sys_get_temp_dir(), 'x'); echo file_put_contents($n, 'x'), \"\\n\";",
        ),
        ("zsh", "zsh", &["--version"], "cat <<END\n1\nEND\n"),
    ];
    for (word, language, arguments, code) in programs {
        if need::has_program(word, language, arguments) {
            prints(&session, stockade::CodeBlock::new(language, code), "1\n").await;
        }
    }
}
