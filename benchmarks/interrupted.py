"Kill training with SIGKILL at random moments, resume each time, and compare the final metrics with an uninterrupted run"
import csv, json, os, random, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from datetime import date
from pathlib import Path

from dogbreed_sm.core import machine, versions
from dogbreed_sm.draw import sample_dogs

RESULTS = Path(__file__).parent/'results'/'interrupted.csv'


def command(dogs, out, args):
    "The training command; every epoch is short, so that kills fall everywhere"
    return [sys.executable, '-m', 'dogbreed_sm.train', '--data', str(dogs), '--out', str(out), '--weights', 'none', '--image-size', '64',
            '--batch-size', '32', '--freeze-epochs', '0', '--epochs', str(args.epochs), '--lr', '3e-3', '--seed', str(args.seed)]


def run_to_end(cmd):
    "Seconds of a run that nobody disturbs"
    t = time.perf_counter()
    subprocess.run(cmd, check=True, capture_output=True)
    return time.perf_counter()-t


def killed_after(cmd, seconds):
    "Start a run and kill it; `False`: it was done before"
    p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try: p.wait(seconds)
    except subprocess.TimeoutExpired: pass
    alive = p.poll() is None
    p.kill()
    p.wait()
    return alive


def final(out):
    "What the run measured at the end"
    return json.loads((out/'data'/'run.json').read_text())['metrics']


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--kills', type=int, default=10)
    p.add_argument('--epochs', type=int, default=6)
    p.add_argument('--seed', type=int, default=42)
    args = p.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        os.environ['DOGBREED_CACHE'] = str(tmp/'cache')
        dogs = sample_dogs(tmp/'dogs', breeds=4, per_breed=60)
        whole = run_to_end(command(dogs, tmp/'whole', args))
        kills = tries = 0
        while kills < args.kills:
            # moments from the start of the program to just before the end of an uninterrupted run
            alive = killed_after(command(dogs, tmp/'killed', args), rng.uniform(.05, .95)*whole)
            tries, kills = tries+1, kills+alive
            left = tmp/'killed'/'checkpoints'/'checkpoint.pt'
            print(f"kill {kills}: {'a checkpoint is there' if left.exists() else 'no checkpoint'}", flush=True)
        run_to_end(command(dogs, tmp/'killed', args))
        a, b = final(tmp/'whole'), final(tmp/'killed')
    worst = max(abs(a[k]-b[k]) for k in a)
    row = dict(date=date.today().isoformat(), kills=kills, epochs=args.epochs, largest_difference=worst, test_accuracy=a['test:accuracy'],
               whole_run_s=round(whole, 1), torch=versions()['torch'], cpu=machine()['cpu'], cores=machine()['cores'])
    new = not RESULTS.exists()
    with open(RESULTS, 'a', newline='') as f:
        w = csv.DictWriter(f, row)
        if new: w.writeheader()
        w.writerow(row)
    print(f'{kills} kills in {tries+1} starts; largest difference of any final metric {worst:g}')
    return int(worst > 1e-6)


if __name__ == '__main__': sys.exit(main())
