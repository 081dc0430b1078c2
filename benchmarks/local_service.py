"""What the local SageMaker costs: 200 queued toy jobs, a warm start against a cold process, Describe with 1,000 jobs recorded

    python benchmarks/local_service.py [--jobs 200] [--records 1000] [--rounds 5]

The warm start is the time from CreateTrainingJob until everything is imported that `python -m dogbreed_sm.train` imports, in a service that has run a job
before and whose pool has loaded; the cold one is the same in a new process. They take turns. With a handful of --jobs the pool has not loaded yet."""
import json, statistics, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from pathlib import Path

import boto3
from dogbreed_sm.local import find_or_start
from rows import append_row

RESULTS = Path(__file__).parent/'results'/'local_service.csv'
ROLE, IMAGE = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local'
TOY = 'import os, sys\nprint("n=" + sys.argv[-1] + ";", flush=True)\nopen(os.environ["SM_MODEL_DIR"]+"/done", "w").write(sys.argv[-1])\n'


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


READY = """import time
from dogbreed_sm import artifact, cache, data, evaluate, finetune, heads, learner, loaders, profiler, report, train, watch
print("ready", time.time(), flush=True)
"""


def begun(text): return float(text.split('ready ')[1].split()[0])


def warm(sm, work, source, k):
    "Seconds from the request until everything that a training imports is there, by the service"
    t = time.time()
    sm.create_training_job(**request(f'warm-{k}', source, work/'out'))
    d = final(sm, f'warm-{k}')
    assert d['TrainingJobStatus'] == 'Completed', d
    return begun(next((work/'root'/'jobs'/'training-job'/f'warm-{k}').rglob('log')).read_text())-t


def cold(source):
    "The same in a new process"
    t = time.time()
    return begun(subprocess.run([sys.executable, source/'train.py'], capture_output=True, text=True, check=True).stdout)-t


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
        source = script(work/'train', READY)
        pairs = [(warm(sm, work, source, k), cold(source)) for k in range(a.rounds)]
        for i, name in enumerate(('warm_s', 'cold_s')): row[name] = round(statistics.median(o[i] for o in pairs), 3)
        row['warm_of_cold'] = round(statistics.median(w/c for w, c in pairs), 3)
        toy = work/'toy'
        for i in range(a.records): sm.create_training_job(**request(f'rec-{i:04}', toy, work/'out', n=i))
        row.update(records=a.records, **described(sm, a.records))
        service.close()
    append_row(RESULTS, row)
    print(row)


if __name__ == '__main__': main()
