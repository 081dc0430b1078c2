"""smdebug by itself, without this package: tell what it reads in a folder, and write a trial of its own

    python look.py WORK      # WORK/data holds debug/ and profiler/; gets theirs/ (a trial) and told.json
"""
import json, logging, sys
from pathlib import Path

import torch
from facts import digest, events, frame
from smdebug import ReductionConfig, SaveConfig, modes
from smdebug.exceptions import TensorUnavailableForStep
from smdebug.profiler.analysis.utils.profiler_data_to_pandas import PandasFrame
from smdebug.pytorch import Hook
from smdebug.trials import create_trial

STATS = ('min', 'max', 'mean', 'variance', 'l2')


def saved(t, step):
    "What was saved of a tensor at a step: the whole, or reductions"
    try: return digest(t.value(step))
    except TensorUnavailableForStep: pass
    found = {}
    for name in STATS:
        for absolute in (False, True):
            try: found[('abs_' if absolute else '')+name] = float(t.reduction_value(step, name, abs=absolute))
            except TensorUnavailableForStep: pass
    return found


def trial(folder):
    "Modes and steps of a trial, and what was saved"
    t = create_trial(str(folder))
    steps = {s: [t.mode(s).name, t.mode_step(s)] for s in t.steps()}
    return dict(steps=steps, tensors={n: {s: saved(t.tensor(n), s) for s in t.tensor(n).steps()} for n in t.tensor_names()})


def write(folder):
    "A small training, saved by smdebug's own hook: wholes of some tensors, reductions of others"
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    hook = Hook(out_dir=str(folder), save_config=SaveConfig(save_interval=2), include_collections=['weights', 'gradients', 'losses', 'relu_output'],
        reduction_config=ReductionConfig(reductions=['min', 'max', 'mean'], abs_reductions=['mean'], norms=['l2']))
    hook.register_module(net)
    loss = torch.nn.CrossEntropyLoss()
    hook.register_loss(loss)
    opt = torch.optim.SGD(net.parameters(), .1)
    for _ in range(3):
        for mode, n in ((modes.TRAIN, 6), (modes.EVAL, 3)):
            hook.set_mode(mode)
            for _ in range(n):
                value = loss(net(torch.randn(5, 4)), torch.randint(0, 3, (5,)))
                if mode == modes.TRAIN: opt.zero_grad(); value.backward(); opt.step()
    hook.close()


if __name__ == '__main__':
    logging.disable(logging.WARNING)
    work = Path(sys.argv[1])
    write(work/'theirs')
    p = PandasFrame(str(work/'data'/'profiler'))
    told = dict(python=sys.version.split()[0], ours=trial(work/'data'/'debug'), theirs=trial(work/'theirs'),
        system=frame(p.get_all_system_metrics()), framework=frame(events(p.get_all_framework_metrics())))
    (work/'told.json').write_text(json.dumps(told))
