"What weighted sampling, class weights and focal loss are worth where one photo in a hundred is of a class: the same network, a drawn set, several seeds"
import os, sys, tempfile
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter

from rows import append_row

from dogbreed_sm.core import job_env, parse_hyperparameters
from dogbreed_sm.lesions import sample_lesions
from dogbreed_sm.train import train

RESULTS = Path(__file__).parent/'results'/'imbalance.csv'
WAYS = {
    'as it is': {},
    'class weights': dict(class_weights='balanced'),
    'weighted sampling': dict(sampling='weighted'),
    'focal loss': dict(loss='focal'),
    'focal loss, weighted sampling': dict(loss='focal', sampling='weighted'),
}


def run(data, seed, settings, out):
    "One training from random weights; its record, and the seconds it took"
    t = perf_counter()
    hps = parse_hyperparameters(dict(seed=seed, report='off', debugger='off', profiler='off', features='none', hidden_units='none', label_smoothing=0, min_scale=.5, **settings))
    record = train(hps, data, job_env({}, out=out), 'none', lambda s: None)
    return record, perf_counter()-t


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--seeds', default='1,2,3', help='each draws a set of its own and fixes the training (default: %(default)s)')
    p.add_argument('--n', type=int, default=6000, help='lesions in a set (default: %(default)s)')
    p.add_argument('--positives', type=float, default=.01, help='share of malignant ones (default: %(default)s)')
    p.add_argument('--size', type=int, default=48, help='side of the photos and of what the network sees, px (default: %(default)s)')
    p.add_argument('--epochs', type=int, default=10, help='(default: %(default)s)')
    p.add_argument('--batch-size', type=int, default=32, help='(default: %(default)s)')
    p.add_argument('--lr', type=float, default=1e-3, help='(default: %(default)s)')
    p.add_argument('--ways', default=','.join(str(i) for i in range(len(WAYS))), help='numbers from '+', '.join(f'{i}: {k}' for i,k in enumerate(WAYS))+' (default: all)')
    p.add_argument('--out', default=str(RESULTS), help='CSV that rows are added to (default: %(default)s)')
    a = p.parse_args()
    settings = dict(arch='resnet18', image_size=a.size, train_size=a.size, batch_size=a.batch_size, freeze_epochs=0, epochs=a.epochs, lr=a.lr)
    with tempfile.TemporaryDirectory() as tmp:
        os.environ['DOGBREED_CACHE'] = f'{tmp}/cache'
        for seed in map(int, a.seeds.split(',')):
            data = sample_lesions(f'{tmp}/set{seed}', n=a.n, positives=a.positives, size=a.size, seed=seed)
            for way in [list(WAYS)[int(i)] for i in a.ways.split(',')]:
                r, seconds = run(data, seed, settings|WAYS[way], f'{tmp}/run')
                m = r['metrics']
                row = dict(way=way, seed=seed, lesions=a.n, positives=a.positives, size=a.size, epochs=a.epochs, best_epoch=r['best_epoch'],
                           **{k: round(m[f'test:{k}'], 4) for k in ('average_precision', 'auroc', 'partial_auroc', 'accuracy', 'balanced_accuracy')},
                           valid_average_precision=round(m['valid:average_precision'], 4), wall_s=round(seconds, 1))
                append_row(Path(a.out), row)
                print({k: row[k] for k in ('way', 'seed', 'best_epoch', 'average_precision', 'valid_average_precision', 'auroc', 'partial_auroc', 'wall_s')}, file=sys.stderr, flush=True)


if __name__ == '__main__': main()
