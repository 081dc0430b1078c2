"""What a process costs before it trains or serves, and what memory that is kept saves in a step

    python benchmarks/processes.py --rounds 5

Each contestant is a process of its own; they take turns, and the order changes from round to round. `import` rows count the processor seconds until training
(`dogbreed_sm.learner`) or serving (`dogbreed_sm.artifact`) is imported, after a plain `import torchvision`, which brings PyTorch's compiler along, or without
it, as the package imports torchvision. `step` rows count the seconds of a training step of a ResNet18 with memory as the C library handles it, or after
`keep_freed_memory`. `shapes` counts the processor seconds of a network on the meta device, its layers filled at random or left as they are. `small maps`
rows are training steps with PyTorch's convolutions against `fit_small_maps`, `prediction` rows the forward pass of a network without batch norms against
`fuse_relu`, and `a head's optimizer` the processor seconds of three steps with a PyTorch optimizer against `plain_optimizer`. `threads` rows are
steps where OpenMP's threads sleep at once, or spin as long as OpenMP likes, against `GOMP_SPINCOUNT=1000`, alone or beside a second process. `ratio` is plain
over ours in the same round, the median of the rounds. Rows go to benchmarks/results/processes.csv."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from rows import append_row

RESULTS = Path(__file__).parent/'results'/'processes.csv'

IMPORT = "import time, {before}dogbreed_sm.{module}; print(time.process_time())"

STEP = """
import statistics, time
from dogbreed_sm.core import keep_freed_memory
if {keep}: assert keep_freed_memory()
import torch
from dogbreed_sm.resnet import build_resnet
from dogbreed_sm.smallmaps import SmallMapConv
net = build_resnet(6)
if not {small}:
    for m in net.modules():
        if isinstance(m, SmallMapConv): m.__class__ = torch.nn.Conv2d
opt = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
x, y = torch.randn({photos}, 3, {px}, {px}).to(memory_format=torch.channels_last), torch.randint(0, 6, ({photos},))
def step():
    t = time.perf_counter()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    opt.step(); opt.zero_grad()
    return time.perf_counter()-t
step()
print(statistics.median(step() for _ in range(8)))
"""

FORWARD = """
import statistics, time, torch
from dogbreed_sm.fused import InParts, fuse_bn, fuse_relu
from dogbreed_sm.resnet import build_resnet
net = fuse_bn(build_resnet(120, '{arch}').eval().requires_grad_(False))
if {ours}: net = InParts(fuse_relu(net))
x = torch.randn({photos}, 3, 224, 224).to(memory_format=torch.channels_last)
@torch.inference_mode()
def forward():
    t = time.perf_counter()
    net(x)
    return time.perf_counter()-t
forward()
print(statistics.median(forward() for _ in range(5)))
"""

OPTIMIZER = """
import time, torch
from dogbreed_sm.imports import plain_optimizer
t, p = time.process_time(), torch.nn.Parameter(torch.randn(1024, 120))
opt = {how}([p], lr=1e-3, fused=True)
for _ in range(3):
    p.square().sum().backward()
    opt.step(); opt.zero_grad()
print(time.process_time()-t)
"""

SHAPES = """
import time, torch
from dogbreed_sm.resnet import blank_resnet, build_resnet
t = time.process_time()
{how}
print(time.process_time()-t)
"""
FILLED, BLANK = "with torch.device('meta'): build_resnet(120)", 'blank_resnet(120)'
SLEEP, SPIN = {'OMP_WAIT_POLICY': 'PASSIVE'}, {'GOMP_SPINCOUNT': '300000'}  # 300000 is OpenMP's own choice


def step(photos, px=64, keep=True, small=True):
    "Code of a training step, with memory kept and small maps convolved our way, or not"
    return STEP.format(photos=photos, px=px, keep=keep, small=small)


def contests():
    "Name, the plain contestant and ours, each as code that prints seconds and its environment, and how many copies of each run at once"
    yield 'import, training', (IMPORT.format(before='torchvision, ', module='learner'), {}), (IMPORT.format(before='', module='learner'), {}), 1
    yield 'import, serving', (IMPORT.format(before='torchvision, ', module='artifact'), {}), (IMPORT.format(before='', module='artifact'), {}), 1
    yield 'shapes of a network', (SHAPES.format(how=FILLED), {}), (SHAPES.format(how=BLANK), {}), 1
    yield "a head's optimizer", (OPTIMIZER.format(how='torch.optim.AdamW'), {}), (OPTIMIZER.format(how='plain_optimizer(torch.optim.AdamW)'), {}), 1
    for px, n in ((32, 8), (32, 32), (48, 16), (64, 16), (64, 32)):
        yield f'small maps, {n} photos of {px} px', (step(n, px, small=False), {}), (step(n, px), {}), 1
    for arch, n in (('resnet18', 1), ('resnet18', 64), ('resnet50', 16)):
        yield f'prediction, {arch}, {n} photos', (FORWARD.format(arch=arch, photos=n, ours=False), {}), (FORWARD.format(arch=arch, photos=n, ours=True), {}), 1
    for n in (32, 64): yield f'step of {n} photos of 64 px', (step(n, keep=False), {}), (step(n), {}), 1
    for copies in (1, 2):
        yield f'threads that sleep at once, {copies} process(es)', (step(32), SLEEP), (step(32), {}), copies
        yield f'threads that spin, {copies} process(es)', (step(32), SPIN), (step(32), {}), copies


def seconds(code, env, copies=1):
    "Median over the copies that run at once"
    ps = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], env={**os.environ, **env}, stdout=subprocess.PIPE, text=True) for _ in range(copies)]
    return median(float(p.communicate()[0]) for p in ps)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--only', default='', help='contests whose name contains this')
    a = p.parse_args()
    for what, plain, ours, copies in contests():
        if a.only not in what: continue
        pairs = []
        for i in range(a.rounds):
            found = {who: seconds(*who_runs, copies) for who, who_runs in (('plain', plain), ('ours', ours))[::1 if i%2 else -1]}
            pairs.append((found['plain'], found['ours']))
        s, o = zip(*pairs, strict=True)
        ratios = sorted(x/y for x, y in pairs)
        numbers = dict(plain_s=median(s), ours_s=median(o), ratio=median(ratios), lowest=ratios[0], highest=ratios[-1])
        row = dict(what=what, **{k: round(v, 3) for k, v in numbers.items()}, rounds=a.rounds)
        print(row, flush=True)
        append_row(RESULTS, row)


if __name__ == '__main__': main()
