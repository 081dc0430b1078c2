"Runs the notebooks as tests, two at a time, and closes on the line `N passed, N failed`"
import os, sys
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_notebook(path, flags):
    "Execute one notebook, with the cells that carry one of `flags` too"
    from nbdev.test import test_nb
    return test_nb(path, skip_flags=['slow', 'cuda', 'aws', 'real'], force_flags=flags, basepath=ROOT, save=False)


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--flags', default='slow', help='run the cells with these flags as well (slow, cuda, aws, real), comma separated')
    p.add_argument('--only', default='', help='notebooks whose path contains this')
    p.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1), help='notebooks at a time')
    a = p.parse_args()
    nbs = [o for o in sorted((ROOT/'nbs').rglob('*.ipynb')) if not any(q[0] in '._' for q in o.relative_to(ROOT).parts) and a.only in str(o)]
    flags = [o for o in a.flags.split(',') if o]
    print(f"{len(nbs)} notebooks; cells flagged {', '.join(flags) or 'none'} run too, the other flags (cuda, aws) are left out", flush=True)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    os.environ.setdefault('MPLBACKEND', 'agg')
    os.environ.setdefault('DOGBREED_SHARED', str(ROOT.parent/'shared'))
    failed = 0
    # the later pages take longest: they go first, each in a fresh process
    nbs.reverse()
    with ProcessPoolExecutor(a.workers, mp_context=get_context('spawn'), max_tasks_per_child=1) as ex:
        jobs = {ex.submit(run_notebook, o, flags): o for o in nbs}
        for job in as_completed(jobs):
            try: ok, secs = job.result()
            except Exception as e: ok, secs = print(f'{jobs[job]}: {e!r}') or False, 0
            failed += not ok
            print(f"{'ok    ' if ok else 'FAILED'} {secs:6.1f} s  {jobs[job].relative_to(ROOT)}", flush=True)
    print(f'{len(nbs) - failed} passed, {failed} failed', flush=True)
    return 1 if failed or not nbs else 0


if __name__ == '__main__': sys.exit(main())
