"""The audit: speed against fastai's verify_images, what each finds, memory over a folder of bombs, 2,000 mutated files, and how near near-duplicates are

    python benchmarks/audit.py                       # all parts
    python benchmarks/audit.py --only speed --rounds 7
    python benchmarks/audit.py --only mutated --files 200

Photos come from `data` of the folder that DOGBREED_SHARED names (else ../shared). Rows go to benchmarks/results/audit.csv, near-duplicates to
near_duplicates.csv.

speed: both read the same files, each in a process of its own that has imported what it needs, in turns; a ratio is of one round, `ratio` the median. Ours
opens the
file, checks it, computes checksum, perceptual hash, brightness and contrast; verify_images decodes it. Two processes for them, as many threads for us.
odd: which of the odd files is called bad by whom. memory: the peak of the resident memory (VmHWM) of a child process that audits a folder with every bomb
in it.
mutated: files cut anywhere and with flipped bits, each examined with a time limit. duplicates: distances of different photos, and of copies made from them."""

import argparse
import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from rows import append_row

SHARED = Path(os.environ.get('DOGBREED_SHARED') or Path(__file__).resolve().parents[2]/'shared')
RESULTS = Path(__file__).parent/'results'


# Speed

ALONE = dict(
    dogbreed='''
import sys, time
from pathlib import Path
from dogbreed_sm.inspection import examine_all
files = [str(f) for f in sorted(Path(sys.argv[1]).rglob('*.jpg'))]
go = lambda: sum(r['problem'] is not None for r in examine_all(files))
''', fastai='''
import sys, time, warnings
warnings.filterwarnings('ignore')
from pathlib import Path
from fastai.vision.utils import verify_images
files = sorted(Path(sys.argv[1]).rglob('*.jpg'))
go = lambda: len(verify_images(files))
''')
TURNS = '''
go()
print('ready', flush=True)
for _ in sys.stdin:
    t = time.perf_counter()
    bad = go()
    print(time.perf_counter()-t, bad, flush=True)
'''


def unpacked(name, tmp):
    "A folder of photos; those in an HDF5 file are written out first"
    folder = SHARED/'data'/name
    if not (folder/'images.hdf5').exists(): return folder
    import h5py
    with h5py.File(folder/'images.hdf5') as f, open(folder/'metadata.csv', newline='') as meta:
        for r in csv.DictReader(meta):
            to = tmp/name/r['split']/r['breed']/f"{r['image_id']}.jpg"
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(f[r['image_id']][()].tobytes())
    return tmp/name


def speed(a):
    with tempfile.TemporaryDirectory() as tmp:
        for name in ('dogs10', 'dogs120'):
            folder, load = unpacked(name, Path(tmp)), os.getloadavg()[0]
            procs = {k: subprocess.Popen([sys.executable, '-W', 'ignore', '-c', c+TURNS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True)
                for k, c in ALONE.items()}
            for p in procs.values(): p.stdout.readline()
            took = {k: [] for k in procs}
            for r in range(a.rounds):
                for k in (list(procs) if r%2 else list(procs)[::-1]):
                    procs[k].stdin.write('go\n')
                    procs[k].stdin.flush()
                    took[k].append(float(procs[k].stdout.readline().split()[0]))
            for p in procs.values(): p.stdin.close(); p.wait()
            ratios = [f/d for f, d in zip(took['fastai'], took['dogbreed'], strict=True)]
            yield dict(part='speed', data=name, photos=sum(1 for _ in folder.rglob('*.jpg')), seconds=round(median(took['dogbreed']), 2),
                fastai_seconds=round(median(took['fastai']), 2),
                ratio=round(median(ratios), 2), ratio_min=round(min(ratios), 2), ratio_max=round(max(ratios), 2),
                    detail=f'{a.rounds} rounds, load before {load:.1f}')


# What is found

def odd(a):
    from fastai.vision.utils import verify_image

    from dogbreed_sm.inspection import EXTENSIONS, examine
    root = SHARED/'data'/'odd_images'
    with open(root/'MANIFEST.csv', newline='') as f: files = [r['file'] for r in csv.DictReader(f)]
    ours, theirs = {}, {f for f in files if not verify_image(root/f)}
    for f in files:
        r = examine(str(root/f))
        misnamed = not r['problem'] and Path(f).suffix.lower() not in EXTENSIONS[r['format']]
        said = r['problem'] or ('wrong extension' if misnamed else 'EXIF rotation' if r['orientation'] != 1 else None)
        if said: ours[f] = said
    missed = sorted(theirs-set(ours))
    unusable = {f for f, p in ours.items() if p not in ('wrong extension', 'EXIF rotation')}
    yield dict(part='odd', data='odd_images', photos=len(files), found=len(ours), fastai_found=len(theirs), missed=len(missed),
        detail=json.dumps(dict(missed=missed, more_unusable=sorted(unusable-theirs), more=Counter(ours[f] for f in set(ours)-theirs))))


# Memory

def encode(img, fmt='PNG', **kw):
    buf = io.BytesIO()
    img.save(buf, fmt, **kw)
    return buf.getvalue()


def png_of(w, h):
    "A PNG whose header promises what its data doesn't hold"
    data = bytearray(encode(Image.new('1', (8, 8))))
    data[16:24] = w.to_bytes(4, 'big')+h.to_bytes(4, 'big')
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    return bytes(data)


def rle_bmp(w, h):
    "A run-length encoded BMP that ends at once: the rest is filled with zeros"
    head = (40).to_bytes(4, 'little')+w.to_bytes(4, 'little')+h.to_bytes(4, 'little')+(1).to_bytes(2, 'little')+(8).to_bytes(2, 'little')+(1).to_bytes(4,
        'little')+bytes(20)
    start = 14+len(head)+1024
    return b'BM'+(start+2).to_bytes(4, 'little')+bytes(4)+start.to_bytes(4, 'little')+head+bytes(1024)+b'\0\1'


def tiff_tile(side, data=b'x'*20):
    "Two by two pixels in one enormous tile"
    tags = {256: 2, 257: 2, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8+2+10*12+4, 325: len(data)}
    body = b''.join(n.to_bytes(2, 'little')+(4).to_bytes(2, 'little')+(1).to_bytes(4, 'little')+v.to_bytes(4, 'little') for n, v in tags.items())
    return b'II*\0'+(8).to_bytes(4, 'little')+len(tags).to_bytes(2, 'little')+body+bytes(4)+data


def bombs(root):
    "A data set with every bomb, and some pictures that are large enough to hurt together"
    folder = root/'train'/'Bombs'
    folder.mkdir(parents=True)
    side, flat = 9000, Image.new('L', (9000, 9000))
    made = {'promise.png': png_of(60_000, 60_000), 'below_limit.png': encode(flat.convert('RGB')), 'grey.png': encode(flat),
        'alpha.png': encode(Image.new('RGBA', (8000, 8000))),
        'sixteen.png': encode(Image.new('I;16', (side, side))), 'palette.gif': encode(flat, 'GIF'), 'lzw.tif': encode(flat.convert('RGB'), 'TIFF',
            compression='tiff_lzw'),
        'deflate.tif': encode(Image.new('RGBA', (6000, 6000)), 'TIFF', compression='tiff_adobe_deflate'), 'tile.tif': tiff_tile(30_000),
        'filled_tile.tif': tiff_tile(20_000, zlib.compress(bytes(400_000_000))), 'rle.bmp': rle_bmp(side, side),
        'progressive.jpg': encode(flat.convert('RGB'), 'JPEG', progressive=True), 'baseline.jpg': encode(flat.convert('RGB'), 'JPEG'),
            'cmyk.jpg': encode(Image.new('CMYK', (8000, 8000)), 'JPEG'),
        'canvas.webp': encode(Image.new('RGB', (16_000, 5000)), 'WEBP', lossless=True), 'promise.webp': encode(Image.new('RGB', (16_383, 16_383)), 'WEBP',
            lossless=True, method=0)}
    scans = encode(Image.new('L', (1600, 1600)), 'JPEG', progressive=True)
    made['scans.jpg'] = scans[:-2]+scans[scans.rindex(b'\xff\xda'):-2]*5000+scans[-2:]
    for i in range(8): made[f'large_{i}.png'] = encode(Image.new('RGB', (5500+i, 5500)))
    for k, v in made.items(): (folder/k).write_bytes(v)
    with open(folder/'hole.jpg', 'wb') as f: f.truncate(10**10)
    odd = SHARED/'data'/'odd_images'
    for f in [*(odd/'bomb').glob('*'), *(odd/'huge-pixels').glob('*')]: (folder/f.name).write_bytes(f.read_bytes())
    for c in ('Bombs', 'Other'):
        for s in ('train', 'valid'):
            (root/s/c).mkdir(parents=True, exist_ok=True)
            Image.effect_noise((64, 48), 50).convert('RGB').save(root/s/c/f'{s}.jpg')
    import h5py
    with h5py.File(root/'bomb.hdf5', 'w') as f: f.create_dataset('zeros', (10**10,), 'u1', chunks=True, compression='gzip')


CHILD = '''
import json, sys
from dogbreed_sm.auditing import audit
from dogbreed_sm.inspection import examine
root, workers = sys.argv[1], int(sys.argv[2])
peak = lambda: next(int(l.split()[1])//1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))
start = peak()
found = audit(root, workers)
packed = examine(root+'/bomb.hdf5::zeros')
seen = dict(start=start, peak=peak(), checked=found.attrs['checked'], usable=found.attrs['usable'], packed=packed['problem'])
print(json.dumps(dict(seen, problems=found[found.file!=''].problem.value_counts().to_dict())))
'''


def memory(a):
    with tempfile.TemporaryDirectory() as tmp:
        child = subprocess.run([sys.executable, '-c',
            'import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from audit import bombs; bombs(Path(sys.argv[2]))',
                str(Path(__file__).parent), tmp])
        child.check_returncode()
        for workers in (2, 16):
            t = time.perf_counter()
            child = subprocess.run([sys.executable, '-c', CHILD, tmp, str(workers)], capture_output=True, text=True, timeout=600)
            if child.returncode: raise SystemExit(child.stderr)
            seen = json.loads(child.stdout)
            yield dict(part='memory', data='bombs', photos=seen['checked'], seconds=round(time.perf_counter()-t, 1), peak_mb=seen['peak'],
                found=seen['checked']-seen['usable'],
                detail=json.dumps(dict(workers=workers, before=seen['start'], packed=seen['packed'], problems=seen['problems'])))


# Mutated files

def mutated_file(data, rng):
    "Cut somewhere (one in three), and up to eight bits flipped"
    kind = rng.choice(['cut', 'flip', 'both'])
    data = bytearray(data[:rng.randrange(len(data))] if kind != 'flip' else data)
    for _ in range(rng.randint(1, 8) if kind != 'cut' else 0):
        if data: data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def sources(rng):
    "Photos in every format, and the odd files that decode"
    found = []
    photos = rng.sample(sorted((SHARED/'data'/'dogs10').rglob('*.jpg')), 12)
    for f in photos:
        data = f.read_bytes()
        img = Image.open(io.BytesIO(data)).convert('RGB')
        small = img.resize((200, 150))
        found += [data, encode(img, 'JPEG', progressive=True), encode(small), encode(small, 'WEBP'), encode(small, 'GIF'), encode(small, 'BMP'), encode(small,
            'TIFF', compression='tiff_lzw'),
            encode(small, 'TIFF', compression='jpeg'), encode(small.convert('CMYK'), 'JPEG')]
    odd = [f for f in (SHARED/'data'/'odd_images').rglob('*') if f.is_file() and f.suffix != '.csv' and f.stat().st_size < 400_000]
    return found+[f.read_bytes() for f in sorted(odd)]


FUZZ = '''
import faulthandler, json, sys, time
from dogbreed_sm.inspection import examine
for line in sys.stdin:
    faulthandler.dump_traceback_later(30, exit=True)
    t = time.perf_counter()
    r = examine(line.rstrip('\\n'))
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps([r['problem'], r['width'], time.perf_counter()-t]), flush=True)
'''


def mutated(a):
    rng, judged, slowest, crashes = random.Random(a.seed), Counter(), 0, 0
    data = sources(rng)
    with tempfile.TemporaryDirectory() as tmp:
        file = Path(tmp)/'mutated.jpg'
        start = lambda: subprocess.Popen([sys.executable, '-c', FUZZ], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        child = start()
        for _ in range(a.files):
            file.write_bytes(mutated_file(rng.choice(data), rng))
            child.stdin.write(f'{file}\n')
            child.stdin.flush()
            answer = child.stdout.readline()
            if not answer: crashes += 1; child.kill(); child.wait(); child = start(); continue
            problem, width, took = json.loads(answer)
            judged[problem or ('good' if width else 'neither')] += 1
            slowest = max(slowest, took)
        child.stdin.close(); child.wait()
    yield dict(part='mutated', data='dogs10 and odd_images', photos=a.files, found=sum(judged.values())-judged['good'], missed=crashes+judged['neither'],
        seconds=round(slowest, 2), detail=json.dumps(dict(seed=a.seed, crashes_or_hangs=crashes, judged=judged)))


# Near-duplicates

def crop(img, share):
    w, h = img.size
    return img.crop((round(w*share), round(h*share), round(w*(1-share)), round(h*(1-share))))


def marked(img):
    img = img.copy()
    ImageDraw.Draw(img).rectangle((0, img.height-20, img.width//3, img.height), fill='white')
    return img


COPIES = {'quality 90': lambda i: (i, 90), 'quality 30': lambda i: (i, 30), 'half the size': lambda i: (i.resize((i.width//2, i.height//2)), 85),
    '256 px': lambda i: (i.resize((256, round(256*i.height/i.width))), 85),
    'brighter by 30 %': lambda i: (ImageEnhance.Brightness(i).enhance(1.3), 85), 'contrast up by 30 %': lambda i: (ImageEnhance.Contrast(i).enhance(1.3), 85),
        'grey': lambda i: (i.convert('L').convert('RGB'), 85),
    'blurred': lambda i: (i.filter(ImageFilter.GaussianBlur(2)), 85), 'marked in a corner': lambda i: (marked(i), 85),
        'mirrored': lambda i: (i.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 85),
    'squashed to a square': lambda i: (i.resize((256, 256)), 85), '1 % of each margin lost': lambda i: (crop(i, .01), 85),
        '2 % of each margin lost': lambda i: (crop(i, .02), 85), '5 % of each margin lost': lambda i: (crop(i, .05), 85),
    'turned by 2 degrees': lambda i: (i.rotate(2), 85)}


def duplicates(a):
    from dogbreed_sm.images import opened_image
    from dogbreed_sm.inspection import examine_all
    from dogbreed_sm.phash import SIDE, WITHIN, hash_bits, hash_words, near_pairs, picture_stats
    with tempfile.TemporaryDirectory() as tmp:
        for name in ('dogs10', 'dogs120'):
            records = list(examine_all([str(f) for f in sorted(unpacked(name, Path(tmp)).rglob('*.jpg'))]))
            hashes = [r['hash'] for r in records if r['hash']]
            t = time.perf_counter()
            near = Counter(d for _, _, d, _ in near_pairs(hash_words(hashes), 64))
            seconds = time.perf_counter()-t
            upto = {k: sum(n for d, n in near.items() if d <= k) for k in (WITHIN, 40, 48, 56, 64)}
            yield dict(part='different photos', data=name, photos=len(hashes), nearest=min(near, default=''), within=upto[WITHIN], seconds=round(seconds, 2),
                detail=json.dumps(dict(pairs=len(hashes)*(len(hashes)-1)//2, up_to=upto, too_flat=len(records)-len(hashes))))
    files = random.Random(0).sample(sorted((SHARED/'data'/'dogs10').rglob('*.jpg')), a.copies)
    def hashed(data):
        with opened_image(data, SIDE) as (img, h): return hash_bits([picture_stats(img, (h['width'], h['height']))['hash']])[0]
    own = [hashed(f.read_bytes())[0] for f in files]
    for how, f in COPIES.items():
        distances = []
        for bits, file in zip(own, files, strict=True):
            img, quality = f(Image.open(file).convert('RGB'))
            other = hashed(encode(img, 'JPEG', quality=quality))
            distances.append(int(min((other[0] != bits).sum(), (other[1] != bits).sum())))
        yield dict(part='copies', data=how, photos=len(files), nearest=median(distances), within=sum(d <= WITHIN for d in distances), seconds='',
            detail=json.dumps(dict(largest=max(distances), p90=float(np.percentile(distances, 90)))))


PARTS = dict(speed=speed, odd=odd, memory=memory, mutated=mutated, duplicates=duplicates)
COLUMNS = 'part', 'data', 'photos', 'seconds', 'fastai_seconds', 'ratio', 'ratio_min', 'ratio_max', 'found', 'fastai_found', 'missed', 'peak_mb', 'detail'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', choices=PARTS, action='append')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--files', type=int, default=2000, help='mutated files')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--copies', type=int, default=200, help='photos of which copies are made')
    a = p.parse_args()
    if not (SHARED/'data'/'dogs10').is_dir(): raise SystemExit(2)
    for part in a.only or PARTS:
        for row in PARTS[part](a):
            print({k: v for k, v in row.items() if v != ''}, flush=True)
            if part == 'duplicates': append_row(RESULTS/'near_duplicates.csv', row)
            else: append_row(RESULTS/'audit.csv', {k: row.get(k, '') for k in COLUMNS})


if __name__ == '__main__': main()
