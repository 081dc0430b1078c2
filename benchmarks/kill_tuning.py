"""A tuning job of the local SageMaker whose service is killed with -9 at random moments; what came out is held against what its trials did

    python benchmarks/kill_tuning.py [--kills 30] [--trials 40] [--seconds 2] [--seed 1]

A trial is a training job of a toy script, which writes down that it starts and that it ends, and reports an accuracy that follows from its hyperparameters.
The last epoch of trial n lasts until its share of the kills has been, so that the kills are spread over the whole tuning job on a fast machine and on a
slow one. At the end: each trial started once and ended once, is Completed with the accuracy that its hyperparameters give, and the best training job is
the best of them."""
import json, math, os, random, signal, sys, tempfile, time
from argparse import ArgumentParser
from collections import Counter
from contextlib import suppress
from pathlib import Path

import boto3, psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dogbreed_sm.core import write_atomic
from dogbreed_sm.local import find_or_start
from rows import append_row

RESULTS = Path(__file__).parent/'results'/'kill_tuning.csv'
ROLE, IMAGE, NAME = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local', 'killed'
FINAL = 'Completed', 'Failed', 'Stopped'
TRAIN = '''
import json, math, os, sys, time
hp = dict(zip([o.lstrip("-") for o in sys.argv[1::2]], sys.argv[2::2]))
job = json.loads(os.environ["SM_TRAINING_ENV"])["job_name"]
def note(what):
    with open(hp["book"], "a") as f: f.write(f"{what} {job}\\n")
note("start")
best = 1-abs(math.log10(float(hp["lr"]))+3)/4-(0 if hp["optimizer"]=="adamw" else .1)
for epoch in range(1, 9):
    print(f"accuracy={best*(1-.5**epoch)/(1-.5**8):.6f};", flush=True)
    time.sleep(float(hp["seconds"])/8)
need = math.ceil(int(job.split("-")[1])*int(hp["kills"])/int(hp["trials"]))
while int(open(hp["book"]+".kills").read() or 0) < need: time.sleep(.05)
note("end")
'''


def accuracy(hp):
    "What the script reports at its end"
    return 1-abs(math.log10(float(hp['lr']))+3)/4-(0 if hp['optimizer'] == 'adamw' else .1)


def request(folder, trials, parallel, seconds, seed, kills):
    "CreateHyperParameterTuningJob"
    return {'HyperParameterTuningJobName': NAME, 'HyperParameterTuningJobConfig': {
            'Strategy': 'Bayesian', 'HyperParameterTuningJobObjective': {'Type': 'Maximize', 'MetricName': 'accuracy'}, 'RandomSeed': seed,
            'ResourceLimits': {'MaxNumberOfTrainingJobs': trials, 'MaxParallelTrainingJobs': parallel},
            'ParameterRanges': {'ContinuousParameterRanges': [{'Name': 'lr', 'MinValue': '1e-5', 'MaxValue': '0.1', 'ScalingType': 'Logarithmic'}],
                                'CategoricalParameterRanges': [{'Name': 'optimizer', 'Values': ['adam', 'adamw', 'sgd']}]}},
        'TrainingJobDefinition': {'RoleArn': ROLE, 'AlgorithmSpecification': {
                'TrainingImage': IMAGE, 'TrainingInputMode': 'File', 'MetricDefinitions': [{'Name': 'accuracy', 'Regex': 'accuracy=([-0-9.]+);'}]},
            'StaticHyperParameters': {'sagemaker_program': '"train.py"', 'sagemaker_submit_directory': json.dumps(f'file://{folder}/source'),
                                      'book': json.dumps(f'{folder}/book'), 'seconds': str(seconds), 'kills': str(kills), 'trials': str(trials)},
            'OutputDataConfig': {'S3OutputPath': f'file://{folder}/out'}, 'StoppingCondition': {'MaxRuntimeInSeconds': 600},
            'ResourceConfig': {'InstanceType': 'ml.m5.large', 'InstanceCount': 1, 'VolumeSizeInGB': 1}}}


def start(folder):
    "The service, started or started again, and a client"
    service = find_or_start(folder/'root', warm=False)
    return service, boto3.client('sagemaker', **service.keys(), config=Config(retries={'max_attempts': 1, 'mode': 'standard'}, read_timeout=60))


def jobs_of(sm):
    "Summaries of all training jobs of the tuning job"
    pages = sm.get_paginator('list_training_jobs_for_hyper_parameter_tuning_job').paginate(HyperParameterTuningJobName=NAME, PaginationConfig={'PageSize': 7})
    return [o for p in pages for o in p['TrainingJobSummaries']]


def faults(sm, folder, trials):
    "What is not as it should be"
    wrong, d, jobs = [], sm.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=NAME), jobs_of(sm)
    book = Counter((folder/'book').read_text().split('\n')[:-1])
    if d['HyperParameterTuningJobStatus'] != 'Completed': wrong.append(f"status {d['HyperParameterTuningJobStatus']} {d.get('FailureReason')}")
    if len(jobs) != trials or len({o['TrainingJobName'] for o in jobs}) != trials: wrong.append(f'{len(jobs)} trials')
    counters = d['TrainingJobStatusCounters']
    if counters['Completed'] != trials or d['ObjectiveStatusCounters']['Succeeded'] != trials: wrong.append(f'counters {counters}')
    want = Counter(f'{what} {o["TrainingJobName"]}' for o in jobs for what in ('start', 'end'))
    if book != want: wrong.append(f'book: too many {dict(book-want)}, too few {dict(want-book)}')
    for o in jobs:
        got, real = o.get('FinalHyperParameterTuningJobObjectiveMetric', {}).get('Value', math.nan), accuracy(o['TunedHyperParameters'])
        if not abs(got-real) < 1e-4: wrong.append(f"{o['TrainingJobName']} {o['TrainingJobStatus']}: {got} instead of {real} {o.get('FailureReason', '')}")
    best = max(accuracy(o['TunedHyperParameters']) for o in jobs)
    said = d['BestTrainingJob']
    if abs(accuracy(said['TunedHyperParameters'])-best) > 1e-6: wrong.append(f"best {said['TrainingJobName']} is not the best, {best}")
    every = {o['TrainingJobName'] for p in sm.get_paginator('list_training_jobs').paginate() for o in p['TrainingJobSummaries']}
    if extra := every-{o['TrainingJobName'] for o in jobs}: wrong.append(f'training jobs without a trial: {sorted(extra)}')
    return wrong, best


def left(folder):
    "Processes of this root that are still there"
    found = []
    for p in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if p.pid != os.getpid() and (str(folder) in ' '.join(p.cmdline()) or p.cwd().startswith(str(folder))): found.append(' '.join(p.cmdline())[:200])
    return found


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--kills', type=int, default=30, help='(default: %(default)s)')
    p.add_argument('--trials', type=int, default=40, help='(default: %(default)s)')
    p.add_argument('--parallel', type=int, default=2, help='(default: %(default)s)')
    p.add_argument('--seconds', type=float, default=2, help='of a trial, at least (default: %(default)s)')
    p.add_argument('--seed', type=int, default=1, help='(default: %(default)s)')
    a = p.parse_args()
    rng, kills, began = random.Random(a.seed), 0, time.time()
    with tempfile.TemporaryDirectory(prefix='kill-tuning-') as d:
        folder = Path(d)
        (folder/'source').mkdir()
        (folder/'source'/'train.py').write_text(TRAIN)
        write_atomic(folder/'book.kills', '0')
        service, sm = start(folder)
        sm.create_hyper_parameter_tuning_job(**request(folder, a.trials, a.parallel, a.seconds, a.seed, a.kills))
        status, end = 'InProgress', time.time()+1800
        while status not in FINAL and time.time() < end:
            time.sleep(rng.uniform(0, 2) if kills < a.kills else .5)
            status = sm.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=NAME)['HyperParameterTuningJobStatus']
            if kills < a.kills and status not in FINAL:
                os.kill(service.pid, signal.SIGKILL)
                service.process.wait()
                kills += 1
                write_atomic(folder/'book.kills', str(kills))
                service, sm = start(folder)
                with suppress(ClientError, BotoCoreError):
                    print(f'kill {kills}: {len(jobs_of(sm))} trials', file=sys.stderr, flush=True)
        wrong, best = faults(sm, folder, a.trials)
        if kills < a.kills: wrong.append(f'only {kills} kills: the tuning job ended before; the trials did not wait for them')
        service.close()
        time.sleep(2)
        orphans = left(folder)
    for o in (*wrong, *orphans): print(o, file=sys.stderr)
    row = {'kills': kills, 'trials': a.trials, 'parallel': a.parallel, 'trial_seconds': a.seconds, 'faults': len(wrong),
           'orphans': len(orphans), 'best': round(best, 4), 'seconds': round(time.time()-began)}
    append_row(RESULTS, row)
    print(row)
    sys.exit(bool(wrong or orphans))


if __name__ == '__main__': main()
