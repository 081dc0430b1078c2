"""HDF5 data sets: equal to folders, packed and unpacked, at scale, and decoded once

    python benchmarks/data.py [same] [packing] [scale] [cache]      (default: all)

same: dogs120 as HDF5 and the same photos as files: hash, epochs, features and predictions agree. packing: dogs10
packed, killed, resumed, unpacked, and sent to an S3 of moto's in another process, loose and packed. scale: a drawn set
of 401,059 small JPEGs, listed, sampled and trained on. cache: an epoch that decodes against the next.
`same` and `packing` need the measuring data (DOGBREED_SHARED). Seconds are wall clock; `cpu_s` is what the process itself computed."""

import json, os, signal, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from pathlib import Path

from rows import append_row

RESULTS = Path(__file__).parent / "results"
SHARED = Path(os.environ.get("DOGBREED_SHARED", "../shared"))
SMALL = dict(image_size=64, batch_size=64, freeze_epochs=2, epochs=0, lr=3e-3, seed=7, debugger="off", profiler="off", report="off", hidden_units=128)


def report(name, **row):
    append_row(RESULTS / f"data_{name}.csv", row)
    print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def timed(f, *args, **kw):
    t = time.perf_counter()
    out = f(*args, **kw)
    return out, round(time.perf_counter() - t, 2)


def peak_mb(pid):
    "Most memory a process has had; getrusage would count its parent's before exec"
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) // 1024


def tree(root):
    return {f.relative_to(root).as_posix(): f.read_bytes() for f in sorted(Path(root).rglob("*")) if f.is_file()}


def train(data, out, **hps):
    "One training in a process of its own; its record"
    args = [o for k, v in hps.items() for o in (f"--{k}", str(v))]
    subprocess.run(
        [sys.executable, "-m", "dogbreed_sm.train", "--data", str(data), "--out", str(out), *args],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return json.loads((out / "data" / "run.json").read_text())


def searched(data, tmp, weights):
    "Three trials on the features of a data set: their objectives, in the order of their starts"
    from dogbreed_sm.session import Session
    from dogbreed_sm.spaces import Continuous, Space
    from dogbreed_sm.tuner import tune

    settings = dict(image_size=SMALL["image_size"], epochs=3, freeze_epochs=0, views=0, hidden_units="none")
    with Session.local(tmp) as session:
        space = Space(lr=Continuous(1e-4, 1e-1, scaling="Logarithmic"))
        job = tune(session, data, space, hyperparameters=settings, weights=weights, max_jobs=3, max_parallel=1, strategy="Random", seed=1, log=None)
        return job.results()[["lr", "objective"]].to_numpy().tolist()


def same(tmp):
    import pandas as pd
    from dogbreed_sm.artifact import load_model
    from dogbreed_sm.data import find_photos
    from dogbreed_sm.evaluate import evaluate_artifact
    from dogbreed_sm.packing import unpack

    packed = SHARED / "data" / "dogs120"
    folder, unpack_s = timed(unpack, packed, tmp / "folders")
    weights = SHARED / "weights" / "resnet18_dogs110.pth"
    runs = {k: train(d, tmp / k, weights=weights, **SMALL) for k, d in (("hdf5", packed), ("files", folder))}
    a, b = runs["hdf5"], runs["files"]
    stores = {k: train(d, tmp / f"{k}_features", weights=weights, **SMALL | dict(features="only", views=0)) for k, d in (("hdf5", packed), ("files", folder))}
    arrays = [(tmp / f"{k}_features" / "model" / "train.bin").read_bytes() for k in stores]
    model = load_model(tmp / "hdf5" / "model")
    evs = [evaluate_artifact(model, find_photos(d), "test", log=lambda s: None) for d in (packed, folder)]
    tuned = [searched(d, tmp / f"sagemaker_{k}", weights) for k, d in (("hdf5", packed), ("files", folder))]
    history = [pd.read_csv(tmp / k / "data" / "history.csv").drop(columns="images_per_second", errors="ignore") for k in runs]
    report(
        "same",
        photos=len(find_photos(packed)),
        unpack_s=unpack_s,
        same_hash=a["data_hash"] == b["data_hash"],
        test_accuracy_hdf5=round(a["metrics"]["test:accuracy"], 5),
        test_accuracy_files=round(b["metrics"]["test:accuracy"], 5),
        largest_difference=max(abs(a["metrics"][k] - b["metrics"][k]) for k in a["metrics"]),
        same_history=bool(history[0].equals(history[1])),
        same_features=arrays[0] == arrays[1],
        same_trials=tuned[0] == tuned[1],
        best_trial=round(max(o for _, o in tuned[0]), 5),
        same_predictions=bool((evs[0].photos.probability.values == evs[1].photos.probability.values).all()),
        decode_s_hdf5=a["seconds"]["decode"],
        decode_s_files=b["seconds"]["decode"],
    )


_PACK = "import sys; from pathlib import Path; from dogbreed_sm.packing import pack; pack(Path(sys.argv[1]), sys.argv[2])"


def packing(tmp):
    from moto.server import ThreadedMotoServer  # noqa: F401 (an early word where it is missing)
    from dogbreed_sm.packing import pack, unpack
    from dogbreed_sm.storage import Storage, s3_client

    dogs, out = SHARED / "data" / "dogs10", tmp / "killed" / "dogs10.hdf5"
    for f in ("train", "valid", "test"):
        tree(dogs / f)  # everything in the page cache
    photos = {k: v for k, v in tree(dogs).items() if "/" in k}
    child = subprocess.Popen([sys.executable, "-c", _PACK, str(dogs), str(out)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (parts := list(out.parent.glob(".*.parts/0*"))) and time.monotonic() < until:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = [f.name for f in out.parent.glob("dogs10*")]
    _, resumed_s = timed(pack, dogs, out)
    file, pack_s = timed(pack, dogs, tmp / "whole" / "dogs10.hdf5")
    folder, unpack_s = timed(unpack, out, tmp / "again")
    identical = tree(folder) == photos
    port, keys = 5791, dict(aws_access_key_id="k", aws_secret_access_key="s")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        s3 = s3_client(f"http://127.0.0.1:{port}", "us-east-1", **keys)
        for _ in range(200):
            try:
                s3.create_bucket(Bucket="dogs")
                break
            except Exception:
                time.sleep(0.1)
        storage = Storage(s3)
        loose_s = min(timed(lambda i=i: storage.upload(folder, f"s3://dogs/loose{i}"))[1] for i in range(2))
        packed_s = min(timed(lambda i=i: storage.upload(file.parent, f"s3://dogs/packed{i}"))[1] for i in range(2))
    finally:
        server.kill()
        server.wait()
    report(
        "packing",
        photos=len(photos),
        megabytes=round(sum(map(len, photos.values())) / 1e6, 1),
        pack_s=pack_s,
        killed_with_parts=len(parts),
        left_under_its_name=len(left),
        resumed_s=resumed_s,
        unpack_s=unpack_s,
        byte_identical=identical,
        upload_loose_s=loose_s,
        upload_packed_s=packed_s,
        ratio=round(loose_s / packed_s, 1),
        ratio_with_packing=round(loose_s / (packed_s + pack_s), 1),
    )


def draw_large(folder, n):
    "`n` rows over 64 small pictures, one in a thousand positive, 1,042 patients"
    import csv, io, random
    import h5py
    import numpy as np
    from PIL import Image
    from dogbreed_sm.packing import _put

    rng, rnd, pictures = np.random.default_rng(0), random.Random(0), []
    for _ in range(64):
        buf = io.BytesIO()
        Image.fromarray(rng.integers(60, 190, (8, 8, 3), dtype=np.uint8)).resize((64, 64)).save(buf, "JPEG")
        pictures.append(buf.getvalue())
    folder.mkdir()
    with h5py.File(folder / "train-image.hdf5", "w") as f, open(folder / "train-metadata.csv", "w", newline="") as t:
        w = csv.writer(t)
        w.writerow(["isic_id", "target", "patient_id", "age_approx", "sex", "anatom_site_general", *(f"tbp_lv_{i}" for i in range(40))])
        for i in range(n):
            _put(f, f"ISIC_{i:07d}", pictures[i % 64] + b"%d" % i)  # what follows the end of a JPEG is nobody's business, and makes each another file
            w.writerow(
                [f"ISIC_{i:07d}", int(rnd.random() < 0.001), f"IP_{rnd.randrange(1042):07d}", 60, "male", "torso", *(f"{rnd.random():.6f}" for _ in range(40))]
            )
    return folder


_LOOK = """
import json, sys, time
import pandas
from dogbreed_sm.data import find_photos
from dogbreed_sm.packing import sample
t, c = time.perf_counter(), time.process_time()
photos = find_photos(sys.argv[1])
t1, c1 = time.perf_counter(), time.process_time()
s = sample(photos, 1000)
t2, c2 = time.perf_counter(), time.process_time()
torn = photos.table.groupby('group').split.nunique().max()
print(json.dumps(dict(rows=len(photos), index_s=round(t1-t, 2), index_cpu_s=round(c1-c, 2),
    sample_s=round(t2-t1, 2), sample_cpu_s=round(c2-c1, 2), sample=len(s), positive=int((photos.table.folder=='1').sum()),
    positive_in_sample=int((s.table.folder=='1').sum()), splits_of_a_patient=int(torn),
    rss_mb=int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])//1024)))
"""


def scale(tmp, n=401_059, keep=None):
    data = Path(keep) if keep else tmp / "large"
    _, built_s = timed(draw_large, data, n) if not data.exists() else (data, 0)
    looks = [json.loads(subprocess.run([sys.executable, "-c", _LOOK, str(data)], check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    best = min(looks, key=lambda o: o["index_s"])
    t = time.perf_counter()
    args = [
        "--weights",
        "none",
        "--image-size",
        "32",
        "--batch-size",
        "64",
        "--freeze-epochs",
        "0",
        "--epochs",
        "1",
        "--sample",
        "1000",
        "--debugger",
        "off",
        "--profiler",
        "off",
        "--report",
        "off",
    ]
    p = subprocess.Popen(
        [sys.executable, "-m", "dogbreed_sm.train", "--data", str(data), "--out", str(tmp / "run"), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    first = next((time.perf_counter() - t for line in p.stdout if line.startswith('{"epoch"')), None)
    rss = peak_mb(p.pid)
    p.communicate()
    seconds = json.loads((tmp / "run" / "data" / "run.json").read_text())["seconds"]
    report(
        "scale",
        **best,
        built_s=built_s,
        file_mb=round((data / "train-image.hdf5").stat().st_size / 1e6),
        csv_mb=round((data / "train-metadata.csv").stat().st_size / 1e6),
        training_exit=p.returncode,
        start_s=seconds["start"],
        list_sample_decode_s=seconds["decode"],
        first_epoch_after_s=round(first, 1),
        training_rss_mb=rss,
    )


def cache(tmp, breeds=6, per_breed=80):
    import numpy as np
    from dogbreed_sm.cache import Pixels, decode_once
    from dogbreed_sm.images import short_side
    from dogbreed_sm.learner import dog_learner
    from dogbreed_sm.loaders import dog_dls

    real = SHARED / "data" / "dogs10"
    if not real.exists():
        from dogbreed_sm.draw import sample_dogs

        real = sample_dogs(tmp / "drawn", breeds=breeds, per_breed=per_breed)
    weights = SHARED / "weights" / "resnet18_dogs110.pth"
    quiet = lambda s: None
    for size in (64, 128):
        t = time.perf_counter()
        pixels = decode_once(real, short_side(size), tmp / f"cache{size}", log=quiet)
        learn = dog_learner(dog_dls(pixels, size), weights=str(weights) if weights.exists() else "none")
        learn.freeze()
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
        first = time.perf_counter() - t
        with learn.no_bar(), learn.no_logging():
            later = [timed(learn.fit, 1)[1] for _ in range(2)]
            live = Pixels(pixels.photos, pixels.short, pixels.data_hash)
            uncached = dog_learner(dog_dls(live, size), weights=str(weights) if weights.exists() else "none")
            uncached.freeze()
            with uncached.no_bar(), uncached.no_logging():
                on_the_fly = timed(uncached.fit, 1)[1]
        worst = max(int(np.abs(pixels[i].astype(int) - live[i]).max()) for i in range(0, len(live), 10))
        report(
            "cache",
            data=real.name,
            network="resnet18, frozen body",
            size=size,
            photos=len(pixels),
            first_epoch_s=round(first, 2),
            second_epoch_s=min(later),
            ratio=round(first / min(later), 2),
            epoch_without_cache_s=on_the_fly,
            ratio_to_uncached=round(on_the_fly / min(later), 2),
            largest_pixel_difference=worst,
        )


def main():
    p = ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("parts", nargs="*", metavar="part", help="same, packing, scale, cache (default: all)")
    p.add_argument("--rows", type=int, default=401_059, help="of the large set (default: %(default)s)")
    p.add_argument("--keep", metavar="DIR", help="where the large set stays, and is taken from if it is there")
    a = p.parse_args()
    todo = dict(same=same, packing=packing, scale=lambda tmp: scale(tmp, a.rows, a.keep), cache=cache)
    if unknown := set(a.parts) - set(todo):
        p.error(f"no such part: {', '.join(unknown)}")
    for name in a.parts or todo:
        if name in ("same", "packing") and not (SHARED / "data").exists():
            print(f"{name}: the measuring data are not here")
            continue
        with tempfile.TemporaryDirectory() as tmp:
            os.environ["DOGBREED_CACHE"] = f"{tmp}/cache"
            todo[name](Path(tmp))


if __name__ == "__main__":
    main()
