"Accuracy and time of the default recipe on real photos, several seeds"
import csv, os, subprocess, sys, tempfile
from argparse import ArgumentParser
from datetime import date
from json import loads
from pathlib import Path
from time import perf_counter

from dogbreed_sm.core import machine, versions

RESULTS = Path(__file__).parent/'results'/'accuracy.csv'
SHARED = Path(os.environ.get('DOGBREED_SHARED', '../shared'))


def unpacked(folder, dest):
    "A folder of photos from an HDF5 file (key: id, value: JPEG bytes) and its metadata.csv"
    import h5py
    import pandas as pd
    with h5py.File(next(folder.glob('*.h*5'))) as f:
        for r in pd.read_csv(folder/'metadata.csv').itertuples():
            photo = dest/r.split/r.breed/f'{r.image_id}.jpg'
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.write_bytes(bytes(f[r.image_id][()]))
    return dest


def run(data, weights, seed, out, extra):
    "One whole training process; its record, and the seconds it took"
    t = perf_counter()
    subprocess.run([sys.executable, '-m', 'dogbreed_sm.train', '--data', str(data), '--weights', str(weights), '--seed', str(seed), '--out', str(out), *extra],
                   check=True, stdout=sys.stderr)
    return loads((out/'data'/'run.json').read_text()), perf_counter()-t


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--data', default=str(SHARED/'data'/'dogs10'), help='folder of splits, or one with an HDF5 file and metadata.csv (default: %(default)s)')
    p.add_argument('--weights', default=str(SHARED/'weights'/'resnet18_dogs110.pth'), help='state_dict file (default: %(default)s)')
    p.add_argument('--seeds', default='1,2,3', help='(default: %(default)s)')
    a, extra = p.parse_known_args()
    if not Path(a.data).is_dir(): sys.exit(f'{a.data}: no such folder; give --data')
    with tempfile.TemporaryDirectory() as tmp:
        os.environ['DOGBREED_CACHE'] = f'{tmp}/cache'
        data = Path(a.data) if (Path(a.data)/'train').is_dir() else unpacked(Path(a.data), Path(tmp)/'photos')
        for seed in map(int, a.seeds.split(',')):
            r, seconds = run(data, a.weights, seed, Path(tmp)/f'run{seed}', extra)
            m = r['metrics']
            row = dict(date=date.today().isoformat(), data=Path(a.data).name, weights=Path(a.weights).name, settings=' '.join(extra), seed=seed,
                       valid_accuracy=round(m['valid:accuracy'], 4), test_accuracy=round(m['test:accuracy'], 4), test_top5=round(m['test:top5'], 4),
                       test_macro_f1=round(m['test:macro_f1'], 4), best_epoch=r['best_epoch'], blended=r['blended'], wall_s=round(seconds, 1),
                       train_s=r['seconds']['train'], torch=versions()['torch'], fastai=versions()['fastai'], cpu=machine()['cpu'], cores=machine()['cores'])
            new = not RESULTS.exists()
            with open(RESULTS, 'a', newline='') as f:
                w = csv.DictWriter(f, row)
                if new: w.writeheader()
                w.writerow(row)
            print({k: row[k] for k in ('data', 'weights', 'seed', 'valid_accuracy', 'test_accuracy', 'blended', 'wall_s')}, flush=True)


if __name__ == '__main__': main()
