"""How often the debugger's rules cry wolf, and what they miss, on runs that nobody looked at while the thresholds were set

The runs are those of nbs/tutorials/planted_faults.ipynb with other photos, other patterns and other random starts. A row a round and rule goes to
results/false_alarms.csv.

    python benchmarks/false_alarms.py --rounds 5
"""
import sys
from argparse import ArgumentParser
from pathlib import Path

from rows import append_row

from dogbreed_sm.ruleset import BUILT_IN
from fastcore.nbio import read_nb

HERE = Path(__file__).parent
PAGE = HERE.parent/'nbs'/'tutorials'/'planted_faults.ipynb'


def moved(by, photos, seed_everything):
    "The functions that take seeds, with all of them moved"
    return dict(photos=lambda n, seed, patterns=0, **kw: photos(n, seed+by, patterns=patterns+by, **kw), seed_everything=lambda seed: seed_everything(seed+by))


def shifted(by):
    "The page's names, as its cells define them, with every seed moved"
    names = {}
    for c in read_nb(PAGE).cells:
        if c.cell_type != 'code' or '#| slow' in c.source: continue
        exec(compile(c.source, str(PAGE), 'exec'), names)
        if 'def photos(' in c.source: names |= moved(by, **{k: names[k] for k in ('photos', 'seed_everything')})
    return names


def verdicts(names):
    "Name of each run, the rule meant for it (`None`: it is healthy), and its verdicts"
    runs = {n: (rule, kw) for n,(rule, kw) in names['faults'].items()} | {n: (None, kw) for n,kw in names['healthy'].items()}
    return {n: (rule, names['judged'](n, kw)) for n,(rule, kw) in runs.items()}


def main():
    p = ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--rounds', type=int, default=5, help='times 27 faults and 20 healthy runs (default: %(default)s)')
    p.add_argument('--first', type=int, default=1, help='number of the first round, which moves its seeds (default: %(default)s)')
    a = p.parse_args()
    for r in range(a.first, a.first+a.rounds):
        found = verdicts(shifted(10_000*r))
        for rule in BUILT_IN:
            row = dict(round=r, rule=rule)
            for preset in ('local', 'sagemaker'):
                fired = {n: d[preset][rule].status == 'IssuesFound' for n,(_, d) in found.items()}
                meant = [n for n,(m, _) in found.items() if m == rule]
                healthy = [n for n,(m, _) in found.items() if m is None]
                row |= {f'{preset}_caught': sum(fired[n] for n in meant), f'{preset}_alarms': sum(fired[n] for n in healthy)}
                if preset == 'local': row |= dict(faults=len(meant), healthy=len(healthy), missed='; '.join(n for n in meant if not fired[n]),
                                                  alarmed='; '.join(n for n in healthy if fired[n]))
            append_row(HERE/'results'/'false_alarms.csv', row)
            if row['missed'] or row['alarmed']: print(r, rule, 'missed:', row['missed'], 'alarms:', row['alarmed'], flush=True)
    return 0


if __name__ == '__main__': sys.exit(main())
