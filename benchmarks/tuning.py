"""How long a search takes: trials on features as jobs of the local SageMaker, against a plain script's trials.

  python benchmarks/tuning.py heads   --data PHOTOS.hdf5|DIR --weights FILE   12 trials of 10 epochs, and what 6, 12, 24, 48 more cost
  python benchmarks/tuning.py best    --data DIR --weights FILE               24 trials and retrain(), three seeds
  python benchmarks/tuning.py staged  --data PHOTOS.hdf5|DIR --weights FILE   maps of layer 3, layer 4 and the head on them, in short trials; a long retraining
  python benchmarks/tuning.py seeds   --data DIR --weights FILE               each seed's space, with few and small epochs

The plain script does what the seeds do: ImageFolder at 224 px, a frozen ResNet18, a new head, every photo through
the whole network in every epoch. One of its trials is trained in the same run, with the best settings found; a search of it is that, multiplied.
Rows go to results/tuning_*.csv.
"""

import argparse, os, sys, tempfile, time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as 00_core sets it before torch is loaded
sys.path.insert(0, str(Path(__file__).resolve().parent))
from accuracy import unpacked
from rows import append_row

RESULTS = Path(__file__).resolve().parent / "results"

HEADS = dict(hidden_units=(64, 1024), dropout=(0.0, 0.7), lr=(1e-4, 3e-2), optimizer=("adamw", "sgd", "adam"))


def space():
    from dogbreed_sm.spaces import Categorical, Continuous, Integer, Space

    h = HEADS
    return Space(
        hidden_units=Integer(*h["hidden_units"], scaling="Logarithmic"),
        dropout=Continuous(*h["dropout"]),
        lr=Continuous(*h["lr"], scaling="Logarithmic"),
        optimizer=Categorical(h["optimizer"]),
    )


def folders(data, dest):
    "The photos as folders, which the plain script reads"
    return Path(data) if (Path(data) / "train").is_dir() else unpacked(Path(data), dest)


class Plain:
    "A frozen ResNet18 with a new head, every epoch through the whole network"

    def __init__(self, folder, weights, batch_size=64):
        import torch, torchvision
        from torchvision import datasets, transforms as T

        norm = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        train = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), norm])
        evals = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), norm])
        sets = [datasets.ImageFolder(folder / s, t) for s, t in (("train", train), ("valid", evals))]
        self.train, self.valid = (torch.utils.data.DataLoader(d, batch_size, shuffle=i == 0, num_workers=2) for i, d in enumerate(sets))
        self.classes = sets[0].classes
        self.weights = {k: v for k, v in torch.load(weights, weights_only=True, map_location="cpu").items() if not k.startswith("fc")}
        self.net = torchvision.models.resnet18()

    def head(self, hidden_units, dropout, lr, optimizer):
        import torch
        from torch import nn

        self.net.load_state_dict(self.weights, strict=False)
        for p in self.net.parameters():
            p.requires_grad_(False)
        self.net.fc = nn.Sequential(nn.Linear(512, hidden_units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_units, len(self.classes)))
        make = dict(adam=torch.optim.Adam, adamw=torch.optim.AdamW, sgd=lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9))[optimizer]
        self.opt, self.loss = make(self.net.fc.parameters(), lr=lr), nn.CrossEntropyLoss()

    def epoch(self):
        "Train and validate once; seconds and accuracy"
        import torch

        t = time.perf_counter()
        self.net.train()
        for x, y in self.train:
            self.opt.zero_grad()
            self.loss(self.net(x), y).backward()
            self.opt.step()
        self.net.eval()
        with torch.no_grad():
            right = sum(int((self.net(x).argmax(1) == y).sum()) for x, y in self.valid)
        return time.perf_counter() - t, right / len(self.valid.dataset)


def search(session, data, weights, jobs, epochs=10, cold=True, **kw):
    "A whole search, extraction and job overheads included; seconds and the tuning job"
    from dogbreed_sm.tuner import tune

    t = time.perf_counter()
    job = tune(
        session,
        data,
        space(),
        hyperparameters=dict(epochs=epochs, freeze_epochs=0, batch_size=64, views=kw.pop("views", 0), label_smoothing=0.0, weight_decay=0.01),
        weights=weights,
        max_jobs=jobs,
        max_parallel=2,
        early_stopping="Off",
        log=None,
        **{"seed": 1, **kw},
    )
    return time.perf_counter() - t, job


def outcome(job):
    "What a search found, as columns"
    r = job.results()
    return dict(best_valid=job.best_value, best=str(job.best), trial_s=r.seconds.median(), failed=int((r.status != "Completed").sum()))


def heads(a):
    from dogbreed_sm.session import Session

    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        photos = folders(a.data, tmp / "photos")
        plain = Plain(photos, a.weights)
        os.environ["DOGBREED_CACHE"] = str(tmp / "cache")
        with Session.local(tmp / "sagemaker", preload=True) as session:
            ours, job = search(session, photos, a.weights, a.jobs)  # nothing is there yet: it decodes, extracts, and loads its libraries
            print(a.jobs, "trials, extraction included:", round(ours, 1), "s", flush=True)
            row = dict(trials=a.jobs, epochs=10, ours_s=ours) | outcome(job)
            for jobs in a.growth:
                row[f"warm_{jobs}"], _ = search(session, photos, a.weights, jobs)
                print(jobs, "trials on features that are there:", round(row[f"warm_{jobs}"], 1), "s", flush=True)
        plain.head(**job.best)
        timed = [plain.epoch() for _ in range(a.plain_epochs)]
        print("plain epochs:", [round(s, 1) for s, _ in timed], "s", flush=True)
        row["plain_epoch_s"] = sum(s for s, _ in timed) / len(timed)
        row |= dict(plain_valid=max(v for _, v in timed), plain_epochs=len(timed), ratio=row["plain_epoch_s"] * 10 * a.jobs / row["ours_s"])
        append_row(RESULTS / "tuning_heads.csv", dict(data=Path(a.data).name, **row))


def best(a):
    from dogbreed_sm.session import Session

    with tempfile.TemporaryDirectory() as tmp:
        os.environ["DOGBREED_CACHE"] = f"{tmp}/cache"
        with Session.local(Path(tmp) / "sagemaker", preload=True) as session:
            for seed in a.seeds:
                t = time.perf_counter()
                _, job = search(session, Path(a.data), a.weights, 24, views=2, seed=seed)
                found = time.perf_counter() - t
                final = job.retrain(log=None)
                append_row(
                    RESULTS / "tuning_best.csv",
                    dict(
                        data=Path(a.data).name,
                        seed=seed,
                        trials=24,
                        search_s=found,
                        ours_s=time.perf_counter() - t,
                        best_valid=job.best_value,
                        test=final.final_metrics["test:accuracy"],
                        best=str(job.best),
                    ),
                )


def staged(a):
    from dogbreed_sm.session import Session
    from dogbreed_sm.spaces import Continuous, Space
    from dogbreed_sm.tuner import tune

    wide = Space(
        lr=Continuous(1e-3, 1e-2, scaling="Logarithmic"),
        weight_decay=Continuous(0.02, 0.5, scaling="Logarithmic"),
        dropout=Continuous(0, 0.6),
    )
    more = {"label_smoothing": Continuous(0, 0.2)}
    t = time.perf_counter()
    with tempfile.TemporaryDirectory() as tmp:
        os.environ["DOGBREED_CACHE"] = f"{tmp}/cache"
        with Session.local(Path(tmp) / "sagemaker", preload=True) as session:
            job = tune(
                session,
                folders(a.data, Path(tmp) / "photos"),
                [wide, more],
                hyperparameters=dict(cut="layer3", views=a.views, unfreeze="layer4", freeze_epochs=0, epochs=a.epochs, hidden_units="none", blend=0.0),
                weights=a.weights,
                max_jobs=a.jobs,
                max_parallel=2,
                seed=1,
                log=print,
            )
            found = time.perf_counter() - t
            print(job.results(earlier=True).to_string(), flush=True)
            final = job.retrain(hyperparameters=dict(epochs=a.final_epochs), log=print)
            append_row(
                RESULTS / "tuning_staged.csv",
                dict(
                    data=Path(a.data).name,
                    trials=len(job.results(earlier=True)),
                    epochs=a.epochs,
                    views=a.views,
                    final_epochs=a.final_epochs,
                    search_s=found,
                    ours_s=time.perf_counter() - t,
                    best_valid=job.best_value,
                    test=final.final_metrics["test:accuracy"],
                    best=str(job.best),
                ),
            )


def seeds(a):
    from dogbreed_sm.session import Session
    from dogbreed_sm.spaces import SPACES
    from dogbreed_sm.tuner import tune

    with tempfile.TemporaryDirectory() as tmp:
        os.environ["DOGBREED_CACHE"] = f"{tmp}/cache"
        with Session.local(Path(tmp) / "sagemaker", preload=True) as session:
            for name, s in SPACES.items():
                metric = "valid:loss" if name == "seed_004" else "valid:accuracy"
                t = time.perf_counter()
                job = tune(session, Path(a.data), name, metric, hyperparameters=dict(views=0, freeze_epochs=0), weights=a.weights, max_jobs=4, seed=1, log=None)
                r = job.results()
                assert len(r) == 4 and r.status.isin(["Completed", "Stopped"]).all(), r
                assert job.best_value == (r.objective.max() if job.maximize else r.objective.min())
                print(name, metric, "\n", r[[*s, "objective", "epochs_run", "seconds"]].to_string(), flush=True)
                append_row(
                    RESULTS / "tuning_seeds.csv",
                    dict(data=Path(a.data).name, space=name, trials=len(r), ours_s=time.perf_counter() - t, best_valid=job.best_value, best=str(job.best)),
                )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("heads", "best", "staged", "seeds"))
    p.add_argument("--data", required=True)
    p.add_argument("--weights", required=True)
    p.add_argument("--jobs", type=int, default=12)
    p.add_argument("--growth", type=int, nargs="*", default=[6, 12, 24, 48])
    p.add_argument("--plain-epochs", type=int, default=10, help="of the plain script's trial; with fewer, its accuracy says little")
    p.add_argument("--epochs", type=int, default=8, help="epochs of a trial of a staged search")
    p.add_argument("--final-epochs", type=int, default=18, help="epochs of the retraining after a staged search")
    p.add_argument("--views", type=int, default=3)
    p.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    a = p.parse_args()
    globals()[a.what](a)


if __name__ == "__main__":
    main()
