"""Foreign clients against the local SageMaker: SDK v2, SDK v3 objects and the AWS CLI, each in an environment of its own, unmodified

    python .ci/oracles/run.py [--envs DIR] [--only sdk_v2,sdk_v3,cli]      # make oracles
"""
import argparse, json, logging, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path

from moto.server import ThreadedMotoServer

import boto3
from dogbreed_sm.draw import sample_dogs
from dogbreed_sm.local import find_or_start

HERE = Path(__file__).parent
NEEDS = {'sdk_v2': ['sagemaker>=2.257,<2.258'], 'sdk_v3': ['sagemaker-core>=2.27,<3'], 'cli': ['awscli>=1.40']}


def environment(folder, needs):
    "A virtual environment with `needs`; its bin folder. Made once"
    ready = folder/'ready.txt'
    if not ready.exists() or ready.read_text() != '\n'.join(needs):
        shutil.rmtree(folder, ignore_errors=True)
        python = folder/'bin'/'python'
        if shutil.which('uv'):
            subprocess.run(['uv', 'venv', '-q', '-p', sys.executable, folder], check=True)
            subprocess.run(['uv', 'pip', 'install', '-q', '--python', python, *needs], check=True)
        else:
            subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
            subprocess.run([python, '-m', 'pip', 'install', '-q', *needs], check=True)
        ready.write_text('\n'.join(needs))
    return folder/'bin'


def quiet(work):
    "A configuration for the SDKs in which they don't call home"
    config = work/'config.yaml'
    config.write_text("SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n")
    return config


def sent(s3, data, bucket):
    "The photos of train and valid in the bucket"
    for p in sorted(p for s in ('train', 'valid') for p in (data/s).rglob('*.jpg')): s3.upload_file(str(p), bucket, f'photos/{p.relative_to(data).as_posix()}')
    return f's3://{bucket}/photos'


ROLE, IMAGE = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local'
PLAIN = str(HERE/'plain')


def a_job(sm, photos, out):
    "The plain script trained once, asked for by boto3; its name and model.tar.gz"
    name = 'plain-by-boto3'
    channel = lambda s: {'ChannelName': s, 'DataSource': {'S3DataSource': {'S3DataType': 'S3Prefix', 'S3Uri': f'{photos}/{s}'}}}
    sm.create_training_job(TrainingJobName=name, RoleArn=ROLE, AlgorithmSpecification={'TrainingImage': IMAGE, 'TrainingInputMode': 'File'},
        HyperParameters={'sagemaker_program': '"train_model.py"', 'sagemaker_submit_directory': json.dumps(f'file://{PLAIN}'), 'epochs': '1'},
        InputDataConfig=[channel('train'), channel('valid')], OutputDataConfig={'S3OutputPath': f'file://{out}'},
        StoppingCondition={'MaxRuntimeInSeconds': 600}, ResourceConfig={'InstanceType': 'ml.m5.large', 'InstanceCount': 1, 'VolumeSizeInGB': 10})
    sm.get_waiter('training_job_completed_or_stopped').wait(TrainingJobName=name, WaiterConfig={'Delay': 1, 'MaxAttempts': 300})
    return name, sm.describe_training_job(TrainingJobName=name)['ModelArtifacts']['S3ModelArtifacts'].removeprefix('file://')


def an_endpoint(sm, model, out):
    "The trained model with its inference script, served; the endpoint's name"
    whole = out/'with_code.tar.gz'
    with tempfile.TemporaryDirectory() as d:
        shutil.unpack_archive(model, d, 'gztar')
        shutil.copytree(PLAIN, Path(d)/'code')
        shutil.make_archive(str(whole).removesuffix('.tar.gz'), 'gztar', d)
    name = 'plain'
    container = {'Image': IMAGE, 'ModelDataUrl': f'file://{whole}', 'Environment': {'SAGEMAKER_PROGRAM': 'inference.py'}}
    sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {'VariantName': 'all', 'ModelName': name, 'InstanceType': 'ml.m5.large', 'InitialInstanceCount': 1}
    sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sm.get_waiter('endpoint_in_service').wait(EndpointName=name, WaiterConfig={'Delay': 1, 'MaxAttempts': 120})
    return name


def clients(envs, photos, photo, job, endpoint):
    "Name to command of each foreign client"
    return {'sdk_v2': [envs/'sdk_v2'/'bin'/'python', HERE/'sdk_v2.py', photos, photo],
            'sdk_v3': [envs/'sdk_v3'/'bin'/'python', HERE/'sdk_v3.py', job, endpoint, photo], 'cli': ['bash', HERE/'cli.sh', job, endpoint, photo]}


def asked(command, bin, env, work):
    "Run a client; its exit status, and what it says it has seen"
    t = time.time()
    r = subprocess.run([str(o) for o in command], cwd=work, env={**env, 'PATH': f'{bin}:{os.environ["PATH"]}'}, capture_output=True, text=True)
    seen = [o.partition('ORACLE ')[2] for o in r.stdout.splitlines() if 'ORACLE ' in o]
    if r.returncode: print(r.stdout[-3000:], r.stderr[-3000:], sep='\n', file=sys.stderr)
    return r.returncode, seen, time.time()-t


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--envs', default='.venv/oracles', help='where the environments are made (default: %(default)s)')
    p.add_argument('--only', default=','.join(NEEDS), help='(default: %(default)s)')
    a = p.parse_args()
    envs, only = Path(a.envs).absolute(), a.only.split(',')
    bins = {k: environment(envs/k, NEEDS[k]) for k in only}
    work, moto = Path(tempfile.mkdtemp(prefix='oracles-')), ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    moto.start()
    s3_url = 'http://{}:{}'.format(*moto.get_host_and_port())
    service = find_or_start(work/'root', s3_endpoint=s3_url)
    failed = 0
    try:
        env = {**os.environ, **service.environment(), 'AWS_ENDPOINT_URL_S3': s3_url, 'AWS_REGION': 'us-east-1', 'HOME': str(work), 'AWS_PAGER': '',
               'AWS_EC2_METADATA_DISABLED': 'true', 'SAGEMAKER_VALIDATE_ROLE': 'false',
               'SAGEMAKER_USER_CONFIG_OVERRIDE': str(quiet(work))}
        s3 = boto3.client('s3', endpoint_url=s3_url, aws_access_key_id='x', aws_secret_access_key='x', region_name='us-east-1')
        s3.create_bucket(Bucket='dogs')
        data = sample_dogs(work/'photos', breeds=3, per_breed=12, size=64, broken=0)
        photos, photo = sent(s3, data, 'dogs'), next((data/'test').rglob('*.jpg'))
        sm = boto3.client('sagemaker', **service.keys())
        job, model = a_job(sm, f'file://{data}', work/'out')
        endpoint = an_endpoint(sm, model, work)
        for name, command in clients(envs, photos, photo, job, endpoint).items():
            if name not in only: continue
            code, seen, took = asked(command, bins[name], env, work)
            failed += code != 0
            print(f'{name}: {"passed" if code == 0 else f"FAILED ({code})"} in {took:.0f} s', *seen, sep='\n  ', flush=True)
    finally:
        service.close()
        moto.stop()
    sys.exit(bool(failed))


if __name__ == '__main__': main()
