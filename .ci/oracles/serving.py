"""The same inference scripts through AWS's own toolkit and through dogbreed_sm.handlers: status, content type and body must agree

.ci/oracles/serving.py VENV: makes the environment if it isn't there (sagemaker-pytorch-inference, which brings sagemaker-inference's Transformer),
and lists every difference. Each must be one of DIFFERENT, with its reason; another one is a failure."""
import base64, io, json, os, shutil, subprocess, sys, sysconfig, tempfile
from argparse import ArgumentParser
from pathlib import Path

# the second brings an older copy of the first along, and whichever is installed last wins: one after the other
PACKAGES = ['sagemaker-pytorch-inference==2.0.25', 'sagemaker-inference==1.10.1']
NEEDS = ['six', 'scipy', 'boto3', 'psutil', 'retrying']

PLUS = 'def model_fn(model_dir): return lambda x: x+1\ndef predict_fn(data, model): return model(data)\n'
SCRIPTS = {
    'defaults': 'import torch\nclass Plus(torch.nn.Module):\n    def forward(self, x): return x+1\ndef model_fn(model_dir): return Plus()\n',
    'predict': PLUS,
    'all four': 'import json\n' + PLUS + 'def input_fn(body, kind): return (type(body).__name__, kind)\ndef predict_fn(data, model): return data\n'
                'def output_fn(prediction, accept): return json.dumps([prediction, accept])\n',
    'pair': PLUS + 'def output_fn(prediction, accept): return b"<p>1</p>", "text/html"\n',
    'transform': 'def model_fn(model_dir): return 2\ndef transform_fn(model, body, kind, accept): return f"{model} {body} {kind} {accept}"\n',
    'both': 'def model_fn(model_dir): return 2\ndef transform_fn(model, body, kind, accept): ...\ndef input_fn(body, kind): ...\n',
    'raises': 'def model_fn(model_dir): return 2\ndef predict_fn(data, model): raise ValueError("no dog")\n',
    'own status': 'from sagemaker_inference.errors import GenericInferenceToolkitError as E\ndef model_fn(model_dir): return 2\n'
                  'def predict_fn(data, model): raise E(422, "no dog")\n',
    'context': 'def model_fn(model_dir, context): return 2\ndef input_fn(body, kind, context): return body\ndef predict_fn(data, model, context): return data\n'
               'def output_fn(prediction, accept, context): return prediction\n',
    'wrong number': 'def model_fn(model_dir): return 2\ndef input_fn(body): return body\n',
    'no model_fn': 'def predict_fn(data, model): return data\n',
    'not importable': 'import no_such_library\n',
}
JSON, CSV, NPY = 'application/json', 'text/csv', 'application/x-npy'

def npy(values, **kw):
    import numpy as np
    buf = io.BytesIO()
    np.save(buf, np.array(values, **kw))
    return buf.getvalue()

def cases():
    "Script, environment, body, content type and accept of each request"
    bodies = {JSON: b'[[1, 2], [3, 4]]', CSV: b'1,2\n3,4\n', NPY: npy([[1., 2.], [3., 4.]])}
    for script in ('defaults', 'predict'):
        for kind, body in bodies.items():
            for accept in (JSON, CSV, NPY, None, '*/*', f'text/html, {CSV}', f'{CSV}, {JSON}'): yield script, {}, body, kind, accept
        yield script, {'SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT': CSV}, bodies[JSON], JSON, None
    for kind, accept in (('image/png', JSON), (None, JSON), (JSON, 'image/png'), ('application/json; charset=utf-8', JSON)):
        yield 'defaults', {}, bodies[JSON], kind, accept
    for body, kind in ((b'[1, [2]]', JSON), (b'{', JSON), (b'dog', NPY), (b'\xff', JSON), (npy([{}], dtype=object), NPY)):
        yield 'defaults', {}, body, kind, JSON
    for script in list(SCRIPTS)[2:]:
        yield script, {}, bodies[JSON], JSON, JSON
        yield script, {}, bodies[CSV], CSV, 'text/plain'
    yield 'all four', {}, b'\xff\xd8', 'image/jpeg', None
    yield 'transform', {'SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT': 'text/plain'}, b'1', CSV, '*/*'

THEIRS = '''
import base64, importlib, json, os, sys
from sagemaker_inference.transformer import Transformer
from sagemaker_pytorch_serving_container.default_pytorch_inference_handler import DefaultPytorchInferenceHandler
class Request:
    def __init__(self, h): self.h = h
    def get_request_properties(self): return self.h
class Context:
    model_name = 'model'
    def __init__(self, h, model_dir): self.request_processor, self.system_properties, self.code, self.kind = [Request(h)], {'model_dir':model_dir}, 200, None
    def set_response_status(self, code=200, phrase='', idx=0): self.code = code
    def set_response_content_type(self, i, v): self.kind = v
said, sys.stdout = sys.stdout, sys.stderr
def fresh(o):
    for k in ('SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT',): os.environ.pop(k, None)
    os.environ.update(o['env'])
    sys.modules.pop('inference', None)
    sys.path[0] = o['model_dir']+'/code'
    importlib.invalidate_caches()
for line in sys.stdin:
    o = json.loads(line)
    fresh(o)
    context = Context({k:v for k,v in (('Content-Type', o['kind']), ('Accept', o['accept'])) if v}, o['model_dir'])
    body = Transformer(default_inference_handler=DefaultPytorchInferenceHandler()).transform([{'body':base64.b64decode(o['body'])}], context)[0]
    body = body.encode() if isinstance(body, str) else bytes(body)
    print(json.dumps([context.code, context.kind, base64.b64encode(body).decode()]), file=said, flush=True)
'''
OURS = '''
import json, os, sys, base64
from dogbreed_sm.core import BadArtifact, BadRequest
from dogbreed_sm.handlers import HandlerFailed, HandlerRequest, Handlers, find_script, respond
for line in sys.stdin:
    o = json.loads(line)
    sys.path[0] = ''
    try:
        body, kind = respond(Handlers(find_script(o['model_dir'], o['env'])).load(), HandlerRequest(base64.b64decode(o['body']), o['kind'], o['accept'] or ''))
        code = 200
    except (BadRequest, HandlerFailed) as e: code, kind, body = e.status, None, str(e).encode()
    except BadArtifact as e: code, kind, body = 500, None, str(e).encode()
    print(json.dumps([code, kind, base64.b64encode(body).decode()]), flush=True)
'''
DIFFERENT = {
    'status 500 -> 415': "a content type that isn't known is the client's mistake, not the server's",
    'status 500 -> 406': "and so is an Accept that can't be met",
    'status 500 -> 400': "and a body that can't be read; a .npy file with pickled objects would run code of the client's",
    'status 500 -> 200': "'application/json; charset=utf-8' is JSON",
    'content type': 'the toolkit repeats the Accept header; ours names the one type that was written',
}

def make(venv):
    "The toolkit's environment, with the NumPy and PyTorch of this one"
    if (venv/'bin'/'python').exists(): return
    uv = shutil.which('uv')
    subprocess.run([uv, 'venv', '-q', '-p', sys.executable, venv] if uv else [sys.executable, '-m', 'venv', venv], check=True)
    install = [uv, 'pip', 'install', '-q', '-p', venv/'bin/python'] if uv else [venv/'bin/python', '-m', 'pip', 'install', '-q']
    for package in PACKAGES: subprocess.run([*install, '--no-deps', package], check=True)
    site = next((venv/'lib').glob('python*'))/'site-packages'
    (site/'torch_of_the_project.pth').write_text(sysconfig.get_path('purelib')+'\n')
    absent = [o for o in NEEDS if subprocess.run([venv/'bin/python', '-c', f'import {o}'], capture_output=True).returncode]
    if absent: subprocess.run([*install, '--no-deps', *absent], check=True)

def answers(python, program, todo, **env):
    "What one side says to all requests"
    text = '\n'.join(json.dumps(o) for o in todo)+'\n'
    done = subprocess.run([python, '-c', program], input=text, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1', **env})
    if done.returncode: sys.exit(done.stderr[-3000:])
    return [json.loads(o) for o in done.stdout.splitlines() if o.startswith('[')]

def same(theirs, ours):
    "Names of the differences between two answers"
    (c1, k1, b1), (c2, k2, b2) = theirs, ours
    if c1 != c2: return [f'status {c1} -> {c2}']
    if c1 != 200: return []  # the toolkit adds the traceback to the message; ours is in the log
    found = [] if k1 == k2 else ['content type']
    b1, b2 = base64.b64decode(b1), base64.b64decode(b2)
    return found if b1 == b2 else [*found, f'body {b1[:60]} -> {b2[:60]}']

def main():
    p = ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('venv', type=Path, help="environment of AWS's toolkit; made when it isn't there")
    venv = p.parse_args().venv.absolute()
    make(venv)
    tmp, found, todo = Path(tempfile.mkdtemp()), {}, []
    for script, env, body, kind, accept in cases():
        folder = tmp/script.replace(' ', '_')
        (folder/'code').mkdir(parents=True, exist_ok=True)
        (folder/'code'/'inference.py').write_text(SCRIPTS[script])
        todo.append(dict(script=script, model_dir=str(folder), body=base64.b64encode(body).decode(), kind=kind, accept=accept, env=env))
    # PYTHONPATH: a script that raises the toolkit's own error needs the toolkit, wherever it runs
    theirs = answers(venv/'bin/python', THEIRS, todo)
    ours = answers(sys.executable, OURS, todo, PYTHONPATH=str(next((venv/'lib').glob('python*'))/'site-packages'))
    for o, x, y in zip(todo, theirs, ours, strict=True):
        for d in same(x, y): found.setdefault(d, []).append(f"{o['script']}: {o['kind']} -> {o['accept']}: {base64.b64decode(o['body'])[:20]}")
    for d, where in found.items(): print(f'{d}: {len(where)} of {len(todo)}: {DIFFERENT.get(d, "UNEXPECTED: " + "; ".join(where))}')
    unexpected = found.keys()-DIFFERENT.keys()
    print(f'{len(todo)} requests, {len(unexpected)} differences without a reason')
    return 1 if unexpected else 0


if __name__ == '__main__': sys.exit(main())
