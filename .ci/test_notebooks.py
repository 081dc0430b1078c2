"Runs the notebooks as tests, a few at a time, and closes on the line `N passed, N failed`"
import gc, os, sys, tempfile, time, traceback
from argparse import ArgumentParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def preload():
    "Import what most pages import; each page runs in a fork of this process, so nobody waits for PyTorch twice. Nothing of dogbreed_sm is among it"
    import fastai.vision.all, matplotlib.pyplot, nbdev.test, pandas, scipy.stats, seaborn, sklearn.metrics  # noqa: F401
    gc.collect(), gc.freeze()  # the collector of a fork then leaves the shared memory alone


def pool_host():
    "One process that loads PyTorch for the pools of all local SageMakers that the pages start"
    from dogbreed_sm import workers
    for m in [m for m in sys.modules if m.partition('.')[0] == 'dogbreed_sm']: del sys.modules[m]  # pages import it anew
    return workers.pool_host()


def run_here(path, flags):
    "Run one notebook in this process; the exit code"
    from nbdev.test import test_nb
    ok, _ = test_nb(path, skip_flags=['slow', 'cuda', 'aws', 'real'], force_flags=flags.split(','), basepath=ROOT)
    return 0 if ok else 1


def start(path, flags):
    "Run one notebook in a fork, its output in a file; process id, file, and when it began"
    out = tempfile.TemporaryFile()
    sys.stdout.flush(), sys.stderr.flush()
    if pid := os.fork(): return pid, out, time.perf_counter()
    code = 1
    try:
        os.dup2(out.fileno(), 1), os.dup2(out.fileno(), 2)
        code = run_here(path, flags)
        sys.stdout.flush(), sys.stderr.flush()
    except BaseException: os.write(2, traceback.format_exc().encode())
    finally: finish(code)


def finish(code):
    "End a fork as an interpreter ends, which the pages' own exit handlers count on"
    import atexit, multiprocessing.util, threading
    try:
        threading._shutdown()
        multiprocessing.util._exit_function()
        atexit._run_exitfuncs()
    finally: os._exit(code)


def told(path, code, out, seconds, used):
    "Print a line about a notebook, after its output where it failed; whether it passed"
    out.seek(0)
    text = out.read().decode(errors='replace')
    cpu = used.ru_utime+used.ru_stime  # of the notebook and the processes it waited for
    line = f"{'ok    ' if code == 0 else 'FAILED'} {seconds:6.1f} s, {cpu:6.1f} s of CPU  {path.relative_to(ROOT)}"
    print(line if code == 0 else f'{text[-9000:]}\n{line}', flush=True)
    return code == 0


def run_all(nbs, flags, workers):
    "Run notebooks, `workers` at a time; how many passed"
    waiting, running, passed = list(nbs), {}, 0
    while waiting or running:
        while waiting and len(running) < workers:
            path = waiting.pop(0)
            pid, out, t = start(path, flags)
            running[pid] = path, out, t
        pid, status, used = os.wait4(-1, 0)
        if pid not in running: continue
        path, out, t = running.pop(pid)
        passed += told(path, os.waitstatus_to_exitcode(status), out, time.perf_counter()-t, used)
    return passed


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--flags', default='slow', help='run the cells with these flags as well (slow, cuda, aws, real), comma separated')
    p.add_argument('--only', default='', help='notebooks whose path contains this')
    several = min(3, os.cpu_count() or 1)  # more than cores take longer: a notebook's own processes compete for the caches
    p.add_argument('--workers', type=int, default=several, help='notebooks at a time (default: %(default)s)')
    a = p.parse_args()
    nbs = [o for o in sorted((ROOT/'nbs').rglob('*.ipynb')) if not any(q[0] in '._' for q in o.relative_to(ROOT).parts) and a.only in str(o)]
    left_out = sorted({'slow', 'cuda', 'aws', 'real'} - set(a.flags.split(',')))
    print(f"{len(nbs)} notebooks; cells flagged {a.flags} run too, those flagged {', '.join(left_out)} are left out", flush=True)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')  # as 00_core sets it before torch is loaded
    os.environ.setdefault('MPLBACKEND', 'agg')
    os.environ.setdefault('DOGBREED_SHARED', str(ROOT.parent/'shared'))
    preload()
    with pool_host(): passed = run_all(reversed(nbs), a.flags, a.workers)  # the later pages take longest, so they go first
    gc.unfreeze()
    print(f'{passed} passed, {len(nbs)-passed} failed', flush=True)
    return 0 if nbs and passed == len(nbs) else 1


if __name__ == '__main__': sys.exit(main())
