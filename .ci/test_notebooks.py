"Runs the notebooks as tests, a few at a time, and closes on the line `N passed, N failed`"
import os, subprocess, sys, time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_notebook(path, flags):
    "Run one notebook in a process of its own, with the cells that carry one of `flags` too; whether it passed, and a line about it"
    t = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, '--one', str(path), '--flags', flags], capture_output=True, text=True)
    ok = done.returncode == 0
    line = f"{'ok    ' if ok else 'FAILED'} {time.perf_counter()-t:6.1f} s  {path.relative_to(ROOT)}"
    print(line if ok else f'{done.stdout[-3000:]}{done.stderr[-6000:]}\n{line}', flush=True)
    return ok


def run_here(path, flags):
    "Run one notebook in this process"
    from nbdev.test import test_nb
    ok, _ = test_nb(path, skip_flags=['slow', 'cuda', 'aws', 'real'], force_flags=flags.split(','), basepath=ROOT)
    return 0 if ok else 1


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--flags', default='slow', help='run the cells with these flags as well (slow, cuda, aws, real), comma separated')
    p.add_argument('--only', default='', help='notebooks whose path contains this')
    p.add_argument('--one', help='run this notebook in this process')
    several = min(3, (os.cpu_count() or 1)+1)  # many notebooks wait for processes of their own
    p.add_argument('--workers', type=int, default=several, help='notebooks at a time (default: %(default)s)')
    a = p.parse_args()
    if a.one: return run_here(a.one, a.flags)
    nbs = [o for o in sorted((ROOT/'nbs').rglob('*.ipynb')) if not any(q[0] in '._' for q in o.relative_to(ROOT).parts) and a.only in str(o)]
    left_out = sorted({'slow', 'cuda', 'aws', 'real'} - set(a.flags.split(',')))
    print(f"{len(nbs)} notebooks; cells flagged {a.flags} run too, those flagged {', '.join(left_out)} are left out", flush=True)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    os.environ.setdefault('MPLBACKEND', 'agg')
    os.environ.setdefault('DOGBREED_SHARED', str(ROOT.parent/'shared'))
    with ThreadPoolExecutor(a.workers) as ex:
        # the later pages take longest, so they go first
        passed = sum(ex.map(lambda o: run_notebook(o, a.flags), reversed(nbs)))
    print(f'{passed} passed, {len(nbs)-passed} failed', flush=True)
    return 0 if nbs and passed == len(nbs) else 1


if __name__ == '__main__': sys.exit(main())
