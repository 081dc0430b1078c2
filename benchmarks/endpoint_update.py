"""An endpoint of the local SageMaker updated under load, and its server killed with -9: what 16 clients see

    python benchmarks/endpoint_update.py [--clients 16] [--updates 3] [--kills 3]

Two models answer with their own word. While the clients ask without a pause, the endpoint is updated from one to the other and back: no request may fail, and
none may be answered by the new word and then by the old one. Then its server is killed: errors may come only until it is there again, by itself."""
import json, os, signal, sys, tarfile, tempfile, threading, time
from argparse import ArgumentParser
from pathlib import Path

import psutil
from botocore.config import Config

import boto3
from dogbreed_sm.local import find_or_start
from rows import append_row

RESULTS = Path(__file__).parent/'results'/'endpoint_update.csv'
ROLE, IMAGE = 'arn:aws:iam::000000000000:role/dogbreed', 'dogbreed_sm/local'
SERVE = '''
import time
def model_fn(model_dir): return open(f"{model_dir}/word").read()
def input_fn(body, content_type): return body.decode()
def predict_fn(text, model): time.sleep(.02); return [model, text]
'''


def packed(folder, word):
    "A model.tar.gz that answers with its word"
    out = folder/f'{word}.tar.gz'
    with tempfile.TemporaryDirectory() as d, tarfile.open(out, 'w:gz') as tar:
        (Path(d)/'code').mkdir()
        (Path(d)/'code'/'inference.py').write_text(SERVE)
        (Path(d)/'word').write_text(word)
        for name in ('word', 'code'): tar.add(Path(d)/name, name)
    return out


class Load:
    "Clients that ask one after the other, and what they were told: `(begin, end, word or error)`"
    def __init__(self, keys, n):
        self.ended, self.seen = threading.Event(), []
        self.runtimes = [boto3.client('sagemaker-runtime', **keys, config=Config(retries={'max_attempts': 1, 'mode': 'standard'})) for _ in range(n)]
        self.threads = [threading.Thread(target=self.ask, args=(r, i)) for i, r in enumerate(self.runtimes)]

    def ask(self, runtime, i):
        k = 0
        while not self.ended.is_set():
            t, text, k = time.time(), f'{i}-{k}', k+1
            try:
                r = runtime.invoke_endpoint(EndpointName='dogs', Body=text.encode(), ContentType='text/plain', Accept='application/json')
                word, echo = json.loads(r['Body'].read())
                self.seen.append((t, time.time(), word if echo == text else 'mixed up'))
            except Exception as e:
                self.seen.append((t, time.time(), repr(e)[:150]))
                time.sleep(.05)

    def __enter__(self):
        for t in self.threads: t.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        for t in self.threads: t.join()

    def bad(self): return [o for o in self.seen if o[2] not in ('old', 'new')]


def in_service(sm):
    while (s := sm.describe_endpoint(EndpointName='dogs')['EndpointStatus']) != 'InService':
        if s == 'Failed': sys.exit(sm.describe_endpoint(EndpointName='dogs')['FailureReason'])
        time.sleep(.05)


def servers(root):
    "The server processes of the root's endpoints"
    lines = [(p, ' '.join(p.info['cmdline'] or [])) for p in psutil.process_iter(['cmdline'])]
    return [p for p, line in lines if 'dogbreed_sm.serve' in line and str(root) in line]


def killed(sm, root, load):
    "Kill the server; seconds with errors, errors, and the longest that an answer took meanwhile"
    t, n = time.time(), len(load.bad())
    victims = servers(root)
    assert victims, 'no server process was found'
    for p in victims: os.kill(p.pid, signal.SIGKILL)
    end = time.time()+60
    while time.time() < end and not any(o[0] > t+.5 and o[2] in ('old', 'new') for o in load.seen[-50:]): time.sleep(.1)
    time.sleep(2)
    bad, since = load.bad()[n:], [o for o in load.seen if o[1] > t]
    assert any(o[2] in ('old', 'new') for o in since[-50:]), 'the endpoint did not come back'
    return (max(o[1] for o in bad)-t if bad else 0.), len(bad), max(o[1]-o[0] for o in since)


def main():
    p = ArgumentParser(description=__doc__)
    p.add_argument('--clients', type=int, default=16, help='(default: %(default)s)')
    p.add_argument('--updates', type=int, default=3, help='(default: %(default)s)')
    p.add_argument('--kills', type=int, default=3, help='(default: %(default)s)')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        work = Path(d)
        service = find_or_start(work/'root', warm=False)
        sm = boto3.client('sagemaker', **service.keys())
        for word in ('old', 'new'):
            sm.create_model(ModelName=word, ExecutionRoleArn=ROLE, PrimaryContainer={
                'Image': IMAGE, 'ModelDataUrl': f'file://{packed(work, word)}', 'Environment': {'SAGEMAKER_PROGRAM': 'inference.py'}})
            variant = {'VariantName': 'all', 'ModelName': word, 'InstanceType': 'ml.m5.large', 'InitialInstanceCount': 1}
            sm.create_endpoint_config(EndpointConfigName=word, ProductionVariants=[variant])
        sm.create_endpoint(EndpointName='dogs', EndpointConfigName='old')
        in_service(sm)
        with Load(service.keys(), a.clients) as load:
            time.sleep(2)
            for i in range(a.updates):
                sm.update_endpoint(EndpointName='dogs', EndpointConfigName=('new', 'old')[i % 2])
                in_service(sm)
                time.sleep(2)
            updating = list(load.seen)
            lost = load.bad()
            downs = [killed(sm, work/'root', load) for _ in range(a.kills)]
        swaps = [w for _, _, w in sorted(updating, key=lambda o: o[1]) if w in ('old', 'new')]
        row = dict(clients=a.clients, updates=a.updates, requests=len(updating), lost_in_updates=len(lost), words=len(set(swaps)), kills=a.kills,
                   down_s=[round(s, 1) for s, _, _ in downs],
                   errors_while_down=[n for _, n, _ in downs], longest_answer_s=[round(s, 1) for _, _, s in downs], answered_after=len(load.seen)-len(updating))
        for o in lost[:5]: print(o, file=sys.stderr)
        sm.delete_endpoint(EndpointName='dogs')
        time.sleep(2)
        service.close()
    append_row(RESULTS, row)
    print(row)
    sys.exit(bool(lost))


if __name__ == '__main__': main()
