"""What profiling costs, and whether what it says is true.

cost:    epochs with and without the profiler take turns on the same learner; the ratio of the median step is of one round.
planted: a training loop is slowed down in a known way; the profiler names the cause and the gain of its advice; the advice is applied and measured."""
import csv, os, shutil, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from datetime import date
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
import numpy as np
import torch
import fastai.callback.progress  # noqa: F401  no_bar
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn

from dogbreed_sm.bottlenecks import causes, first_sentence
from dogbreed_sm.core import machine, versions
from dogbreed_sm.frames import read_profile
from dogbreed_sm.phases import profile_steps
from dogbreed_sm.resnet import build_resnet
from dogbreed_sm.samples import Sampler

RESULTS = Path(__file__).parent/'results'


class Photos(torch.utils.data.Dataset):
    "Random photos; an item sleeps `wait` s and computes for `work` s"
    def __init__(self, n, size, wait=0., work=0., path=None): self.n, self.size, self.wait, self.work, self.path = n, size, wait, work, path
    def __len__(self): return self.n
    def __getitem__(self, i):
        if self.wait: time.sleep(self.wait)
        if self.path:  # a disk that gives 400 kB/s: read a photo in pieces, each followed by the pause that the rest would take
            with open(self.path, 'rb', buffering=0) as f:
                while f.read(2048): time.sleep(2048/400e3)
        t = time.thread_time()
        while time.thread_time()-t < self.work: np.sort(np.random.default_rng(i).random(2000))
        g = torch.Generator().manual_seed(i)
        return torch.randn(3, self.size, self.size, generator=g), i % 5


class Every(Callback):
    "Sleep or leak in every `n`-th step"
    def __init__(self, n=50, seconds=0., leak=0): self.n, self.seconds, self.leak, self.k, self.kept = n, seconds, leak, 0, []
    def after_batch(self):
        if not self.training: return
        self.k += 1
        if self.seconds and self.k % self.n == 0: time.sleep(self.seconds)
        if self.leak: self.kept.append(np.ones(self.leak, dtype=np.uint8))


def small_net():
    return nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))


def learner(n=320, bs=16, size=64, workers=0, valid=32, net=None, cbs=(), **item):
    torch.manual_seed(0)
    dls = DataLoaders(TfmdDL(Photos(n, size, **item), bs=bs, shuffle=True, drop_last=True, num_workers=workers),
                      TfmdDL(Photos(valid, size, **item), bs=bs, num_workers=workers))
    return Learner(dls, net or build_resnet(5), loss_func=CrossEntropyLossFlat(), lr=1e-3, cbs=list(cbs))


def fit(learn, epochs=1):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)


class StepClock(Callback):
    "Median seconds of a step, measured by itself"
    order = 2000
    def __init__(self): self.seconds, self.cpu = [], []
    def now(self): return time.perf_counter(), time.process_time()
    def before_train(self): self.t = self.now()
    def after_batch(self):
        if not self.training: return
        now = self.now()
        self.seconds.append(now[0]-self.t[0]); self.cpu.append(now[1]-self.t[1])
        self.t = now


def cost(args):
    "Ratio of the median step with and without profiling, and the sampler's share of a core"
    learn, ratios, cpu_ratios, shares = learner(n=args.steps*16, size=args.size), [], [], []
    fit(learn)
    for r in range(args.rounds):
        took, cpu = {}, {}
        for on in ((False, True) if r % 2 else (True, False)):
            clock = StepClock()
            learn.add_cb(clock)
            before, root = list(learn.cbs), Path(tempfile.mkdtemp())
            if on:
                with Sampler(root) as sampler:
                    phases = profile_steps(learn, root, n_steps=0)
                    fit(learn)
                    phases.writer.close()
                shares.append(sampler.cost)
                for cb in [c for c in learn.cbs if c not in before]: learn.remove_cb(cb)
            else: fit(learn)
            learn.remove_cb(clock)
            took[on], cpu[on] = np.median(clock.seconds), np.median(clock.cpu)
            shutil.rmtree(root)
        ratios.append(took[True]/took[False])
        cpu_ratios.append(cpu[True]/cpu[False])
        print(f'round {r}: step {1000*took[False]:.1f} ms, with profiling {1000*took[True]:.1f} ms: {ratios[-1]:.3f}, '
              f'of computing {cpu_ratios[-1]:.3f}', flush=True)
    return dict(what='cost', step_ratio=round(float(np.median(ratios)), 4), cpu_ratio=round(float(np.median(cpu_ratios)), 4),
                added_us_per_step=round(added_us(), 1), sampler_share_of_core=round(float(np.median(shares)), 5), rounds=args.rounds,
                step_ms=round(float(1000*took[False]), 1))


def added_us(steps=2000):
    "Microseconds of computing that timing adds to a step, on a loop that does next to nothing"
    class Numbers:
        def __len__(self): return steps
        def __getitem__(self, i): return torch.tensor([1.]), torch.tensor([2.])
    def loop(on):
        learn = Learner(DataLoaders(*[TfmdDL(Numbers(), bs=1, num_workers=0) for _ in range(2)]), nn.Linear(1, 1), loss_func=nn.MSELoss(), lr=1e-4)
        root = Path(tempfile.mkdtemp())
        if on: phases = profile_steps(learn, root, n_steps=0)
        t = time.process_time()
        fit(learn)
        if on: phases.writer.close()
        shutil.rmtree(root)
        return time.process_time()-t
    return float(np.median([loop(True)-loop(False) for _ in range(5)]))/(2*steps)*1e6


def profiled(root, start_delay=0., hog=0, epochs=2, **kw):
    "Train once and read what was seen; seconds of the fit, too"
    hogs = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(hog)]
    try:
        with Sampler(root, 200):
            job = time.time()
            time.sleep(start_delay)
            learn = learner(**kw)
            phases = profile_steps(learn, root, job_start=job)
            t = time.perf_counter()
            fit(learn, epochs)
            seconds = time.perf_counter()-t
            phases.writer.close()
    finally:
        for h in hogs: h.kill(); h.wait()
    return read_profile(root), seconds


def medians(p): return p.steps[(p.steps['mode'] == 'TRAIN') & (p.steps.profiled == 0)].seconds.iloc[1:].mean()


def planted(args):
    "Each cause, as the profiler names it and as it turns out"
    tmp = Path(tempfile.mkdtemp())
    (tmp/'photo').write_bytes(b'0'*6000)
    tiny = dict(n=96, bs=2, valid=4)
    cases = {  # what is planted, the cause that must come first, the settings, what the advice changes
        'slow storage': ('storage', dict(wait=.012), dict(workers=None)),
        'throttled disk': ('storage', dict(path=tmp/'photo'), dict(workers=None)),
        'one worker decodes': ('decoding', dict(workers=1, work=.02, net=small_net()), dict(work=0)),
        'decoding in the loop': ('decoding', dict(work=.02), dict(work=0)),
        'tiny batches': ('batch', tiny, dict(bs=32)),
        'stall every 10': ('stalls', dict(cbs=[Every(10, 2.)], n=640), dict(cbs=())),
        'cpu hog': ('others', dict(hog=3), dict(hog=0)),
        'memory leak': ('leak', dict(cbs=[Every(leak=8_000_000)], epochs=3), None),
        'long validation': ('validation', dict(valid=960, n=320), None),
        'initialisation': ('initialisation', dict(start_delay=60.), None),
        'healthy, 32 px': ('', dict(size=32, n=640), None), 'healthy, 64 px': ('', {}, None), 'healthy, 96 px': ('', dict(size=96), None)}
    for name, (want, kw, change) in cases.items():
        if args.only and not any(o in name for o in args.only): continue
        p, _ = profiled(tmp/name.replace(' ', '_'), **kw)
        found, busy = causes(p), os.getloadavg()[0] > 1.5*machine()['cores']
        if busy and want != 'others': found = [c for c in found if c.name != 'others']  # they are really there, on a machine that others use
        top = found[0] if found else None
        row = dict(what=name, planted=want, first=top.name if top else '', right=(top.name if top else '') == want, others_left_out=busy,
                   estimated_gain=round(top.gain, 2) if top else '', measured_gain='', sentence=first_sentence(p, found))
        if change and top and top.name == want:
            new = {k: (top.evidence.get('advised_workers') if v is None else v) for k, v in change.items()}
            q, _ = profiled(tmp/(name.replace(' ', '_')+'_mended'), **(kw | new))
            scale = new.get('bs', 1)/kw['bs'] if 'bs' in new else 1
            row['measured_gain'] = round(float(medians(p)*scale/medians(q)), 2)
        print(row, flush=True)
        yield row


def main():
    a = ArgumentParser(description=__doc__.split('\n')[0])
    a.add_argument('--rounds', type=int, default=7)
    a.add_argument('--steps', type=int, default=40)
    a.add_argument('--size', type=int, default=64, help='side of a photo, px')
    a.add_argument('--planted', action='store_true')
    a.add_argument('--only', nargs='*')
    args = a.parse_args()
    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    load = os.getloadavg()[0]
    rows = list(planted(args)) if args.planted else [cost(args)]
    about = dict(torch=versions()['torch'], cpu=machine()['cpu'], cores=machine()['cores'], load_before=round(load, 2))
    rows = [dict(date=date.today().isoformat(), **r, **about) for r in rows]
    path = RESULTS/('profiler_planted.csv' if args.planted else 'profiler.csv')
    new = not path.exists()
    with open(path, 'a', newline='') as f:
        w = csv.DictWriter(f, rows[0])
        if new: w.writeheader()
        w.writerows(rows)
    print(rows[-1])
    return 0


if __name__ == '__main__': sys.exit(main())
