"""How fast the endpoint is, against a bare loop and against itself without batching; and whether it keeps its word over 10,000 requests

    python benchmarks/endpoint.py                     # latency and throughput; a row in benchmarks/results/endpoint.csv
    python benchmarks/endpoint.py --soak 10000        # 16 clients, 10 % bad requests, every answer compared; a row in endpoint_soak.csv

Contestants take turns within each round, since other jobs on the machine slow down whatever is measured at that moment: ratios are of one round, and
their median over the rounds counts. The photos are drawn and the weights random unless --photos and --weights name real ones; neither changes the work."""

import argparse
import base64
import csv
import io
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from dogbreed_sm.artifact import load_model, save_artifact
from dogbreed_sm.core import machine, seed_everything, versions
from dogbreed_sm.images import eval_image
from dogbreed_sm.inference import forward, input_fn, predict_fn
from dogbreed_sm.resnet import build_resnet, normalise, pretrained
from dogbreed_sm.serve import Settings, start_server

RESULTS = Path(__file__).parent / "results"


def draw(seed, w=500, h=375):
    "A smooth coloured picture of a photo's size and compressibility"
    rng = np.random.default_rng(seed)
    a = sum(
        np.asarray(Image.fromarray(rng.integers(0, 255, (n, n, 3), dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC), dtype=float) / k
        for n, k in ((5, 2), (40, 3), (200, 6))
    )
    return Image.fromarray(a.astype(np.uint8))


def encode(img, fmt="JPEG"):
    buf = io.BytesIO()
    img.save(buf, fmt, quality=90)
    return buf.getvalue()


def npy(a):
    buf = io.BytesIO()
    np.save(buf, a)
    return buf.getvalue()


class Client:
    "One keep-alive connection: as little work as possible, since it runs on the server's cores"

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self.at, self.sock = (host, int(port)), None

    def ask(self, raw):
        "Send the bytes of a request; status and body of the answer"
        if self.sock is None:
            self.sock = socket.create_connection(self.at, timeout=90)
        self.sock.sendall(raw)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more()
        head, _, body = got.partition(b"\r\n\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        n = int(fields.get(b"content-length", 0))
        while len(body) < n:
            body += self._more()
        if fields.get(b"connection") == b"close":
            self.close()
        return int(head[9:12]), body

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def request(body, kind="image/jpeg", accept="application/json", method="POST", path="/invocations"):
    return f"{method} {path} HTTP/1.1\r\nHost: e\r\nContent-Type: {kind}\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def load(url, requests, clients, seconds):
    "Seconds of every request that `clients` made in `seconds`, the time it took, and the statuses"
    took, statuses, stop = [], Counter(), time.perf_counter() + seconds

    def run(k):
        c, i = Client(url), k
        while time.perf_counter() < stop:
            t = time.perf_counter()
            status, _ = c.ask(requests[i % len(requests)])
            took.append(time.perf_counter() - t)
            statuses[status] += 1
            i += clients
        c.close()

    start = time.perf_counter()
    threads = [threading.Thread(target=run, args=(k,)) for k in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return np.array(took), time.perf_counter() - start, statuses


def loop(step, photos, seconds):
    "Seconds of each photo in a bare loop"
    took, stop, i = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < stop:
        t = time.perf_counter()
        step(photos[i % len(photos)])
        took.append(time.perf_counter() - t)
        i += 1
    return np.array(took)


def plain_step(net, size):
    "Decode and forward as most inference scripts have it: fp32, as torchvision builds the network"
    net = net.to(memory_format=torch.contiguous_format).eval()

    def step(photo):
        with torch.inference_mode():
            x = torch.from_numpy(eval_image(photo, size).copy()).permute(2, 0, 1)[None]
            net(normalise(x).contiguous())

    return step


def append(name, row):
    "Add a row to a table of results"
    RESULTS.mkdir(exist_ok=True)
    facts = machine()
    row = dict(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=facts["cpu"],
        cores=facts["cores"],
        **row,
        versions=" ".join(f"{k}={v}" for k, v in versions("torch", "torchvision", "pillow", "starlette", "uvicorn", "httptools", "uvloop", "numpy").items()),
    )
    path, new = RESULTS / name, not (RESULTS / name).exists()
    with open(path, "a", newline="") as f:
        w = csv.DictWriter(f, row, lineterminator="\n")
        if new:
            w.writeheader()
        w.writerow(row)
    return row


def speed(args, artifact, net, photos):
    model = load_model(artifact, precision=args.precision)
    torch.set_num_threads(args.threads)
    settings = {"workers": args.workers, "threads": args.threads, "precision": args.precision}
    requests = [request(p) for p in photos]
    plain, rounds = plain_step(net, model.image_size), []
    batching, single = start_server(artifact, Settings(**settings, max_batch=args.max_batch)), start_server(artifact, Settings(**settings, max_batch=1))
    try:
        for r in range(args.rounds + 1):
            bare = loop(lambda p: forward(model, [eval_image(p, model.image_size)]), photos, args.seconds)
            one, _, s1 = load(batching.url, requests, 1, args.seconds)
            torch.set_num_threads(1)  # a TorchServe worker's setting
            slow = loop(plain, photos, args.seconds)
            torch.set_num_threads(args.threads)
            many, t_many, s16 = load(batching.url, requests, args.clients, args.seconds)
            alone, t_alone, s_alone = load(single.url, requests, args.clients, args.seconds)
            if not r:
                continue  # the first round warms up
            rounds.append(
                {
                    "bare_p50": np.median(bare),
                    "one_p50": np.median(one),
                    "plain_rps": 1 / slow.mean(),
                    "rps": len(many) / t_many,
                    "alone_rps": len(alone) / t_alone,
                    "p50": np.median(many),
                    "p99": np.quantile(many, 0.99),
                    "one_p99": np.quantile(one, 0.99),
                    "bad": sum((s1 + s16 + s_alone).values()) - (s1 + s16 + s_alone)[200],
                }
            )
            print({k: round(float(v), 4) for k, v in rounds[-1].items()}, flush=True)
    finally:
        for s in (batching, single):
            s.process.terminate()
            s.process.wait()
    med = {k: float(np.median([r[k] for r in rounds])) for k in rounds[0]}
    ratio = lambda a, b: round(float(np.median([r[a] / r[b] for r in rounds])), 3)
    row = append(
        "endpoint.csv",
        {
            "arch": model.arch,
            "image_size": model.image_size,
            "photos": "real" if args.photos else "drawn",
            "precision": model.precision,
            "workers": args.workers,
            "threads": args.threads,
            "max_batch": args.max_batch,
            "clients": args.clients,
            "rounds": args.rounds,
            "one_client_p50_over_bare_loop": ratio("one_p50", "bare_p50"),
            "many_clients_over_batch_of_one": ratio("rps", "alone_rps"),
            "many_clients_over_plain_loop": ratio("rps", "plain_rps"),
            "bare_loop_p50_ms": round(med["bare_p50"] * 1e3, 1),
            "one_client_p50_ms": round(med["one_p50"] * 1e3, 1),
            "one_client_p99_ms": round(med["one_p99"] * 1e3, 1),
            "many_clients_rps": round(med["rps"], 1),
            "many_clients_p50_ms": round(med["p50"] * 1e3, 1),
            "many_clients_p99_ms": round(med["p99"] * 1e3, 1),
            "batch_of_one_rps": round(med["alone_rps"], 1),
            "plain_loop_rps": round(med["plain_rps"], 1),
            "errors": int(sum(r["bad"] for r in rounds)),
        },
    )
    for k, asked in (
        ("one_client_p50_over_bare_loop", "<= 1.15"),
        ("many_clients_over_batch_of_one", ">= 1.3"),
        ("many_clients_over_plain_loop", ">= 3"),
        ("errors", "0"),
    ):
        print(f"{k:32} asked {asked:8} measured {row[k]}")


def good_requests(model, size, clients, each=12):
    "Per client: requests nobody else sends, with the logits that each must get"
    out = []
    for c in range(clients):
        mine = []
        for k in range(each):
            img = draw(1000 * c + k, 120 + 7 * k, 90 + 5 * c)
            jpeg, png, a = encode(img), encode(img, "PNG"), np.asarray(img)
            b64 = base64.b64encode(jpeg).decode()
            rng = np.random.default_rng(1000 * c + k)
            body, kind = (
                (jpeg, "image/jpeg"),
                (png, "image/png"),
                (json.dumps({"image": b64}).encode(), "application/json"),
                (npy(a), "application/x-npy"),
                (json.dumps({"instances": [b64, base64.b64encode(png).decode()]}).encode(), "application/json"),
                (npy(rng.normal(size=(1 + k % 3, 3, size + 32 * (k % 2), size)).astype(np.float32)), "application/x-npy"),
            )[k % 6]
            logits = predict_fn(input_fn(body, kind), model).logits
            mine.append((request(body, kind, "application/json; output=logits"), logits))
        out.append(mine)
    return out


def bad_requests(max_body):
    "Every kind of mistake, and the statuses it may get; 0 hangs up instead of waiting for the answer"
    jpeg = encode(draw(0, 200, 150))
    whole = request(jpeg)
    return {
        "half a photo": (request(jpeg[: len(jpeg) // 2]), {422}),
        "a text": (request(b"no dog here"), {422}),
        "empty": (request(b""), {400}),
        "a form": (request(jpeg, "application/x-www-form-urlencoded"), {415}),
        "not base64": (request(b'{"image": "%%%"}', "application/json"), {400}),
        "not JSON": (request(b'{"image": ', "application/json"), {400}),
        "deep": (request(b"[" * 50_000, "application/json"), {400}),
        "NaN": (request(npy(np.full((3, 64, 64), np.nan)), "application/x-npy"), {422}),
        "wrong shape": (request(npy(np.zeros((5, 5))), "application/x-npy"), {422}),
        "a pickle": (request(npy(np.array([{}], dtype=object)), "application/x-npy"), {400}),
        "no array": (request(jpeg, "application/x-npy"), {400}),
        "too many": (request(npy(np.zeros((65, 3, 8, 8), np.uint8)), "application/x-npy"), {413}),
        "too large": (request(b"x" * (max_body + 1)), {413}),
        "a wish": (request(jpeg, accept="text/html"), {406}),
        "GET": (request(b"", method="GET"), {405}),
        "elsewhere": (request(jpeg, path="/predict"), {404}),
        "no HTTP": (b"hello\r\n\r\n", {400}),
        "leaves early": (whole[: len(whole) // 2], {0}),
        "leaves late": (whole, {0}),
    }


def soak(args, net, tmp):
    size, settings = args.soak_size, Settings(workers=args.workers, precision=args.precision, max_body=1 << 20, queue=args.clients // 2 if args.crowd else 128)
    artifact = save_artifact(net, tmp / "soak", [f"{i:03}.Breed_{i}" for i in range(120)], image_size=size)
    model = load_model(artifact, precision=args.precision)
    torch.set_num_threads(1)
    good, bad = good_requests(model, size, args.clients), bad_requests(settings.max_body)
    largest = max(np.abs(logits).max() for mine in good for _, logits in mine)
    firsts = np.stack([logits[0] for mine in good for _, logits in mine])
    apart = min(np.abs(np.delete(firsts, i, 0) - firsts[i]).max(1).min() for i in range(len(firsts)))
    tolerance = (1e-4 if model.precision == "fp32" else 2e-2) * largest
    if tolerance > apart / 2:
        sys.exit(f"two inputs are only {apart:.2g} apart and the tolerance is {tolerance:.2g}: a mix-up could not be seen; use --precision fp32")
    server = start_server(artifact, settings)
    process, statuses, faults, done, memory, lock = psutil.Process(server.process.pid), Counter(), [], [0], [], threading.Lock()

    def client(k):
        c, rng = Client(server.url), np.random.default_rng(k)
        while True:
            with lock:
                if done[0] >= args.soak:
                    break
                done[0] += 1
                if done[0] % max(1, args.soak // 20) == 1:
                    memory.append(process.memory_info().rss / 2**20)
            is_bad = rng.random() < 0.1
            name = rng.choice(list(bad)) if is_bad else "good"
            raw, want = bad[name] if is_bad else good[k][rng.integers(len(good[k]))]
            try:
                if is_bad and want == {0}:
                    c.close()
                    c.sock = socket.create_connection(c.at)
                    c.sock.sendall(raw)
                    c.close()
                    statuses[f"{name}: hung up"] += 1
                    continue
                status, body = c.ask(raw)
            except OSError as e:
                c.close()
                faults.append((name, repr(e)))
                continue
            if name in ("too large", "no HTTP"):
                c.close()  # the server may close these
            statuses[f"{name}: {status}"] += 1
            if status == 503 and args.crowd:
                continue
            if is_bad:
                if status not in want:
                    faults.append((name, status, body[:200]))
                elif status != 400 or name != "no HTTP":
                    json.loads(body)["error"]
                continue
            told = json.loads(body) if status == 200 else {}
            got = np.array([r.get("logits", []) for r in told.get("predictions", [told])])
            if status != 200 or got.shape != want.shape or np.abs(got - want).max() > tolerance:
                faults.append((name, status, body[:200]))

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(k,)) for k in range(args.clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = time.perf_counter() - start
    memory.append(process.memory_info().rss / 2**20)
    server.process.terminate()
    code = server.process.wait()
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    by_status = Counter(line["status"] for line in lines if "status" in line)
    print("\n".join(f"{n:6} {s}" for s, n in sorted(statuses.items())))
    print("statuses in the log:", dict(sorted(by_status.items())), "\nRSS, MiB:", [round(m) for m in memory])
    print("nearest two inputs", f"{apart:.3g}", "tolerance", f"{tolerance:.2g}")
    for f in faults[:10]:
        print("FAULT", f)
    row = append(
        "endpoint_soak.csv",
        {
            "requests": args.soak,
            "clients": args.clients,
            "image_size": size,
            "precision": model.precision,
            "wrong_or_lost": len(faults),
            "status_5xx": sum(n for s, n in by_status.items() if s >= 500),
            "status_503": by_status[503],
            "rss_start_mib": round(memory[0]),
            "rss_tenth_mib": round(memory[len(memory) // 10]),
            "rss_middle_mib": round(memory[len(memory) // 2]),
            "rss_end_mib": round(memory[-1]),
            "requests_per_second": round(args.soak / seconds, 1),
            "exit_code": code,
        },
    )
    print(
        f"wrong or lost {row['wrong_or_lost']}, 5xx {row['status_5xx']} (503: {row['status_503']}), "
        f"memory {row['rss_tenth_mib']} -> {row['rss_end_mib']} MiB, exit code {code}"
    )
    return 1 if faults or row["status_5xx"] != row["status_503"] or code else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--soak", type=int, default=0, help="number of requests of the endurance test; 0: measure speed")
    p.add_argument("--soak-size", type=int, default=64, help="side of the square the network sees in the endurance test, px")
    p.add_argument("--crowd", action="store_true", help="endurance test with a queue of half the clients, so that 503 is seen")
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=4, help="of each contestant in each round")
    p.add_argument("--arch", default="resnet18")
    p.add_argument("--image-size", type=int, default=224)
    p.add_argument("--max-batch", type=int, default=Settings().max_batch)
    p.add_argument("--workers", type=int, default=Settings().workers, help="of the servers")
    p.add_argument("--threads", type=int, default=Settings().threads, help="of PyTorch, for the bare loop and the workers alike")
    p.add_argument("--precision", default="auto")
    p.add_argument("--weights", help="state_dict file; without it weights are random")
    p.add_argument("--photos", type=Path, help="folder of real photos; without it they are drawn")
    args = p.parse_args()
    if "ENDPOINT_BENCHMARK" not in os.environ:  # OpenMP reads its settings when it is loaded: begin anew with those of the server
        os.execve(sys.executable, [sys.executable, *sys.argv], {"GOMP_SPINCOUNT": "1000", **os.environ, "ENDPOINT_BENCHMARK": "1"})
    seed_everything(0)
    net = pretrained(build_resnet(120, args.arch), args.arch, args.weights)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        if args.soak:
            sys.exit(soak(args, net, tmp))
        photos = [f.read_bytes() for f in sorted(args.photos.rglob("*.jpg"))[:64]] if args.photos else [encode(draw(i)) for i in range(32)]
        artifact = save_artifact(net, tmp / "model", [f"{i:03}.Breed_{i}" for i in range(120)], arch=args.arch, image_size=args.image_size)
        speed(args, artifact, net, photos)


if __name__ == "__main__":
    main()
