"""The local SageMaker killed with -9 at random moments, while it runs jobs, endpoints and a transform; what it says afterwards is held against what is there

    python benchmarks/crash_local.py [--kills 50] [--seed 1]

After every restart: each record that was ever answered is there; each status agrees with the processes; at the end each job is final with the output that
its script wrote, every endpoint answers, and after everything was deleted no process that the service or its jobs started is left."""
import json, os, random, signal, sys, tarfile, tempfile, time
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path

import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import boto3
from dogbreed_sm.local import find_or_start
from rows import append_row

RESULTS = Path(__file__).parent/'results'/'crash_local.csv'
ROLE, IMAGE = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local'
FINAL = 'Completed', 'Failed', 'Stopped'
TRAIN = '''
import os, sys, time
from pathlib import Path
for i in range(int(sys.argv[sys.argv.index("--steps")+1])): print(f"step={i};", flush=True); time.sleep(.05)
Path(os.environ["SM_MODEL_DIR"], "done").write_text(sys.argv[sys.argv.index("--steps")+1])
'''
SERVE = '''
def model_fn(model_dir): return open(f"{model_dir}/done").read()
def input_fn(body, content_type): return body.decode()
def predict_fn(text, model): return [model, text]
'''


class Crashes:
    "A root, the service that runs on it, and what was ever answered by it"
    def __init__(self, folder, seed):
        self.folder, self.rng, self.answered, self.asked, self.n, self.service = Path(folder), random.Random(seed), {}, set(), 0, None
        self.source = self.folder/'source'
        self.source.mkdir(parents=True)
        (self.source/'train.py').write_text(TRAIN)
        self.model = self.folder/'model.tar.gz'
        self.records = self.folder/'records'
        self.records.mkdir()
        for i in range(30): (self.records/f'{i:02}.txt').write_text(f'record {i}')
        with tempfile.TemporaryDirectory() as d, tarfile.open(self.model, 'w:gz') as tar:
            (Path(d)/'done').write_text('served')
            (Path(d)/'code').mkdir()
            (Path(d)/'code'/'inference.py').write_text(SERVE)
            for name in ('done', 'code'): tar.add(Path(d)/name, name)

    def start(self):
        self.service = find_or_start(self.folder/'root', warm=False)
        once = Config(retries={'max_attempts': 1, 'mode': 'standard'}, read_timeout=60)
        self.sm = boto3.client('sagemaker', **self.service.keys(), config=once)
        self.runtime = boto3.client('sagemaker-runtime', **self.service.keys(), config=once)

    def kill(self):
        os.kill(self.service.pid, signal.SIGKILL)
        self.service.process.wait()

    def train(self):
        name = f'job-{self.n:03}'
        self.sm.create_training_job(TrainingJobName=name, RoleArn=ROLE, AlgorithmSpecification={
                'TrainingImage': IMAGE, 'TrainingInputMode': 'File', 'MetricDefinitions': [{'Name': 'step', 'Regex': 'step=([0-9]+);'}]},
            HyperParameters={'sagemaker_program': '"train.py"', 'sagemaker_submit_directory': json.dumps(f'file://{self.source}'), 'steps': str(5+self.n % 20)},
            OutputDataConfig={'S3OutputPath': f'file://{self.folder}/out'}, StoppingCondition={'MaxRuntimeInSeconds': 600},
            ResourceConfig={'InstanceType': 'ml.m5.large', 'InstanceCount': 1, 'VolumeSizeInGB': 1})
        return 'training_job', name

    def stop(self):
        name = f'job-{self.n-1:03}'
        self.asked.add(name)  # a request that is cut off by a kill may have been taken
        self.sm.stop_training_job(TrainingJobName=name)
        return 'training_job', name

    def endpoint(self):
        name = f'end-{self.n:03}'
        with suppress(ClientError): self.sm.create_model(ModelName='model', ExecutionRoleArn=ROLE, PrimaryContainer={
            'Image': IMAGE, 'ModelDataUrl': f'file://{self.model}', 'Environment': {'SAGEMAKER_PROGRAM': 'inference.py'}})
        variant = {'VariantName': 'all', 'ModelName': 'model', 'InstanceType': 'ml.m5.large', 'InitialInstanceCount': 1}
        with suppress(ClientError): self.sm.create_endpoint_config(EndpointConfigName='config', ProductionVariants=[variant])
        self.sm.create_endpoint(EndpointName=name, EndpointConfigName='config')
        return 'endpoint', name

    def transform(self):
        name = f'trf-{self.n:03}'
        source = {'DataSource': {'S3DataSource': {'S3DataType': 'S3Prefix', 'S3Uri': f'file://{self.records}'}}, 'ContentType': 'text/plain'}
        self.sm.create_transform_job(TransformJobName=name, ModelName='model', TransformInput=source, TransformOutput={'S3OutputPath': f'file://{self.folder}/{name}'},
            TransformResources={'InstanceType': 'ml.m5.large', 'InstanceCount': 1})
        return 'transform_job', name

    def ask(self, what):
        "One request; the record counts as answered when the answer came. A request cut off by a kill may or may not have been taken"
        with suppress(BotoCoreError, ClientError):
            kind, name = what()
            self.answered[name] = kind
        self.n += 1

    def describe(self, name):
        kind = self.answered[name]
        words = {'training_job': 'TrainingJob', 'endpoint': 'Endpoint', 'transform_job': 'TransformJob'}[kind]
        return getattr(self.sm, f'describe_{kind}')(**{f'{words}Name': name})[f'{words}Status']

    def missing(self):
        "Names of answered records that are no longer there"
        lost = []
        for name in self.answered:
            try: self.describe(name)
            except ClientError: lost.append(name)
        return lost

    def wait(self, seconds=300):
        "Until no record is on its way; the ones that are after `seconds`"
        end = time.monotonic()+seconds
        while on := [o for o in self.answered if self.describe(o) not in (*FINAL, 'InService')]:
            if time.monotonic() > end: return on
            time.sleep(.2)
        return []

    def checked_job(self, name, job):
        "What is wrong with a final training job, or None"
        if job['TrainingJobStatus'] == 'Failed': return job.get('FailureReason')
        if job['TrainingJobStatus'] == 'Stopped': return None if name in self.asked else 'nobody asked it to stop'
        with tarfile.open(self.folder/'out'/name/'output'/'model.tar.gz') as tar: done = tar.extractfile('done').read().decode()
        return None if done == job['HyperParameters']['steps'].strip('"') else f'its model says {done}'

    def checked_endpoint(self, name, endpoint):
        "What is wrong with an endpoint, or None"
        if endpoint['EndpointStatus'] != 'InService': return endpoint.get('FailureReason')
        r = self.runtime.invoke_endpoint(EndpointName=name, Body=b'hello', ContentType='text/plain', Accept='application/json')
        answer = json.loads(r['Body'].read())
        return None if answer == ['served', 'hello'] else answer

    def checked_transform(self, name, job):
        "What is wrong with a transform job, or None"
        n = len(list((self.folder/name).rglob('*.out')))
        return None if job['TransformJobStatus'] == 'Completed' and n == 30 else f"{n} outputs; {job.get('FailureReason')}"

    def lies(self):
        "Records whose status is contradicted by what is on the disk, or by the endpoint's answer"
        checks = {'training_job': ('TrainingJobName', self.checked_job), 'endpoint': ('EndpointName', self.checked_endpoint),
                  'transform_job': ('TransformJobName', self.checked_transform)}
        wrong = []
        for name, kind in self.answered.items():
            key, check = checks[kind]
            record = getattr(self.sm, f'describe_{kind}')(**{key: name})
            try: problem = check(name, record)
            except Exception as e: problem = repr(e)
            if problem: wrong.append((name, record.get(key.replace('Name', 'Status')), problem))
        return wrong

    def processes(self):
        "Processes of this root: their command line or working directory names it"
        mine = []
        for p in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if p.pid != os.getpid() and (str(self.folder) in ' '.join(p.cmdline()) or p.cwd().startswith(str(self.folder))): mine.append(p)
        return mine


def main():
    a = ArgumentParser(description=__doc__)
    a.add_argument('--kills', type=int, default=50, help='(default: %(default)s)')
    a.add_argument('--seed', type=int, default=1, help='(default: %(default)s)')
    a = a.parse_args()
    with tempfile.TemporaryDirectory(prefix='crash-') as d:
        c, t = Crashes(d, a.seed), time.time()
        lost, menu = set(), [c.train, c.train, c.train, c.stop, c.transform]
        c.start()
        c.ask(c.endpoint)
        for k in range(a.kills):
            for _ in range(c.rng.randint(1, 3)): c.ask(c.rng.choice(menu))
            if k == a.kills//2: c.ask(c.endpoint)
            time.sleep(c.rng.uniform(0, 1.5))
            c.kill()
            c.start()
            lost |= set(c.missing())
            print(f'kill {k+1}: {len(c.answered)} records, lost {sorted(lost)}', file=sys.stderr, flush=True)
        stuck, wrong = c.wait(), c.lies()
        for name, kind in c.answered.items():
            if kind == 'endpoint': c.sm.delete_endpoint(EndpointName=name)
        time.sleep(5)
        c.service.close()
        time.sleep(3)
        orphans = [' '.join(p.cmdline())[:200] for p in c.processes()]
        kinds = list(c.answered.values())
        counts = {'kills': a.kills, 'jobs': kinds.count('training_job'), 'transforms': kinds.count('transform_job'), 'endpoints': kinds.count('endpoint'),
                  'lost': len(lost), 'stuck': len(stuck), 'lies': len(wrong), 'orphans': len(orphans), 'seconds': round(time.time()-t)}
        for o in (*stuck, *wrong, *orphans): print(o, file=sys.stderr)
    append_row(RESULTS, counts)
    print(counts)
    sys.exit(bool(lost or stuck or wrong or orphans))


if __name__ == '__main__': main()
