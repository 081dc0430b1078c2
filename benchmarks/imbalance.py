"""What weighted sampling, class weights and focal loss are worth where one photo in a hundred is of a class

The same network trains on drawn lesions in each way, several times: a seed draws the set and fixes the training. All are judged by one larger set
of other patients, because a test split of a set has too few malignant ones to tell ways apart.
"""
import os, sys, tempfile
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter

from rows import append_row

import numpy as np
import torch

from dogbreed_sm.artifact import load_model
from dogbreed_sm.core import job_env, parse_hyperparameters
from dogbreed_sm.data import find_photos
from dogbreed_sm.images import eval_image
from dogbreed_sm.lesions import sample_lesions
from dogbreed_sm.photofiles import read_bytes
from dogbreed_sm.scores import rankings
from dogbreed_sm.train import train

RESULTS = Path(__file__).parent/'results'/'imbalance.csv'
SHARED = Path(os.environ.get('DOGBREED_SHARED', '../shared'))
WAYS = {
    'as it is': {},
    'class weights': dict(class_weights='balanced'),
    'weighted sampling': dict(sampling='weighted'),
    'focal loss': dict(loss='focal'),
    'focal loss, weighted sampling': dict(loss='focal', sampling='weighted'),
}


def run(data, weights, seed, settings, out):
    "One training; its record, and the seconds it took"
    t = perf_counter()
    quiet = dict(report='off', debugger='off', profiler='off')
    hps = parse_hyperparameters(dict(seed=seed, hidden_units='none', label_smoothing=0, min_scale=.5, **quiet, **settings))
    record = train(hps, data, job_env({}, out=out), weights, lambda s: None)
    return record, perf_counter()-t


def judge(artifact, photos):
    "The scores of a packed model on all photos of a set"
    model, t = load_model(artifact, precision='fp32'), photos.table
    def belief(files):
        logits = model.logits(torch.stack([torch.from_numpy(eval_image(read_bytes(f), model.image_size)) for f in files]).permute(0, 3, 1, 2))
        return logits[:, 1]-logits[:, 0]
    p = torch.cat([belief(t.file[i:i+64]) for i in range(0, len(t), 64)])
    y = np.array(t.folder == '1')
    return rankings(y, p.numpy()) | dict(said_malignant=int((p > 0).sum()), found=int(((p > 0).numpy() & y).sum()), malignant=int(y.sum()))


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--seeds', default='1,2,3', help='each draws a set of its own and fixes the training (default: %(default)s)')
    p.add_argument('--n', type=int, default=3000, help='lesions in a set (default: %(default)s)')
    p.add_argument('--judged-by', type=int, default=5000, help='lesions in the set that judges (default: %(default)s)')
    p.add_argument('--positives', type=float, default=.01, help='share of malignant ones (default: %(default)s)')
    p.add_argument('--size', type=int, default=40, help='side of the photos and of what the network sees, px (default: %(default)s)')
    p.add_argument('--epochs', type=int, default=3, help='(default: %(default)s)')
    p.add_argument('--batch-size', type=int, default=32, help='(default: %(default)s)')
    p.add_argument('--lr', type=float, default=1e-3, help='(default: %(default)s)')
    p.add_argument('--unfreeze', default='layer3', help='first stage that trains, or all (default: %(default)s)')
    p.add_argument('--weights', default=str(SHARED/'weights'/'resnet18_imagenet_trunk.pth'),
                   help='state_dict file of a ResNet18, or none; that needs more epochs (default: %(default)s)')
    p.add_argument('--ways', default='0,2,4', help='numbers from '+', '.join(f'{i}: {k}' for i,k in enumerate(WAYS))+' (default: %(default)s)')
    p.add_argument('--out', default=str(RESULTS), help='CSV that rows are added to (default: %(default)s)')
    a = p.parse_args()
    if a.weights != 'none' and not Path(a.weights).is_file(): sys.exit(f'{a.weights}: no such file; give --weights')
    settings = dict(arch='resnet18', image_size=a.size, train_size=a.size, batch_size=a.batch_size, freeze_epochs=0, epochs=a.epochs, lr=a.lr,
                    unfreeze=a.unfreeze, blend=0)
    with tempfile.TemporaryDirectory() as tmp:
        os.environ['DOGBREED_CACHE'] = f'{tmp}/cache'
        other = find_photos(sample_lesions(f'{tmp}/other', n=a.judged_by, positives=a.positives, size=a.size, seed=0))
        for seed in map(int, a.seeds.split(',')):
            data = sample_lesions(f'{tmp}/set{seed}', n=a.n, positives=a.positives, size=a.size, seed=seed)
            for way in [list(WAYS)[int(i)] for i in a.ways.split(',')]:
                r, seconds = run(data, a.weights, seed, settings|WAYS[way], f'{tmp}/run')
                scores = judge(f'{tmp}/run/model', other)
                row = dict(way=way, seed=seed, lesions=a.n, positives=a.positives, judged_by=a.judged_by, size=a.size, weights=Path(a.weights).name,
                           unfreeze=a.unfreeze, epochs=a.epochs, batch_size=a.batch_size, lr=a.lr, best_epoch=r['best_epoch'],
                           **{k: round(v, 4) for k, v in scores.items()},
                           valid_average_precision=round(r['metrics']['valid:average_precision'], 4), wall_s=round(seconds, 1))
                append_row(Path(a.out), row)
                print({k: row[k] for k in ('way', 'seed', 'best_epoch', *scores, 'wall_s')}, file=sys.stderr, flush=True)


if __name__ == '__main__': main()
