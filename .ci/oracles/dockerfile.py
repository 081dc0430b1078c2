"""Repeats the steps of the Dockerfile in a fresh virtual environment, starts its entry point, and asks it what SageMaker asks

A stand-in for `docker build` and `docker run` where there is no Docker: the folders of the image lie under VENV/image, `pip` and
`python` are the environment's, and what SageMaker would mount at /opt/ml/model is named by SM_MODEL_DIR."""
import json, os, re, shlex, shutil, socket, subprocess, sys, time
from argparse import ArgumentParser
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PHOTO = bytes.fromhex('424d46000000000000003600000028000000020000000200000001001800000000001000000013000000130b0000000000000000000000'
                      '00ff00ff0000000000ffffff0000')  # a BMP of 2 × 2 px
MODEL = '''
import sys
from dogbreed_sm.artifact import save_artifact
from dogbreed_sm.resnet import build_resnet
save_artifact(build_resnet(2).eval(), sys.argv[1], ['001.Beagle', '002.Pug'], image_size=64)
'''
TRAINING = 'import importlib.util as u; print([o for o in ("fastai", "pandas", "boto3") if u.find_spec(o)])'
SCRIPT = 'def model_fn(model_dir): return 1\ndef predict_fn(x, model): return x+model\n'


def instructions(text):
    "Instruction and arguments of each step of a Dockerfile"
    lines = [o for o in text.splitlines() if o.strip() and not o.lstrip().startswith('#')]
    for step in re.sub(r'\\\n', ' ', '\n'.join(lines)).split('\n'):
        word, _, rest = step.strip().partition(' ')
        yield word.upper(), rest.strip()


class Image:
    "What a Dockerfile makes, in a virtual environment"
    def __init__(self, venv):
        self.venv, self.root, self.env, self.command = venv, venv/'image', {}, {}
        self.python, self.cwd = venv/'bin'/'python', self.root

    def place(self, path):
        "Where a path of the image lies"
        return self.root/path.lstrip('/') if path.startswith('/') else self.cwd/path

    def build(self, text):
        "Carry out every step"
        for word, rest in instructions(text):
            step = getattr(self, f'do_{word.lower()}', None)
            if step is None: sys.exit(f"{word} {rest}: this step can't be repeated without Docker")
            print(f'{word} {rest}', flush=True)
            step(rest)
        return self

    def do_from(self, rest):
        version = re.search(r'python:(3\.\d+)', rest)[1]
        uv = shutil.which('uv')
        subprocess.run([uv, 'venv', '-q', '-p', version, self.venv] if uv else [sys.executable, '-m', 'venv', self.venv], check=True)
        found = subprocess.run([self.python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], capture_output=True, text=True).stdout.strip()
        if found != version: sys.exit(f'the image has Python {version}, but this is {found}')

    def do_label(self, rest): pass
    def do_arg(self, rest): pass
    def do_expose(self, rest): self.port = rest
    def do_env(self, rest): self.env |= dict(o.split('=', 1) for o in shlex.split(rest))
    def do_entrypoint(self, rest): self.command['entry'] = json.loads(rest)
    def do_cmd(self, rest): self.command['cmd'] = json.loads(rest)

    def do_workdir(self, rest):
        self.cwd = self.place(rest)
        self.cwd.mkdir(parents=True, exist_ok=True)

    def do_copy(self, rest):
        *sources, dest = shlex.split(rest)
        for o in sources:
            src, to = ROOT/o, self.place(dest)
            if src.is_dir(): shutil.copytree(src, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
            else: shutil.copy(src, to/src.name if dest.endswith('/') else to)

    def do_run(self, rest):
        what = shlex.split(rest)
        if what[:2] != ['pip', 'install']: sys.exit(f'RUN {rest}: only pip install can be repeated without Docker')
        pip = ['uv', 'pip', 'install', '-p', str(self.python)] if shutil.which('uv') else [str(self.python), '-m', 'pip', 'install']
        subprocess.run([*pip, '-q', *what[2:]], cwd=self.cwd, check=True)

    def start(self, model_dir, port):
        "What `docker run` would start, with SageMaker's variables"
        program, *args = [*self.command['entry'], *self.command['cmd']]
        given = {'SM_MODEL_DIR': str(model_dir), 'SAGEMAKER_BIND_TO_PORT': str(port), 'OMP_NUM_THREADS': '1'}
        return subprocess.Popen([self.python if program == 'python' else program, *args], cwd=self.cwd, env={'PATH': os.environ['PATH'], **self.env, **given})


def ask(port, method, path, body=None, **headers):
    "Status and body of an answer; status 0 when nobody answers"
    c = HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        c.request(method, path, body, {k.replace('_', '-'): v for k, v in headers.items()})
        r = c.getresponse()
        return r.status, r.read()
    except OSError: return 0, b''
    finally: c.close()


def check(image, model_dir, requests):
    "Start the image with a model, send it requests, and end it; `(body, headers, status, text that the answer holds)` each"
    with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
    start, process = time.monotonic(), image.start(model_dir, port)
    try:
        while ask(port, 'GET', '/ping')[0] != 200:
            if process.poll() is not None or time.monotonic()-start > 120: sys.exit(f'the server did not become ready: exit code {process.poll()}')
            time.sleep(.1)
        print(f'/ping 200 after {time.monotonic()-start:.1f} s')
        for body, headers, status, text in requests:
            got, answer = ask(port, 'POST', '/invocations', body, **headers)
            print(f'/invocations {got} {answer.decode()[:120]}')
            if got != status or text not in answer.decode(): sys.exit(f'expected {status} and {text!r}')
    finally:
        process.terminate()
        code = process.wait(60)
    if code: sys.exit(f'the server ended with {code}')


def main():
    p = ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('venv', type=Path, help='virtual environment to make; must not exist')
    venv = p.parse_args().venv.absolute()
    if venv.exists(): sys.exit(f'{venv} exists already: name one that doesn\'t')
    image = Image(venv).build((ROOT/'Dockerfile').read_text())
    left = subprocess.run([image.python, '-c', TRAINING], cwd=venv, capture_output=True, text=True).stdout.strip()
    if left != '[]': sys.exit(f'the image has {left}, which serving has no use for')
    ours, own = venv/'models'/'ours', venv/'models'/'own'
    subprocess.run([image.python, '-c', MODEL, ours], cwd=venv, check=True)
    check(image, ours, [(PHOTO, {'content_type': 'image/bmp'}, 415, 'not accepted'), (PHOTO, {'content_type': 'application/x-image'}, 200, 'predicted_label')])
    (own/'code').mkdir(parents=True)
    (own/'code'/'inference.py').write_text(SCRIPT)
    check(image, own, [(b'[1, 2]', {'content_type': 'application/json'}, 200, '[2.0, 3.0]'), (b'dog', {'content_type': 'application/json'}, 400, 'no array')])
    print('the image serves')


if __name__ == '__main__': main()
