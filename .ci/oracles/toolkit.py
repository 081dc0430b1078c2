"""Hold the local container contract against AWS's own training toolkit.

    python .ci/oracles/toolkit.py VENV

VENV is made if it isn't there, with `sagemaker-training` and `sagemaker-pytorch-training`, which can't share an environment with this
package. Each job below is run twice with VENV's Python, once by the toolkit's `train` and once by `dogbreed_sm.contract` and
`dogbreed_sm.workers`, each from a folder of its own that was laid out from the same request. Compared are arguments, working directory,
environment, the files in `output` and `code`, and exit codes. Every difference is printed with its reason; one without a reason ends with exit code 1.
"""
import json, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path

from dogbreed_sm.contract import command, conclude, decode, fetch_code, job_variables, lay_out, program, training_env
from dogbreed_sm.core import write_atomic
from dogbreed_sm.storage import Storage, file_uri
from dogbreed_sm.workers import exit_code, read_log, spawn, state

PACKAGES = ['sagemaker-training==5.1.4', 'sagemaker-pytorch-training==3.0.0', 'setuptools<81', 'pip']

PROBE = '''import json, os, signal, sys
from pathlib import Path
out = Path(os.environ["SM_OUTPUT_DATA_DIR"]); out.mkdir(parents=True, exist_ok=True)
channels = {k: sorted(str(p.relative_to(v)) for p in Path(v).rglob("*") if p.is_file()) for k,v in os.environ.items() if k.startswith("SM_CHANNEL_")}
(out/"probe.json").write_text(json.dumps(dict(argv=sys.argv, cwd=os.getcwd(), env=dict(os.environ), files=channels, path0=sys.path[0], name=__name__)))
print("epoch 0", flush=True)
'''
SHELL = '''#!/bin/sh
exec %s probe.py "$@"
'''
ODD = {'quoted':'"64"', 'number':'3', 'float':'1e-3', 'true':'true', 'null':'null', 'empty':'""', 'spaces':'"a b  c"',
       'quote':'"it\'s \\"so\\""', 'plain':'resnet18', 'list':'[1, "b", null]', 'dict':'{"b": 2, "a": "x"}', 'x':'1', 'unicode':'"Caf\\u00e9"', 'raw':'Café',
       'newline':'"a\\nb"', 'under_score':'1', 'hyphen-ated':'2', 'UPPER':'3', 'equals':'"a=b"', 'dashes':'"--lr"', 'big':'12345678901234567890', 'nan':'NaN'}
CASES = {  # name: (script, hyperparameters, channels, environment)
    'success': (PROBE, {'epochs':'2', 'lr':'0.001'}, ['train'], {}),
    'exit 3': (PROBE+'sys.exit(3)', {}, ['train'], {}),
    'exit in words': (PROBE+'sys.exit("no photos")', {}, ['train'], {}),
    'exception': (PROBE+'raise ValueError("no photos")', {'epochs':'2'}, ['train'], {}),
    'syntax error': (PROBE.replace('print(', 'print((', 1), {}, ['train'], {}),
    'killed': (PROBE+'os.kill(os.getpid(), signal.SIGKILL)', {}, ['train'], {}),
    'own failure file': (PROBE+'Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("said by the script"); sys.exit(2)', {}, ['train'], {}),
    'odd values': (PROBE, ODD, ['train'], {}),
    'channels': (PROBE, {}, ['train', 'valid', 'weights', 'My-Channel.2'], {}),
    'no channels': (PROBE, {'epochs':'1'}, [], {}),
    'environment': (PROBE, {'sagemaker_container_log_level':'10', 'sagemaker_job_name':'"named"', 'sagemaker_region':'"eu-west-1"',
        '_tuning_objective_metric':'valid:accuracy'}, ['train'], {'MY_SETTING':'1', 'SM_MODEL_DIR':'/elsewhere', 'EMPTY':''}),
    'program by variable': (PROBE, {'sagemaker_program':'"other.py"'}, ['train'], {'SAGEMAKER_PROGRAM':'train.py'}),
    'missing program': (PROBE, {'sagemaker_program':'"missing.py"'}, ['train'], {}),
    'leads outside': (PROBE, {'sagemaker_program':'"../train.py"'}, ['train'], {}),
    'shell script': (PROBE, {'sagemaker_program':'"train.sh"', 'note':'"a b; echo $HOME"'}, ['train'], {}),
    'torchrun': (PROBE, {'epochs':'2', 'sagemaker_torch_distributed_enabled':'true', 'sagemaker_mpi_num_of_processes_per_host':'2',
        'sagemaker_instance_type':'"ml.g5.xlarge"'}, ['train'], {}),
}

OURS, THEIRS = 'set here alone: ', 'set by the toolkit alone: '
REASONS = {  # what may differ, and why
    'env OMP_NUM_THREADS': OURS+'several jobs share this machine',
    'env GOMP_SPINCOUNT': OURS+'several jobs share this machine',
    'env PYTHONUNBUFFERED': OURS+"AWS's images set it themselves",
    'env MPLBACKEND': OURS+'no job has a screen',
    'env GLOO_SOCKET_IFNAME': OURS+'all instances are on this machine',
    'env AWS_REGION': OURS+'in AWS it is there before the toolkit starts',
    'env SAGEMAKER_REGION': 'the toolkit asks boto3, which knows no region in this test',
    'env MASTER_ADDR': 'algo-1 has no address on this machine',
    'env NCCL_DEBUG': THEIRS+'more lines in the log',
    'env PYTHONPATH': 'the toolkit writes out its own sys.path; here it is the code alone',
    'env SAGEMAKER_BASE_DIR': THEIRS+'by this test, to find the folder',
    'env SAGEMAKER_TRAINING_MODULE': THEIRS+"by AWS's image",
    'env SM_STUDIO_LOCAL_MODE': THEIRS+'by this test, to leave out the look-up of algo-1',
    'env SPY': THEIRS+'by this test, for the stand-in of torchrun',
    'failure text': 'here the error that ended the script; the toolkit gives all from the first word that looks like one',
    'missing program: refused': 'refused before it starts, with a list of what is there',
    'leads outside: refused': 'refused before it starts, where the toolkit refuses it',
    'torchrun: how it is called': 'python -m torch.distributed.run is torchrun, and needs no PATH',
    'torchrun: meeting point': 'a free port, since jobs share this machine',
}


def make_venv(venv):
    "The toolkit in an environment of its own"
    if (venv/'bin/train').exists(): return
    uv = shutil.which('uv')
    subprocess.run([uv, 'venv', '-q', '--python', sys.executable, venv] if uv else [sys.executable, '-m', 'venv', venv], check=True)
    install = [uv, 'pip', 'install', '-q', '--python', venv/'bin/python'] if uv else [venv/'bin/python', '-m', 'pip', 'install', '-q']
    subprocess.run([*install, *PACKAGES], check=True)


def request(name, script, hps, channels, env, tmp, python):
    "The job's request, with its code and data"
    code = tmp/'src'
    write_atomic(code/'train.py', script)
    write_atomic(code/'probe.py', PROBE)
    write_atomic(code/'train.sh', SHELL % python)
    for c in channels: write_atomic(tmp/'data'/c/'beagle/1.jpg', c)
    def channel(c): return dict(ChannelName=c, DataSource=dict(S3DataSource=dict(S3DataType='S3Prefix', S3Uri=file_uri(tmp/'data'/c))))
    hps = {'sagemaker_program':'"train.py"', 'sagemaker_submit_directory':json.dumps(str(code)), **hps}
    return dict(TrainingJobName='dogs-1', HyperParameters=hps, Environment=env,
        AlgorithmSpecification=dict(TrainingImage='local', TrainingInputMode='File'), InputDataConfig=[channel(c) for c in channels],
        ResourceConfig=dict(InstanceType='ml.g5.xlarge', InstanceCount=1))


def found(ml, code, text):
    "What a run has left behind, as a flat dict; its folder is called /opt/ml"
    probe = ml/'output/data/probe.json'
    seen = json.loads(probe.read_text().replace(str(ml), '/opt/ml')) if probe.exists() else {}
    out = {k:v for k,v in seen.items() if k!='env'}
    for k,v in seen.get('env', {}).items():
        try: parsed = json.loads(v) if k=='SM_TRAINING_ENV' else v
        except ValueError: parsed = v
        out |= {f'env {k}.{o}':p for o,p in parsed.items()} if isinstance(parsed, dict) else {f'env {k}':parsed}
    out['exit code'] = code
    out['output files'] = sorted(p.name for p in (ml/'output').iterdir() if p.is_file())
    out['code files'] = sorted(p.name for p in (ml/'code').iterdir() if p.name!='__pycache__')
    failure = ml/'output/failure'
    if failure.exists():
        lines = failure.read_text().replace(str(ml), '/opt/ml').splitlines()
        out |= {'failure kind':lines[0], 'failure exit code':next((x for x in lines if x.startswith('ExitCode')), '')}
        out['failure text'] = [x for x in lines[1:] if not x.startswith('ExitCode')]
    if text: out['torchrun'] = text
    return out


def theirs(req, ml, venv, base):
    "Run a job by the toolkit"
    lay_out(ml, req, 'algo-1', Storage())
    env = {**base, **req['Environment'], 'SAGEMAKER_BASE_DIR':str(ml), 'SM_STUDIO_LOCAL_MODE':'true', 'TRAINING_JOB_NAME':'dogs-1',
           'SAGEMAKER_TRAINING_MODULE':'sagemaker_pytorch_container.training:main', 'PATH':f"{venv/'bin'}:{base['PATH']}", 'SPY':str(ml/'torchrun.json')}
    p = subprocess.run([venv/'bin/train'], env=env, cwd=ml, capture_output=True, text=True, timeout=300)
    spy = ml/'torchrun.json'
    return found(ml, p.returncode, json.loads(spy.read_text()) if spy.exists() else None)


def ours(req, ml, venv, base):
    "Run a job by this package"
    name = program(decode(req['HyperParameters']), req['Environment'])
    lay_out(ml, req, 'algo-1', Storage())
    fetch_code(Storage(), str(decode(req['HyperParameters'])['sagemaker_submit_directory']), ml/'code', name)
    t = training_env(ml, 'dogs-1', req['Environment'])
    argv, python = command(ml, t)
    env = job_variables(ml, 'dogs-1', req['Environment']) | {'PATH':f"{venv/'bin'}:{base['PATH']}"}
    if 'torch.distributed.run' in argv: return found(ml, 0, argv[argv.index('torch.distributed.run'):])
    if python: argv = [venv/'bin/python', *argv]
    spawn(ml.parent/'worker', argv, env, ml/'code')
    while state(ml.parent/'worker')!='exited': time.sleep(.01)
    conclude(ml, exit_code(ml.parent/'worker'), [str(a) for a in argv], [x for _,x in read_log(ml.parent/'worker')[0]])
    return found(ml, int(exit_code(ml.parent/'worker')!=0), None)


def torchrun_differences(a, b):
    "How the two call torchrun"
    yield 'torchrun: how it is called', a[0], b[0]
    meeting = ['--master_addr', '--master_port', '--node_rank']
    plain = [x for i,x in enumerate(b[1:], 1) if x not in meeting and b[i-1] not in meeting]
    yield 'torchrun: meeting point', [], [x for x in b[1:] if x not in plain]
    if plain!=a[1:]: yield 'torchrun: arguments', a[1:], plain


def differences(a, b):
    "(what, the toolkit's, ours) where they differ"
    if 'torchrun' in a: return list(torchrun_differences(a['torchrun'], b['torchrun']))
    COMPARED.extend({*a, *b})
    return [(k, a.get(k), b.get(k)) for k in sorted({*a, *b}) if a.get(k)!=b.get(k)]


COMPARED = []


def reason(case, what): return REASONS.get(f'{case}: {what}') or REASONS.get(what)


def compare(case, venv, base):
    "The differences in one job"
    with tempfile.TemporaryDirectory() as d:
        tmp = Path(d).resolve()
        req = request(case, *CASES[case], tmp, venv/'bin/python')
        a = theirs(req, tmp/'theirs/ml', venv, base)
        try: b = ours(req, tmp/'ours/ml', venv, base)
        except Exception as e:
            if a['exit code']==0: return [('refused', 'runs', str(e))]
            return [('refused', a['failure text'], str(e))]
        return differences(a, b)


def main(venv):
    "Compare all jobs; the number of unexplained differences"
    venv = Path(venv).absolute()
    make_venv(venv)
    # a stand-in for torchrun: what is compared is how it is called
    spy = 'import json, os, sys\nopen(os.environ["SPY"], "w").write(json.dumps(["torchrun", *sys.argv[1:]]))\n'
    write_atomic(venv/'bin/torchrun', f'#!{sys.executable}\n{spy}').chmod(0o755)
    base = {k:os.environ[k] for k in ('PATH', 'HOME', 'LANG', 'TMPDIR') if k in os.environ}
    os.environ.clear()
    os.environ.update(base)
    rows = {}
    for case in CASES:
        for what,a,b in compare(case, venv, base):
            values = () if reason(case, what) else (json.dumps(a)[:200], json.dumps(b)[:200])
            rows.setdefault((reason(case, what) or 'UNEXPLAINED', what, *values), []).append(case)
        print('.', end='', flush=True)
    print(f'\n{len(CASES)} jobs; {len(COMPARED)} arguments, variables, files and exit codes are the same, except for\n')
    for (why, what, *values), cases in sorted(rows.items()):
        print(f"{what:36} {'in all' if len(cases)>8 else ', '.join(cases)[:40]:42} {why}")
        if values: print(f'    toolkit {values[0]}\n    ours    {values[1]}')
    bad = sum(k[0]=='UNEXPLAINED' for k in rows)
    print(f'\n{len(rows)-bad} explained, {bad} unexplained')
    return bad


if __name__=='__main__': sys.exit(bool(main(sys.argv[1])) if len(sys.argv)==2 else __doc__)
