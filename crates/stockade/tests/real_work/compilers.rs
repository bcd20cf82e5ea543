//! Programs that are made in the workspace and run there.

use crate::{
    places::{Place, prints},
    support::{need, python, sh},
};

work! {
    [namespaces landlock]
    a_program_of_two_files_is_compiled_and_run
    a_shared_library_is_compiled_and_loaded_into_python
    a_crate_is_made_built_and_run
}

fn has_compiler(place: Place) -> bool {
    place.has("cc", "cc", &["--version"])
}

const PROGRAM: &str = r#"set -e
cat >main.c <<'END'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int answer(void);
static void *work(void *number) { *(int *)number += 1; return number; }
int main(void) {
    int number = answer();
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, &number) || pthread_join(thread, NULL)) return 1;
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    if (fork() == 0) { *shared = number; _exit(0); }
    wait(NULL);
    printf("%d %.1f\n", *shared, sqrt(*shared - 6.75));
    return 0;
}
END
echo 'int answer(void) { return 42; }' >answer.c
cc -O2 -Wall -Werror -pthread -c main.c answer.c
ar rcs libanswer.a answer.o
cc -pthread -o program main.o -L. -lanswer -lm
./program
echo 'int main(void) { return *(volatile int *)0; }' | cc -xc -g -o faulty -
./faulty || echo "$?"
"#;

async fn a_program_of_two_files_is_compiled_and_run(place: Place) {
    if has_compiler(place) {
        place.prints(sh(PROGRAM), "43 6.0\n139\n").await;
    }
}

const LIBRARY: &str = r#"
import ctypes, ctypes.util, os, subprocess
open('sum.c', 'w').write('''
#include <stdlib.h>
long sum(const int *numbers, int count) { long all = 0; while (count--) all += *numbers++; return all; }
''')
subprocess.run(['cc', '-shared', '-fPIC', '-o', 'libsum.so', 'sum.c'], check=True)
library = ctypes.CDLL(os.path.abspath('libsum.so'))
library.sum.restype = ctypes.c_long
numbers = (ctypes.c_int * 4)(4, 3, 2, 1)
print(library.sum(numbers, 4))
# The library calls back: memory that is written and then executed.
order = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
ctypes.CDLL(None).qsort(numbers, 4, ctypes.sizeof(ctypes.c_int), order(lambda a, b: a[0] - b[0]))
print(list(numbers))
"#;

async fn a_shared_library_is_compiled_and_loaded_into_python(place: Place) {
    if has_compiler(place) && place.has_python("ctypes") {
        place.prints(python(LIBRARY), "10\n[1, 2, 3, 4]\n").await;
    }
}

/// By the toolchain on PATH, which as a rule lies in a home.
async fn a_crate_is_made_built_and_run(place: Place) {
    // Who runs these tests has one; an ordinary user may have none.
    if !has_compiler(place) || !need::happens_to_have("cargo", &["--version"]) {
        return;
    }
    let session = place.start().await;
    let code = "set -e\ncargo new --quiet --vcs none hello\ncd hello\n\
                cargo run --quiet --offline";
    prints(&session, sh(code), "Hello, world!\n").await;
}
