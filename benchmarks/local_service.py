"""What the local SageMaker costs: 200 queued toy jobs, a warm start against a cold process, Describe with 1,000 jobs recorded

    python benchmarks/local_service.py [--jobs 200] [--records 1000] [--rounds 5]

The warm start is the time from CreateTrainingJob until the script has imported torch and fastai, as a training does; the cold one is the same script
in a process of its own, and `python -m dogbreed_sm.train` until it has imported what it needs. They take turns."""
import csv, json, statistics, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from datetime import date
from pathlib import Path

import boto3
from dogbreed_sm.core import machine, versions
from dogbreed_sm.local import find_or_start

RESULTS = Path(__file__).parent/'results'/'local_service.csv'
ROLE, IMAGE = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local'
TOY = 'import os, sys\nprint("n=" + sys.argv[-1] + ";", flush=True)\nopen(os.environ["SM_MODEL_DIR"]+"/done", "w").write(sys.argv[-1])\n'
IMPORTS = 'import time\nimport torch, fastai.vision.all\nprint("ready", time.time(), flush=True)\n'


def request(name, source, out, **hyperparameters):
    hps = {'sagemaker_program': 'train.py', 'sagemaker_submit_directory': f'file://{source}', **hyperparameters}
    return dict(TrainingJobName=name, RoleArn=ROLE, HyperParameters={k: json.dumps(v) for k, v in hps.items()}, StoppingCondition={'MaxRuntimeInSeconds': 600},
        AlgorithmSpecification={'TrainingImage': IMAGE, 'TrainingInputMode': 'File', 'MetricDefinitions': [{'Name': 'n', 'Regex': 'n=([0-9]+);'}]},
        OutputDataConfig={'S3OutputPath': f'file://{out}'}, ResourceConfig={'InstanceType': 'ml.m5.large', 'InstanceCount': 1, 'VolumeSizeInGB': 1})


def script(folder, text):
    folder.mkdir()
    (folder/'train.py').write_text(text)
    return folder


def final(sm, name, pause=.05):
    while (d := sm.describe_training_job(TrainingJobName=name))['TrainingJobStatus'] not in ('Completed', 'Failed', 'Stopped'): time.sleep(pause)
    return d


def queue(sm, work, n):
    "Create `n` jobs at once; seconds until all are final, and how many completed with the right metric"
    source, t = script(work/'toy', TOY), time.time()
    for i in range(n): sm.create_training_job(**request(f'toy-{i:04}', source, work/'out', n=i))
    created = time.time()-t
    done = [final(sm, f'toy-{i:04}', .2) for i in range(n)]
    right = sum(d['TrainingJobStatus'] == 'Completed' and int(d['FinalMetricDataList'][0]['Value']) == i for i, d in enumerate(done))
    return dict(jobs=n, create_s=round(created, 1), queue_s=round(time.time()-t, 1), right=right)


def warm(sm, work, source, k):
    "Seconds from the request to the script's line after its imports, by the service"
    t = time.time()
    d = sm.create_training_job(**request(f'warm-{k}', source, work/'out')) and final(sm, f'warm-{k}')
    assert d['TrainingJobStatus'] == 'Completed', d
    log = next(o for o in (work/'root'/'jobs'/'training-job'/f'warm-{k}').rglob('log') if 'ready' in o.read_text()).read_text()
    return float(log.split('ready ')[1].split()[0])-t


def cold(source):
    "The same in a process of its own"
    t = time.time()
    out = subprocess.run([sys.executable, source/'train.py'], capture_output=True, text=True, check=True).stdout
    return float(out.split('ready ')[1].split()[0])-t


def cold_train():
    "Seconds until `python -m dogbreed_sm.train` has imported what it needs and read its arguments"
    t = time.time()
    r = subprocess.run([sys.executable, '-m', 'dogbreed_sm.train', '--no-such-hyperparameter', '1'], capture_output=True)
    assert r.returncode == 2, r
    return time.time()-t


def described(sm, n, times=300):
    "Median and 99th percentile of a Describe, ms, with `n` jobs recorded"
    names, took = [f'rec-{i:04}' for i in range(n)], []
    for i in range(times):
        t = time.perf_counter()
        sm.describe_training_job(TrainingJobName=names[i*7 % n])
        took.append((time.perf_counter()-t)*1e3)
    return dict(describe_p50_ms=round(statistics.median(took), 2), describe_p99_ms=round(sorted(took)[int(.99*len(took))], 2))


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--jobs', type=int, default=200, help='toy jobs in the queue (default: %(default)s)')
    p.add_argument('--records', type=int, default=1000, help='jobs recorded while Describe is timed (default: %(default)s)')
    p.add_argument('--rounds', type=int, default=5, help='warm and cold starts (default: %(default)s)')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        work = Path(d)
        service = find_or_start(work/'root')
        sm = boto3.client('sagemaker', **service.keys())
        row = queue(sm, work, a.jobs)
        source = script(work/'imports', IMPORTS)
        pairs = [(warm(sm, work, source, k), cold(source), cold_train()) for k in range(a.rounds)]
        for i, name in enumerate(('warm_s', 'cold_s', 'cold_train_s')): row[name] = round(statistics.median(o[i] for o in pairs), 3)
        row['warm_of_cold'] = round(statistics.median(w/c for w, c, _ in pairs), 3)
        row['warm_of_cold_train'] = round(statistics.median(w/c for w, _, c in pairs), 3)
        toy = work/'toy'
        for i in range(a.records): sm.create_training_job(**request(f'rec-{i:04}', toy, work/'out', n=i))
        row.update(records=a.records, **described(sm, a.records))
        service.close()
    row = {'date': date.today().isoformat(), **row, 'machine': json.dumps(machine()), 'versions': json.dumps(versions())}
    new = not RESULTS.exists()
    with open(RESULTS, 'a', newline='') as f:
        w = csv.DictWriter(f, row)
        if new: w.writeheader()
        w.writerow(row)
    print({k: v for k, v in row.items() if k not in ('machine', 'versions')})


if __name__ == '__main__': main()
