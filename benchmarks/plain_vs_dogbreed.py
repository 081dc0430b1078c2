"""The plain torchvision script, fastai alone and a bare prediction loop against dogbreed_sm: the same files, the same threads, one run

    python benchmarks/plain_vs_dogbreed.py              # frozen epochs (a), one unfrozen epoch (b), endpoint latency (d)
    python benchmarks/plain_vs_dogbreed.py --whole      # also (c): the default recipe against fastai's fine_tune(3)
    python benchmarks/plain_vs_dogbreed.py --only b --rounds 5

A row per comparison is printed and appended to benchmarks/results/plain_vs_dogbreed.csv; README.md beside this file says what the columns mean.
Contestants take turns within each round, since other jobs on the machine slow down whatever is measured at that moment: a ratio is of one round, and the
median over the rounds counts. All of it runs on the CPU."""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

# Nothing here imports PyTorch or dogbreed_sm: each side is a process of this file and pays for its own imports only

SHARED = Path(os.environ.get('DOGBREED_SHARED') or Path(__file__).resolve().parents[2]/'shared')
RESULTS = Path(__file__).parent/'results'/'plain_vs_dogbreed.csv'
SPLITS = 'train', 'valid', 'test'
EQUAL = '--train-size', 224, '--hidden-units', 'none'  # the plain script's crops and head


# The plain script

def plain_loaders(data):
    from torch.utils.data import DataLoader
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder
    ready = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    tfms = dict.fromkeys(SPLITS, T.Compose([T.Resize(256), T.CenterCrop(224), *ready]))
    tfms['train'] = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *ready])
    return {s: DataLoader(ImageFolder(data/s, tfms[s]), batch_size=64, shuffle=s == 'train', num_workers=2) for s in SPLITS}


def trunk(weights):
    "torchvision's ResNet18 with pretrained weights; the file's fc may be of any size and is never used"
    import torch
    from torchvision.models import resnet18
    net = resnet18()
    net.load_state_dict({k: v for k, v in torch.load(weights, weights_only=True).items() if not k.startswith('fc.')}, strict=False)
    return net


def plain_network(weights, classes, frozen):
    from torch import nn
    net = trunk(weights)
    for p in net.parameters(): p.requires_grad = not frozen
    net.fc = nn.Linear(net.fc.in_features, classes)
    return net


def plain_pass(net, loader, optimizer):
    "Train on every photo once"
    from torch.nn.functional import cross_entropy
    net.train()
    for x, y in loader:
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()


def plain_accuracy(net, loader):
    import torch
    net.eval()
    with torch.no_grad(): return sum((net(x).argmax(1) == y).sum().item() for x, y in loader)/len(loader.dataset)


def plain(args, frozen=True):
    "Train as most scripts do; what it measured of itself"
    import torch
    import torchvision.datasets  # noqa: F401  imported here so that `train_s` leaves imports out, as ours does
    torch.manual_seed(args.seed)
    start, pass_s = time.perf_counter(), 0
    loaders = plain_loaders(args.data)
    net = plain_network(args.weights, len(loaders['train'].dataset.classes), frozen)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3 if frozen else 1e-4)
    for _ in range(args.frozen_epochs if frozen else 1):
        t = time.perf_counter()
        plain_pass(net, loaders['train'], optimizer)
        pass_s += time.perf_counter()-t
        valid = plain_accuracy(net, loaders['valid'])
    train_s = time.perf_counter()-start
    with tempfile.TemporaryFile() as f: torch.save(net.state_dict(), f)
    return dict(train_s=train_s, pass_s=pass_s, valid=valid, test=plain_accuracy(net, loaders['test']))


# fastai alone

def fastai_alone(args):
    "Fine-tune as fastai's documentation does, with pretrained weights from a file"
    from fastai.vision.all import (ImageDataLoaders, Normalize, Resize, accuracy, aug_transforms, create_body, get_image_files, imagenet_stats, resnet18,
                                   set_seed, vision_learner)
    set_seed(args.seed)
    tfms = [*aug_transforms(size=224), Normalize.from_stats(*imagenet_stats)]
    dls = ImageDataLoaders.from_folder(args.data, item_tfms=Resize(256), batch_tfms=tfms, bs=64, num_workers=2)
    learn = vision_learner(dls, resnet18, pretrained=False, metrics=accuracy)
    learn.model[0].load_state_dict(create_body(trunk(args.weights), pretrained=False, cut=-2).state_dict())
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(3)
        test = dls.test_dl(get_image_files(args.data/'test'), with_labels=True)
        return dict(valid=learn.validate()[1], test=learn.validate(dl=test)[1])


SIDES = {'plain': plain, 'plain-unfrozen': partial(plain, frozen=False), 'fastai': fastai_alone}


# Both sides as processes

def process(*command, cache=''):
    "Seconds of a Python process from start to end, and what it printed"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], env={**os.environ, 'DOGBREED_CACHE': str(cache)}, capture_output=True, text=True)
    if done.returncode: sys.exit(f"{' '.join(map(str, command))}\nended with exit code {done.returncode}: {done.stderr[-3000:]}")
    return time.perf_counter()-start, done.stdout


def theirs(args, side, r):
    "One round of a side that is written above"
    wall_s, out = process(__file__, '--alone', side, '--data', args.data, '--weights', args.weights, '--frozen-epochs', args.frozen_epochs,
                          '--seed', args.seed+r)
    return dict(wall_s=wall_s, **json.loads(out.splitlines()[-1]))


def ours(args, options, r, cache=None):
    "One round of dogbreed_sm; without `cache` it decodes the photos first"
    with tempfile.TemporaryDirectory() as tmp:
        wall_s, _ = process('-m', 'dogbreed_sm.train', '--data', args.data, '--weights', args.weights, '--out', tmp, '--seed', args.seed+r, *options,
                            cache=cache or Path(tmp)/'cache')
        run = json.loads((Path(tmp)/'data/run.json').read_text())
        with open(Path(tmp)/'data/history.csv') as f: rates = [float(e['images_per_second']) for e in csv.DictReader(f)]
    # our loader drops the last incomplete batch: seconds for as many photos as the plain script takes
    return dict(wall_s=wall_s, train_s=run['seconds']['train'], pass_s=sum(run['photos']['train']/o for o in rates),
                valid=run['metrics']['valid:accuracy'], test=run['metrics']['test:accuracy'])


def take_turns(contestants, rounds):
    "Each contestant's results, one a round"
    results = {name: [] for name in contestants}
    for r in range(rounds):
        for name, run in contestants.items():
            results[name].append(run(r))
            print(f'  round {r+1}, {name}:', ', '.join(f'{k} {v:.4g}' for k, v in results[name][-1].items()), flush=True)
    return results


# Results

def facts(args):
    "What every row says about this run"
    from dogbreed_sm.core import machine, versions
    here, v = machine(), versions('dogbreed_sm', 'torch', 'torchvision', 'fastai')
    return dict(rounds=args.rounds, photos=sum(len(list(args.data.glob(f'{s}/*/*'))) for s in SPLITS), threads=int(os.environ['OMP_NUM_THREADS']),
                cpu=here['cpu'], cores=here['cores'], load_before=round(os.getloadavg()[0], 2), **v)


def mid(runs, key, digits=4): return round(median(o[key] for o in runs), digits) if key in runs[0] else ''


def record(about, what, plain_runs, our_runs, key, target='', notes=''):
    "Compare two contestants, print the row and append it"
    slower = target.startswith('<=')  # such a target is an upper limit on what ours takes
    ratio = median(o[key]/p[key] if slower else p[key]/o[key] for p, o in zip(plain_runs, our_runs, strict=True))
    row = dict(date=datetime.now(UTC).isoformat(timespec='seconds'), what=what, plain_s=mid(plain_runs, key), ours_s=mid(our_runs, key),
               ratio=round(ratio, 3), ratio_of='ours/plain' if slower else 'plain/ours', target=target,
               plain_valid_accuracy=mid(plain_runs, 'valid'), ours_valid_accuracy=mid(our_runs, 'valid'),
               plain_test_accuracy=mid(plain_runs, 'test'), ours_test_accuracy=mid(our_runs, 'test'), **about, notes=notes)
    RESULTS.parent.mkdir(exist_ok=True)
    new = not RESULTS.exists()
    with open(RESULTS, 'a', newline='') as f:
        w = csv.DictWriter(f, row, lineterminator='\n')
        if new: w.writeheader()
        w.writerow(row)
    print(', '.join(f'{k} {v}' for k, v in row.items() if v != '' and k not in about), flush=True)


def passes(results, name):
    plain_s, ours_s = (mid(results[o], 'pass_s', 2) for o in ('plain', name))
    return f'training passes alone, for the same number of photos: plain {plain_s} s, ours {ours_s} s'


# The four parts

def frozen(args, about):
    n = args.frozen_epochs
    base = '--freeze-epochs', n, '--epochs', 0
    results = take_turns({'plain': partial(theirs, args, 'plain'), 'ours': partial(ours, args, base),
                          'ours, 224 px': partial(ours, args, (*base, *EQUAL)),
                          'ours, features': partial(ours, args, (*base, '--features', 'frozen'))}, args.rounds)
    for name, target, how in (('ours', '>= 6', 'default settings'), ('ours, 224 px', '', "the plain script's 224 px crops and linear head"),
                              ('ours, features', '>= 6', 'features of two augmented views, computed once')):
        record(about, f'{n} frozen epochs, whole process, {how}', results['plain'], results[name], 'wall_s', target,
               f'photo cache cold, files in memory; {passes(results, name)}')


def unfrozen(args, about):
    base = '--freeze-epochs', 0, '--epochs', 1, '--unfreeze', 'all'
    with tempfile.TemporaryDirectory() as cache:
        # 256 px is the short side that belongs to the default image_size
        process('-c', 'import sys; from dogbreed_sm.cache import decode_once; decode_once(sys.argv[1], 256)', args.data, cache=cache)
        results = take_turns({'plain': partial(theirs, args, 'plain-unfrozen'), 'ours': partial(ours, args, base, cache=cache),
                              'ours, 224 px': partial(ours, args, (*base, *EQUAL), cache=cache)}, args.rounds)
    for name, target, how in (('ours', '>= 2.4', 'default settings'), ('ours, 224 px', '', "the plain script's 224 px crops and linear head")):
        record(about, f'1 unfrozen epoch, training and validation, {how}', results['plain'], results[name], 'train_s', target,
               f'photo cache warm; {passes(results, name)}')


def whole(args, about):
    results = take_turns({'fastai': partial(theirs, args, 'fastai'), 'ours': partial(ours, args, ())}, args.rounds)
    record(about, 'default recipe, whole process, plain = fastai fine_tune(3)', results['fastai'], results['ours'], 'wall_s', '>= 3',
           'photo cache cold, files in memory; at least as accurate is asked too')


def latency(args, about):
    "One client's p50 against a bare loop with the threads and precision of the server's default settings"
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')  # as the server has it; OpenMP reads it when PyTorch is loaded
    import torch
    from endpoint import load, loop, request
    from dogbreed_sm.artifact import load_model, save_artifact
    from dogbreed_sm.images import eval_image
    from dogbreed_sm.inference import forward
    from dogbreed_sm.resnet import build_resnet, pretrained
    from dogbreed_sm.serve import Settings, serving
    settings, photos = Settings(), [f.read_bytes() for f in sorted(args.data.glob('test/*/*'))]
    requests = [request(o) for o in photos]

    def ask(r):
        took, _, statuses = load(url, requests, 1, args.seconds)
        if set(statuses) != {200}: sys.exit(f'the server answered with {dict(statuses)}')
        return dict(p50=median(took))

    def bare(r): return dict(p50=median(loop(lambda o: forward(model, [eval_image(o, model.image_size)]), photos, args.seconds)))

    with tempfile.TemporaryDirectory() as tmp:
        names = [d.name for d in sorted((args.data/'train').iterdir())]
        artifact = save_artifact(pretrained(build_resnet(len(names)), 'resnet18', args.weights), Path(tmp)/'model', names)
        model = load_model(artifact, precision=settings.precision)
        torch.set_num_threads(settings.threads)
        with serving(artifact, settings) as url:
            take_turns({'bare loop, to warm up': bare, 'server, to warm up': ask}, 1)
            results = take_turns({'bare loop': bare, 'server': ask}, args.rounds)
    record(about | dict(threads=settings.threads), 'endpoint, 1 client, p50, plain = decode + forward in a loop', results['bare loop'], results['server'],
           'p50', '<= 1.15', f"{model.precision}; GOMP_SPINCOUNT {os.environ['GOMP_SPINCOUNT']}; {args.seconds:g} s a turn; {len(photos)} photos")


PARTS = {'a': frozen, 'b': unfrozen, 'c': whole, 'd': latency}


# The command

@contextmanager
def some_photos(data, n):
    "The data set, or a folder of links to the first photos of each class, about `n` in all"
    if not n: yield data; return
    files = [sorted(d.iterdir()) for s in SPLITS for d in sorted((data/s).iterdir())]
    share = n/sum(map(len, files))
    with tempfile.TemporaryDirectory() as tmp:
        for f in (f for fs in files for f in fs[:max(1, round(share*len(fs)))]):
            link = Path(tmp)/f.relative_to(data)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f)
        yield Path(tmp)


def warm_disk(data):
    "Have photos and libraries in memory, or the first contestant would read them from the disk for all"
    for f in data.glob('*/*/*'): f.read_bytes()
    process('-c', 'import torchvision, fastai.vision.all, dogbreed_sm.finetune')


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=SHARED/'data/dogs10', help='folder with train, valid and test (default: %(default)s)')
    p.add_argument('--weights', type=Path, default=SHARED/'weights/resnet18_dogs110.pth', help="state_dict of torchvision's resnet18 (default: %(default)s)")
    p.add_argument('--frozen-epochs', type=int, default=5, help='of part a (default: %(default)s)')
    p.add_argument('--rounds', type=int, default=3, help='turns of each contestant (default: %(default)s)')
    p.add_argument('--seconds', type=float, default=4, help='length of a turn in part d (default: %(default)g)')
    p.add_argument('--only', help='parts to measure, as a,b,c,d (default: a,b,d)')
    p.add_argument('--whole', action='store_true', help='measure part c too')
    p.add_argument('--photos', type=int, default=0, help='use about this many photos, to try the script out; 0: all')
    p.add_argument('--seed', type=int, default=42, help='of the first round; the next ones count on (default: %(default)s)')
    p.add_argument('--alone', choices=SIDES, help='run this side by itself and print what it measured, as JSON')
    return p


def main():
    p = parser()
    args = p.parse_args()
    missing = [str(o) for o in (*(args.data/s for s in SPLITS), args.weights) if not o.exists()]
    if missing:
        print(f'nothing to measure with: {missing[0]} is missing; give --data and --weights, or set DOGBREED_SHARED', file=sys.stderr)
        return 2
    wanted = set(args.only.split(',')) if args.only else set('abcd' if args.whole else 'abd')
    if unknown := wanted-set(PARTS): p.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    args.data, args.weights = args.data.resolve(), args.weights.resolve()
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    os.environ.setdefault('OMP_NUM_THREADS', str(len(os.sched_getaffinity(0))))  # PyTorch's threads, for both sides
    if args.alone: return print(json.dumps(SIDES[args.alone](args)))
    with some_photos(args.data, args.photos) as args.data:
        about = facts(args)
        warm_disk(args.data)
        for o in (o for o in PARTS if o in wanted):  # d comes last: what it sets for OpenMP is not for the others
            print(f'{o}: {PARTS[o].__name__}', flush=True)
            PARTS[o](args, about)


if __name__ == '__main__': sys.exit(main())
