"""What a process costs before it trains or serves, and what memory that is kept saves in a step

    python benchmarks/processes.py --rounds 5

Each contestant is a process of its own; they take turns, and the order changes from round to round. `import` rows count the processor seconds until training
(`dogbreed_sm.learner`) or serving (`dogbreed_sm.artifact`) is imported, after a plain `import torchvision`, which brings PyTorch's compiler along, or without
it, as the package imports torchvision. `step` rows count the seconds of a training step of a ResNet18 with memory as the C library handles it, or after
`keep_freed_memory`. `ratio` is plain over ours in the same round, the median of the rounds. Rows go to benchmarks/results/processes.csv."""

import argparse
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
net = build_resnet(6).to(memory_format=torch.channels_last)
opt = torch.optim.AdamW(net.parameters(), 1e-3)
x, y = torch.randn({photos}, 3, 64, 64).to(memory_format=torch.channels_last), torch.randint(0, 6, ({photos},))
def step():
    t = time.perf_counter()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    opt.step(); opt.zero_grad()
    return time.perf_counter()-t
step()
print(statistics.median(step() for _ in range(8)))
"""


def contests():
    "Name to the code of the plain contestant and of ours; each prints its seconds"
    yield 'import, training', IMPORT.format(before='torchvision, ', module='learner'), IMPORT.format(before='', module='learner')
    yield 'import, serving', IMPORT.format(before='torchvision, ', module='artifact'), IMPORT.format(before='', module='artifact')
    for n in (32, 64): yield f'step of {n} photos of 64 px', STEP.format(keep=False, photos=n), STEP.format(keep=True, photos=n)


def seconds(code):
    return float(subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    a = p.parse_args()
    for what, plain, ours in contests():
        pairs = []
        for i in range(a.rounds):
            order = (plain, ours) if i%2 else (ours, plain)
            found = {code: seconds(code) for code in order}
            pairs.append((found[plain], found[ours]))
        s, o = zip(*pairs, strict=True)
        ratios = sorted(x/y for x, y in pairs)
        numbers = dict(plain_s=median(s), ours_s=median(o), ratio=median(ratios), lowest=ratios[0], highest=ratios[-1])
        row = dict(what=what, **{k: round(v, 3) for k, v in numbers.items()}, rounds=a.rounds)
        print(row, flush=True)
        append_row(RESULTS, row)


if __name__ == '__main__': main()
