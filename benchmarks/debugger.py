"What saving tensors costs: training steps with and without the hook take turns, one by one, in one run"
import csv, os, sys, tempfile, time
from argparse import ArgumentParser
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from dogbreed_sm.core import machine, versions
from dogbreed_sm.debugger import SaveTensors, auto_config, hook_config
from dogbreed_sm.learner import precision_callback, split_stages
from dogbreed_sm.resnet import build_resnet, normalise, pick_precision
from dogbreed_sm.ruleset import judge_run

import torch
from fastai.callback import progress  # noqa: F401
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch.utils.data import DataLoader, TensorDataset

RESULTS = Path(__file__).parent/'results'/'debugger.csv'
HEAVY, LIGHT = 8, 4  # a save of tensors at every 8th hooked step, of losses at every 4th, the others nothing


class Turns(Callback):
    "Switch the hook on for every other step, and time each step from before its first callback to after its last"
    order = -1000

    def __init__(self, save): self.save, self.times, self.n = save, [], 0

    def before_batch(self):
        self.hooked = self.n % 2 == 0
        self.save.active = self.hooked
        self.began = time.perf_counter(), time.process_time()


class Ends(Callback):
    order = 1000

    def __init__(self, turns): self.turns = turns

    def after_batch(self):
        t = self.turns
        seconds = time.perf_counter()-t.began[0], time.process_time()-t.began[1]
        i = t.n//2
        kind = 'plain' if not t.hooked else ('valid' if not self.training else 'tensors' if i % HEAVY == 0 else 'losses' if i % LIGHT == 0 else 'nothing')
        t.times.append((kind if t.hooked or self.training else 'plain valid', seconds))
        t.n += 1

    def after_train(self): self.turns.n = 0


def seconds(phase, args):
    "Median seconds of each kind of step"
    n = 2*args.pairs*args.bs
    x = torch.randint(0, 256, (8*args.bs, 3, args.size, args.size), dtype=torch.uint8)
    rows = torch.arange(n) % len(x)

    class Photos(TensorDataset):
        def __getitem__(self, i): return normalise(x[int(rows[i])][None])[0], int(rows[i]) % args.classes
    train, valid = Photos(rows), Photos(rows[:20*args.bs])
    net = build_resnet(args.classes)
    learn = Learner(DataLoaders(DataLoader(train, args.bs), DataLoader(valid, args.bs)), net, loss_func=CrossEntropyLossFlat(), splitter=split_stages,
                    cbs=precision_callback(pick_precision()), train_bn=False)
    learn.freeze_to(5 if phase == 'head' else 4)
    with tempfile.TemporaryDirectory() as tmp:
        save = SaveTensors(tmp, hook_config(HEAVY, LIGHT))
        turns = Turns(save)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4, cbs=[save, turns, Ends(turns)])
        if save.problem: sys.exit(save.problem)
        t = time.perf_counter()
        judge_run(tmp)
        judged = time.perf_counter()-t
    times = turns.times[4:]  # the first steps pay for everybody's memory
    return [{k: median(s[i] for q, s in times if q == k) for k in dict(times)} for i in (0, 1)] + [judged]


def row(phase, args):
    "One line of the table: the cost of a step at the default intervals, from the medians of the kinds"
    wall, cpu, judged = seconds(phase, args)
    every = {o['CollectionName']: int(o['CollectionParameters']['train.save_interval']) for o in auto_config(100)['CollectionConfigurations']}
    heavy, light = 1/every['gradients'], 1/every['losses']-1/every['gradients']
    def ratio(s): return round((heavy*s['tensors']+light*s['losses']+(1-heavy-light)*s['nothing'])/s['plain'], 4)
    return dict(date=datetime.now(timezone.utc).date().isoformat(), trains=phase,
                plain_step_s=round(wall['plain'], 4), with_tensors_s=round(wall['tensors'], 4),
                with_losses_s=round(wall['losses'], 4), with_nothing_s=round(wall['nothing'], 4), ratio=ratio(wall), cpu_ratio=ratio(cpu), target=1.03,
                valid_ratio=round(wall['valid']/wall['plain valid'], 4), valid_cpu_ratio=round(cpu['valid']/cpu['plain valid'], 4),
                rules_s=round(judged, 3), tensors_every=every['gradients'], losses_every=every['losses'],
                pairs=args.pairs, bs=args.bs, size=args.size,
                threads=torch.get_num_threads(), cpu=machine()['cpu'], cores=machine()['cores'], load_before=round(args.load, 2),
                **{k: versions(k).get(k) for k in ('torch', 'smdebug')})


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--pairs', type=int, default=40, help='steps with the hook, and as many without')
    p.add_argument('--bs', type=int, default=64)
    p.add_argument('--size', type=int, default=160)
    p.add_argument('--classes', type=int, default=120)
    p.add_argument('--threads', type=int, default=int(os.environ.get('OMP_NUM_THREADS', 0)) or len(os.sched_getaffinity(0)))
    args = p.parse_args()
    args.load = os.getloadavg()[0]
    torch.set_num_threads(args.threads)
    rows = [row(phase, args) for phase in ('head', 'layer4')]
    new = not RESULTS.exists()
    with open(RESULTS, 'a', newline='') as f:
        w = csv.DictWriter(f, rows[0])
        if new: w.writeheader()
        w.writerows(rows)
    for r in rows:
        print(f"{r['trains']}: a step takes {r['ratio']:.3f} times as long (target {r['target']}), in processor time "
              f"{r['cpu_ratio']:.3f}; a validation step {r['valid_ratio']:.3f}, {r['valid_cpu_ratio']:.3f}")
    return int(any(min(r['ratio'], r['cpu_ratio']) > r['target'] for r in rows))


if __name__ == '__main__': sys.exit(main())
