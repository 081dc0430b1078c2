"""JPEG decoders on the same photos: seconds of one thread and the difference of their pixels to Pillow's

    python benchmarks/decoders.py --data ../shared/data/dogs10 --photos 300 --rounds 5

Contestants take turns photo by photo; in each round the order changes. `ratio` is Pillow's seconds over the contestant's in the same round, the median of
the rounds.
`short` rows measure what a cache does: decode and shrink to a short side of 256 px. Decoders that are not installed are named and left out
(`pip install simplejpeg PyTurboJPEG`; the second also needs the system's libturbojpeg, or its path in TURBOJPEG, of 3.0 or later for PyTurboJPEG 2). Rows
go to benchmarks/results/decoders.csv."""

import argparse
import os
import random
import time
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from rows import append_row

from dogbreed_sm.images import shrink

SHARED = Path(os.environ.get('DOGBREED_SHARED') or Path(__file__).resolve().parents[2]/'shared')
RESULTS = Path(__file__).parent/'results'/'decoders.csv'
SHORT = 256


# Bytes of a JPEG to an array `(h,w,3)` uint8

def pillow(data):
    return np.asarray(Image.open(BytesIO(data)).convert('RGB'))


def pillow_draft(data):
    "At a fraction of the size, where twice the short side allows it"
    img = Image.open(BytesIO(data))
    img.draft('RGB', (2*SHORT, 2*SHORT))
    return np.asarray(img.convert('RGB'))


def pillow_draft_once(data):
    "The same down to the short side itself: faster, and softer than shrinking"
    img = Image.open(BytesIO(data))
    img.draft('RGB', (SHORT, SHORT))
    return np.asarray(img.convert('RGB'))


def contestants():
    "Name to function; the first is the reference"
    found, missing = {'pillow': pillow, 'pillow draft 2x': pillow_draft, 'pillow draft 1x': pillow_draft_once}, []
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg
        torch.set_num_threads(1)
        found['torchvision.io'] = lambda d: decode_jpeg(torch.frombuffer(bytearray(d), dtype=torch.uint8), ImageReadMode.RGB).permute(1, 2, 0).numpy()
    except ImportError: missing.append('torchvision')
    try:
        from simplejpeg import decode_jpeg as simple
        found['simplejpeg'] = lambda d: simple(d, 'RGB')
        found['simplejpeg 2x'] = lambda d: simple(d, 'RGB', min_height=2*SHORT, min_width=2*SHORT)
        found['simplejpeg fast'] = lambda d: simple(d, 'RGB', fastdct=True, fastupsample=True)
    except ImportError: missing.append('simplejpeg')
    try:
        import turbojpeg
        tj = turbojpeg.TurboJPEG(os.environ.get('TURBOJPEG'))
        found['PyTurboJPEG'] = lambda d: tj.decode(d, pixel_format=turbojpeg.TJPF_RGB)
    except (ImportError, RuntimeError, OSError): missing.append('PyTurboJPEG or libturbojpeg')
    if missing: print('left out, not installed:', ', '.join(missing))
    return found


def shrunk(f):
    "`f`, then what the cache keeps"
    return lambda d: np.asarray(shrink(Image.fromarray(f(d)), SHORT))


def difference(a, b):
    "Largest and mean absolute difference, grey levels; `None` where the sizes differ"
    if a.shape != b.shape: return None, None
    d = np.abs(a.astype(np.int16)-b)
    return int(d.max()), float(d.mean())


def detects(f, data):
    "Whether a photo that lost its second half is an error"
    try: f(data[:len(data)//2])
    except Exception: return True
    return False


def measure(photos, rounds, what, fs):
    "A row per contestant"
    names, ratios, seconds = list(fs), defaultdict(list), defaultdict(list)
    for r in range(rounds):
        spent, order = dict.fromkeys(names, 0.), random.Random(r).sample(names, len(names))
        for d in photos:
            for n in order:
                t = time.perf_counter()
                fs[n](d)
                spent[n] += time.perf_counter()-t
        for n in names:
            seconds[n].append(spent[n])
            ratios[n].append(spent[names[0]]/spent[n])
    for n in names:
        diffs = [difference(fs[names[0]](d), fs[n](d)) for d in photos]
        same = [d for d in diffs if d[0] is not None]
        yield dict(what=what, decoder=n, photos=len(photos), rounds=rounds, ms=round(1000*median(seconds[n])/len(photos), 3), ratio=round(median(ratios[n]), 3),
            ratio_min=round(min(ratios[n]), 3), max_difference=max((d[0] for d in same), default=''), mean_difference=round(sum(d[1] for d in same)/len(same),
                4) if same else '',
            other_size=len(diffs)-len(same), truncation_is_error=detects(fs[n], photos[0]), load_before=round(os.getloadavg()[0], 2))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, default=SHARED/'data'/'dogs10')
    p.add_argument('--photos', type=int, default=200)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--sizes', type=int, nargs='*', default=[1600], help='the same photos enlarged to this long side too, px')
    a = p.parse_args()
    if not a.data.is_dir(): raise SystemExit(2)
    files = random.Random(0).sample(sorted(a.data.rglob('*.jpg')), a.photos)
    own = [f.read_bytes() for f in files]
    fs = contestants()
    for size in [None, *a.sizes]:
        photos = own if size is None else [enlarged(d, size) for d in own[::8]]
        label = 'as they are' if size is None else f'{size} px'
        for what, use in ((f'decode, {label}', fs), (f'decode and shrink to {SHORT}, {label}', {n: shrunk(f) for n, f in fs.items()})):
            for row in measure(photos, a.rounds, what, use):
                print(row)
                append_row(RESULTS, row)


def enlarged(data, size):
    img = Image.open(BytesIO(data)).convert('RGB')
    k = size/max(img.size)
    out = BytesIO()
    img.resize((round(img.width*k), round(img.height*k))).save(out, 'JPEG', quality=90)
    return out.getvalue()


if __name__ == '__main__': main()
