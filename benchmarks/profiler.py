"""What profiling costs: epochs with and without the profiler take turns on the same learner; the ratio of the median step is of one round.

Whether what it says is true: `bottlenecks.py`."""
import csv, os, shutil, sys, tempfile, time
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

from dogbreed_sm.core import machine, versions
from dogbreed_sm.phases import profile_steps
from dogbreed_sm.resnet import build_resnet
from dogbreed_sm.samples import Sampler

RESULTS = Path(__file__).parent/'results'


class Photos(torch.utils.data.Dataset):
    "Random photos"
    def __init__(self, n, size): self.n, self.size = n, size
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.randn(3, self.size, self.size, generator=torch.Generator().manual_seed(i)), i % 5


def learner(n=320, bs=16, size=64, valid=32):
    torch.manual_seed(0)
    dls = DataLoaders(TfmdDL(Photos(n, size), bs=bs, shuffle=True, drop_last=True, num_workers=0), TfmdDL(Photos(valid, size), bs=bs, num_workers=0))
    return Learner(dls, build_resnet(5), loss_func=CrossEntropyLossFlat(), lr=1e-3)


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


def main():
    a = ArgumentParser(description=__doc__.split('\n')[0])
    a.add_argument('--rounds', type=int, default=60, help='pairs of short epochs; many short ones, because machines drift (default: %(default)s)')
    a.add_argument('--steps', type=int, default=6, help='of an epoch (default: %(default)s)')
    a.add_argument('--size', type=int, default=32, help='side of a photo, px (default: %(default)s)')
    args = a.parse_args()
    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    load = os.getloadavg()[0]
    rows = [cost(args)]
    about = dict(torch=versions()['torch'], cpu=machine()['cpu'], cores=machine()['cores'], load_before=round(load, 2))
    rows = [dict(date=date.today().isoformat(), **r, **about) for r in rows]
    path = RESULTS/'profiler.csv'
    new = not path.exists()
    with open(path, 'a', newline='') as f:
        w = csv.DictWriter(f, rows[0])
        if new: w.writeheader()
        w.writerows(rows)
    print(rows[-1])
    return 0


if __name__ == '__main__': sys.exit(main())
