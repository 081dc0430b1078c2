"""Is what the profiler says about a slow run true?

Training loops are slowed down in known ways. The profiler names the cause in its first sentence and estimates what its advice brings. Then the advice is
followed: loops with and without it take turns, and the gain is measured. A leak costs no time and a healthy run has no cause: there is no gain to estimate."""

import os, shutil, signal, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
import fastai.callback.progress  # noqa: F401  no_bar
from fastai.callback.core import Callback, CancelValidException
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn

from dogbreed_sm.bottlenecks import causes, facts, first_sentence
from dogbreed_sm.frames import read_profile
from dogbreed_sm.phases import profile_steps
from dogbreed_sm.samples import Sampler
from rows import append_row

RESULTS = Path(__file__).parent / "results"


class Photos(torch.utils.data.Dataset):
    "Random photos; an item waits `wait` s, reads `path` as from a slow disk, and computes for `work` s"

    def __init__(self, n, size, wait=0.0, work=0.0, path=None):
        self.n, self.size, self.wait, self.work, self.path = n, size, wait, work, path

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.wait:
            time.sleep(self.wait)
        if self.path:  # a disk that gives 400 kB/s: read in pieces, each followed by the pause that the rest would take
            with open(self.path, "rb", buffering=0) as f:
                while f.read(2048):
                    time.sleep(2048 / 400e3)
        t = time.thread_time()
        while time.thread_time() - t < self.work:
            np.sort(np.random.default_rng(i).random(2000))
        return torch.randn(3, self.size, self.size, generator=torch.Generator().manual_seed(i)), i % 5


class Every(Callback):
    "Sleep or leak in every `n`-th training step"

    def __init__(self, n=50, seconds=0.0, leak=0):
        self.n, self.seconds, self.leak, self.k, self.kept = n, seconds, leak, 0, []

    def after_batch(self):
        if not self.training:
            return
        self.k += 1
        if self.seconds and self.k % self.n == 0:
            time.sleep(self.seconds)
        if self.leak:
            self.kept.append(np.ones(self.leak, dtype=np.uint8))


class EverySecond(Callback):
    "Validate after every second epoch only"

    def before_validate(self):
        if self.epoch % 2 == 0:
            raise CancelValidException


def net():
    def block(i, o):
        return nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()

    return nn.Sequential(*block(3, 32), *block(32, 64), *block(64, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 5))


def learner(n=480, bs=16, size=64, workers=0, valid=32, valid_bs=64, cbs=(), **item):
    torch.manual_seed(0)
    dls = DataLoaders(
        TfmdDL(Photos(n, size, **item), bs=bs, shuffle=True, drop_last=True, num_workers=workers),
        TfmdDL(Photos(valid, size, **item), bs=valid_bs, num_workers=workers),
    )
    return Learner(dls, net(), loss_func=CrossEntropyLossFlat(), lr=1e-3, cbs=[c() for c in cbs])


def stranger(code):
    "Start a program that is nobody's child here, since a job's own children count as its own; its pid"
    quiet = ", ".join(f"{k}=subprocess.DEVNULL" for k in ("stdin", "stdout", "stderr"))
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], {quiet}).pid)"
    return int(subprocess.run([sys.executable, "-c", start, code], check=True, capture_output=True, text=True).stdout)


def profiled(root, start_delay=0.0, hog=0, epochs=2, **kw):
    "Train once under the profiler; what it saw"
    hogs = [stranger("while True: pass") for _ in range(hog)]
    try:
        with Sampler(root, 200):
            job = time.time()
            time.sleep(start_delay)
            learn = learner(**kw)
            phases = profile_steps(learn, root, job_start=job)
            with learn.no_bar(), learn.no_logging():
                learn.fit(epochs)
            phases.writer.close()
    finally:
        for h in hogs:
            os.kill(h, signal.SIGKILL)
    return read_profile(root)


def took(p, of):
    "Seconds of what a gain is about: a training photo, an epoch, the run. The first step of an epoch starts the loader and is left out"
    s = p.steps[p.steps.epoch >= 0]
    train = s[(s["mode"] == "TRAIN") & (s.profiled == 0)]
    train = train[train.groupby("epoch").cumcount() > 0]
    if of == "training steps":
        return train.seconds.sum() / train.photos.sum()
    return s.seconds.sum() / (s.epoch.max() + 1) if of == "epochs" else facts(p).total


def cases(tmp):
    "What is planted: the cause that must come first, the settings, and what following the advice changes; a function of the cause, where it says by how much"
    (tmp / "photo").write_bytes(b"0" * 6000)
    workers = lambda c: dict(workers=c.evidence["advised_workers"])
    return {
        "slow storage": ("storage", dict(wait=0.004), workers),
        "throttled disk": ("storage", dict(path=tmp / "photo", n=320), workers),
        "one worker waits": ("storage", dict(wait=0.02, workers=1, n=240), workers),
        "one worker decodes": ("decoding", dict(workers=1, work=0.008), lambda c: workers(c) if c.evidence["advised_workers"] else dict(work=0)),
        "decoding in the loop": ("decoding", dict(work=0.006), lambda c: workers(c) if c.evidence["advised_workers"] else dict(work=0)),
        "tiny batches": ("batch", dict(n=240, bs=2, valid=128), lambda c: dict(bs=c.evidence["advised"], n=1280)),
        "stall every 10": ("stalls", dict(cbs=[lambda: Every(10, 2.0)], bs=64, n=1920), dict(cbs=())),
        "stall every 50": ("stalls", dict(cbs=[lambda: Every(50, 2.0)], n=1600), dict(cbs=())),
        "cpu hog": ("others", dict(hog=4, n=960), dict(hog=0)),
        "memory leak": ("leak", dict(cbs=[lambda: Every(leak=8_000_000)], n=960, epochs=3), None),
        "validation as long as training": ("validation", dict(valid=1280), dict(cbs=[EverySecond])),
        "initialisation": ("initialisation", dict(start_delay=60.0), lambda c: dict(start_delay=6.0)),
        "healthy, 32 px": ("", dict(size=32, n=3200, bs=64), None),
        "healthy, 64 px": ("", dict(n=1920, bs=64), None),
        "healthy, 96 px": ("", dict(size=96, n=960, bs=64), None),
    }


def planted(args):
    "A row for each case"
    tmp = Path(tempfile.mkdtemp())
    for name, (want, kw, advised) in cases(tmp).items():
        if args.only and not any(o in name for o in args.only):
            continue
        p = profiled(tmp / "first", **kw)
        found = causes(p)
        if want != "others":
            found = [c for c in found if c.name != "others"]  # on a machine that others use they are really there
        top = found[0] if found else None
        named = top.name if top else ""
        row = dict(
            what=name,
            planted=want,
            named=named,
            right=named == want,
            gain_of=top.of if top and not top.risk else "",
            estimated_gain="",
            measured_gain="",
            error="",
            sentence=first_sentence(p, found),
            load=round(os.getloadavg()[0], 1),
        )
        if args.show:
            print(facts(p), top and top.evidence)
        if advised and top and top.name == want:
            new, ratios, gains = advised(top) if callable(advised) else advised, [], [top.gain]
            for i in range(args.rounds):  # with and without in turns, since a machine has faster and slower minutes
                q = profiled(tmp / f"with{i}", **(kw | new))
                b = profiled(tmp / f"without{i}", **kw) if i or want != "initialisation" else p
                ratios.append(took(b, top.of) / took(q, top.of))
                gains += [c.gain for c in causes(b) if c.name == want]
            said, measured = float(np.median(gains)), float(np.median(ratios))
            row |= dict(estimated_gain=round(said, 2), measured_gain=round(measured, 2), error=round(said / measured - 1, 2))
        for d in tmp.glob("*/"):
            shutil.rmtree(d)
        print({k: v for k, v in row.items()}, flush=True)
        yield row
    shutil.rmtree(tmp)


def main():
    a = ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--rounds", type=int, default=3, help="turns with and without what is advised (default: %(default)s)")
    a.add_argument("--only", nargs="*", help="cases whose name contains one of these")
    a.add_argument("--show", action="store_true", help="print the facts of each run")
    a.add_argument("--dry", action="store_true", help="write no results")
    args = a.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rows = []
    for r in planted(args):
        rows.append(r)
        if not args.dry:
            append_row(RESULTS / "bottlenecks.csv", r)
    close = [r for r in rows if r["error"] != "" and abs(r["error"]) <= 0.3]
    right, measured = sum(r["right"] for r in rows), sum(r["error"] != "" for r in rows)
    print(f"{right} of {len(rows)} causes named rightly; {len(close)} of {measured} gains estimated within 30 %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
