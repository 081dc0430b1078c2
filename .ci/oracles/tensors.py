"""Hold our files and our readers against smdebug, which has an environment of its own

    python .ci/oracles/tensors.py [ENVIRONMENT]      # make oracles

A training of this package writes tensors and a profile, smdebug alone writes a trial. Then both read both: names, modes, steps, reductions and
values of tensors, rows, sums and counts of the profiler's tables. Every difference is printed, and ends with exit code 1.
"""
import json, math, subprocess, sys, tempfile
from pathlib import Path

from run import HERE, environment
from smdebug_alone.facts import digest, events, frame

from dogbreed_sm.core import job_env, parse_hyperparameters
from dogbreed_sm.draw import sample_dogs
from dogbreed_sm.frames import framework_frame, system_frame
from dogbreed_sm.train import train
from dogbreed_sm.trial import REDUCTION, open_trial

NEEDS = ['smdebug==1.0.34', 'protobuf==3.20.3', 'numpy==1.26.4', 'pandas<3', 'requests', 'psutil', 'setuptools<81', 'torch']


def write(work):
    "Train a little with debugger and profiler on; the job's output"
    settings = dict(epochs=2, freeze_epochs=1, weights='none', image_size=32, train_size=32, batch_size=8, report='off',
        profiled_steps=1, profiler_interval=100, save_interval=2)
    dogs = sample_dogs(work/'dogs', breeds=3, per_breed=16, size=40)
    train(parse_hyperparameters(settings), dogs, job_env({}, out=work), None, lambda s: None)
    return work/'data'


def saved(t, name, step):
    "What was saved of a tensor at a step: the whole, or reductions"
    at = t._steps[step][3]
    if name in at: return digest(t.value(name, step))
    mine = [k.removeprefix(REDUCTION).split('/')[0] for k in at if k.startswith(REDUCTION) and k.endswith(f'/{name}')]
    return {k: t.stat(name, step, k) for k in mine}


def trial(folder):
    "Modes and steps of a trial, and what was saved"
    t = open_trial(folder)
    steps = {str(s): [t.mode(s), t.mode_step(s)] for s in t.steps()}
    return dict(steps=steps, tensors={n: {str(s): saved(t, n, s) for s in t.steps(name=n)} for n in t.names()})


def same(a, b):
    "Equal; numbers as far as float32 goes"
    if isinstance(a, dict) and isinstance(b, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float) and isinstance(b, float): return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    return a == b


def differences(what, ours, theirs):
    "Sentences"
    for s in ours['steps'].keys() ^ theirs['steps'].keys(): yield f'{what}: step {s} is seen by one only'
    for s in ours['steps'].keys() & theirs['steps'].keys():
        if ours['steps'][s] != theirs['steps'][s]: yield f"{what}: step {s} is {ours['steps'][s]} here, {theirs['steps'][s]} there"
    for n in ours['tensors'].keys() ^ theirs['tensors'].keys(): yield f'{what}: {n} is seen by one only'
    for n in ours['tensors'].keys() & theirs['tensors'].keys():
        a, b = ours['tensors'][n], theirs['tensors'][n]
        if a.keys() != b.keys(): yield f'{what}: {n} at steps {list(a)} here, {list(b)} there'
        yield from (f'{what}: {n} of step {s} is {a[s]} here, {b[s]} there' for s in a.keys() & b.keys() if not same(a[s], b[s]))


def tables(told, profiler):
    "Sentences about the profiler's tables"
    for what,ours in (('system', frame(system_frame(profiler))), ('framework', frame(events(framework_frame(profiler))))):
        for k in ours:
            if not same(ours[k], told[what][k]): yield f'{what}: {k} are {ours[k]} here, {told[what][k]} there'


def main():
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        data = write(work)
        python = environment(Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parents[1]/'.venv'/'oracles'/'smdebug'), NEEDS)/'python'
        subprocess.run([python, HERE/'smdebug_alone'/'look.py', work], check=True, stdout=subprocess.DEVNULL)
        told = json.loads((work/'told.json').read_text())
        mine, read = trial(data/'debug'), trial(work/'theirs')
        found = [*differences('our trial', mine, told['ours']), *differences("smdebug's trial", read, told['theirs']), *tables(told, data/'profiler')]
    for o in found[:40]: print(o)
    n = [sum(map(len, o['tensors'].values())) for o in (mine, read)]
    print(f"Python {told['python']}: {len(mine['steps'])} steps and {n[0]} saves of our trial, {len(read['steps'])} steps and {n[1]} saves of smdebug's, "
        f"{told['system']['rows']} samples, {told['framework']['rows']} events: {len(found)} differences")
    return int(bool(found))


if __name__ == '__main__': sys.exit(main())
