//! Processes and threads of Python's: pools, queues, shared memory, and children that are talked to.

use crate::{
    places::{Place, fails, is_noted},
    support::python,
};

work! {
    [namespaces docker]
    pools_and_queues_of_processes_work_by_every_start_method
    executors_of_processes_managers_and_shared_memory_work
}

work! {
    [landlock]
    what_needs_named_semaphores_fails_and_is_noted
}

work! {
    [namespaces landlock docker]
    processes_with_pipes_and_pools_of_threads_work
    threads_with_locks_and_queues_work
    children_are_talked_to_by_asyncio
    children_are_started_waited_for_and_ended
}

const POOLS: &str = "
import multiprocessing, os

def square(number):
    return number * number

def put(queue, lock, number):
    with lock:
        queue.put((number, os.getppid()))

if __name__ == '__main__':
    for method in 'fork', 'spawn', 'forkserver':
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print(method, sum(pool.map(square, range(100))), pool.apply_async(square, (12,)).get(30))
        queue, lock = context.Queue(), context.Lock()
        processes = [context.Process(target=put, args=(queue, lock, number)) for number in range(3)]
        for process in processes:
            process.start()
        print(sorted(queue.get(timeout=30)[0] for _ in processes))
        for process in processes:
            process.join(30)
        print([process.exitcode for process in processes])
";

async fn pools_and_queues_of_processes_work_by_every_start_method(place: Place) {
    let each = |method| format!("{method} 328350 144\n[0, 1, 2]\n[0, 0, 0]\n");
    place.prints(python(POOLS), &["fork", "spawn", "forkserver"].map(each).concat()).await;
}

const SHARED: &str = "
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory

def double(number):
    return 2 * number

def fill(name, events, done):
    memory = shared_memory.SharedMemory(name)
    memory.buf[:5] = b'hello'
    memory.close()
    events['filled'] = True
    done.set()

if __name__ == '__main__':
    with ProcessPoolExecutor(2) as executor:
        print(list(executor.map(double, range(5))))
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    with multiprocessing.Manager() as manager:
        events, done = manager.dict(), multiprocessing.Event()
        process = multiprocessing.Process(target=fill, args=(memory.name, events, done))
        process.start()
        print(done.wait(30), process.join(30), dict(events))
    print(bytes(memory.buf[:5]))
    memory.close()
    memory.unlink()
    counter = multiprocessing.Value('i', 0)
    with counter.get_lock():
        counter.value += 1
    print(counter.value)
";

async fn executors_of_processes_managers_and_shared_memory_work(place: Place) {
    let expected = "[0, 2, 4, 6, 8]\nTrue None {'filled': True}\nb'hello'\n1\n";
    place.prints(python(SHARED), expected).await;
}

async fn what_needs_named_semaphores_fails_and_is_noted(place: Place) {
    let session = place.start().await;
    let denied = "PermissionError: [Errno 13] Permission denied";
    for code in [
        "import multiprocessing\nmultiprocessing.Pool(2)",
        "import multiprocessing\nmultiprocessing.Queue()",
        "import multiprocessing\nmultiprocessing.Lock()",
        "from multiprocessing.pool import ThreadPool\nThreadPool(2)",
        "from concurrent.futures import ProcessPoolExecutor\n\
         with ProcessPoolExecutor(2) as executor:\n    print(executor.submit(int).result())",
        "from multiprocessing.shared_memory import SharedMemory\nSharedMemory(create=True, size=1)",
    ] {
        fails(&session, python(code), denied).await;
    }
    assert!(is_noted(&session, "multiprocessing"), "{:?}", session.info());
}

const PROCESSES: &str = "
import multiprocessing, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

def answer(pipe):
    pipe.send(pipe.recv() * 2)

def run(number):
    return int(subprocess.check_output([sys.executable, '-c', f'print({number} ** 2)']))

if __name__ == '__main__':
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context('fork').Process(target=answer, args=(theirs,))
    process.start()
    ours.send(21)
    print(ours.recv(), process.join(30), process.exitcode)
    with ThreadPoolExecutor(2) as executor:
        print(list(executor.map(run, range(4))))
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    print(os.cpu_count() > 0, os.nice(1) > 0)
";

async fn processes_with_pipes_and_pools_of_threads_work(place: Place) {
    place.prints(python(PROCESSES), "42 None 0\n[0, 1, 4, 9]\nTrue True\n").await;
}

const THREADS: &str = "
import queue, threading, time

lock, results, total = threading.Lock(), queue.Queue(), 0

def work(number):
    global total
    with lock:
        total += number
    results.put(number)

threads = [threading.Thread(target=work, args=(number,), name=f'worker {number}') for number in range(200)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
fired = threading.Event()
threading.Timer(0.01, fired.set).start()
print(total, results.qsize(), fired.wait(30))
";

async fn threads_with_locks_and_queues_work(place: Place) {
    place.prints(python(THREADS), "19900 200 True\n").await;
}

const ASYNCIO: &str = "
import asyncio, sys

async def shout(text):
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-c', 'print(input().upper())',
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate(text.encode() + b'\\n')
    return out.decode().strip(), child.returncode

async def stopped():
    child = await asyncio.create_subprocess_shell('exec sleep 600')
    try:
        await asyncio.wait_for(child.wait(), 0.05)
    except asyncio.TimeoutError:
        child.kill()
    return await child.wait()

async def main():
    print(await asyncio.gather(shout('one'), shout('two')), await stopped())
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(None, sum, [1, 2, 3]))

asyncio.run(main())
";

async fn children_are_talked_to_by_asyncio(place: Place) {
    place.prints(python(ASYNCIO), "[('ONE', 0), ('TWO', 0)] -9\n6\n").await;
}

const CHILDREN: &str = "
import os, resource, signal, subprocess

print(subprocess.run('cat; exit 3', shell=True, input='in', capture_output=True, text=True))
child = subprocess.Popen(['sleep', '600'], start_new_session=True)
os.killpg(child.pid, signal.SIGTERM)
print(child.wait(30))
signal.signal(signal.SIGUSR1, lambda number, frame: print('signal', number == signal.SIGUSR1))
os.kill(os.getpid(), signal.SIGUSR1)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print(subprocess.check_output(['sh', '-c', 'ulimit -n 64; ulimit -n; umask 077; umask'], text=True).split())
print(os.getcwd() == os.environ.get('PWD', os.getcwd()), os.path.exists('/proc/self/status'))
";

async fn children_are_started_waited_for_and_ended(place: Place) {
    let expected = "CompletedProcess(args='cat; exit 3', returncode=3, stdout='in', stderr='')\n-15\nsignal True\n\
                    ['64', '0077']\nTrue True\n";
    place.prints(python(CHILDREN), expected).await;
}
