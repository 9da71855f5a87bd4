#!/usr/bin/env python3
"""What a row costs, beside what a request costs other clients, as ratios taken in one run.

    tests/bench/run.py [--rows N] [--rounds N] [--latency MS ...]
    tests/bench/run.py --growth [ROWS ...]

Builds the release binary and the stub, then, round by round and one after the other: bkassoc, a loop
that does nothing but call with reqwest, wrk and oha where they are installed, and a Python loop in the
way of the BlueKing SDK (64 threads, `requests` with a new connection a call; on `http.client`, which
costs less, where `requests` is not installed). The stub has one core, the client the other. With
latency, a fifth of the rows are enough. Prints the median of the rounds.

--growth runs bkassoc alone, with 20 thousand to 10 million rows.
"""
import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

try:
    import requests
except ImportError:
    requests = None

ROOT = Path(__file__).resolve().parents[2]
PORT = 18200
CONCURRENCY = 64
GROWTH = [20_000, 100_000, 1_000_000, 10_000_000]
PATH = "/api/c/compapi/v2/cc/add_instance_association/"
BODY = (
    '{"bk_app_code":"app","bk_app_secret":"secret","bk_username":"admin","bk_obj_asst_id":"a_run_b",'
    '"bk_inst_id":11,"bk_asst_inst_id":21,"metadata":{"label":{"bk_biz_id":"1"}}}'
)


def pinned(core, words):
    return ["taskset", "-c", str(core), *words] if shutil.which("taskset") else list(words)


def measured(words, env=None):
    """Runs a command; its wall seconds, CPU seconds, peak memory in MiB and output."""
    # A child's peak counts from the fork on: without GNU time's small process in between, it is never
    # below what this script takes.
    peak = tempfile.NamedTemporaryFile("r")
    timed = Path("/usr/bin/time").exists()
    if timed:
        words = ["/usr/bin/time", "-q", "-f", "%M", "-o", peak.name, *words]
    start = time.monotonic()
    process = subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    kilobytes = int(peak.read()) if timed else usage.ru_maxrss
    return wall, usage.ru_utime + usage.ru_stime, kilobytes / 1024, output


def connections():
    client = http.client.HTTPConnection("127.0.0.1", PORT)
    client.request("GET", "/connections")
    return json.loads(client.getresponse().read())["data"]


def bkassoc(binary, rows, folder, *flags):
    before = connections()
    results = folder / "results.csv"
    for left in folder.glob("results.csv*"):
        left.unlink()
    words = [
        str(binary), "import", str(folder / f"rows-{rows}.csv"), "-o", str(results), "-q",
        "--endpoint", f"http://127.0.0.1:{PORT}", "--app-code", "app", "--username", "admin",
        "--rate", "unlimited", "--concurrency", str(CONCURRENCY), "--json", *flags,
    ]
    env = dict(os.environ, BK_APP_SECRET="secret")
    wall, cpu, memory, output = measured(pinned(1, words), env)
    summary = json.loads(output)
    if summary["created"] != rows:
        sys.exit(f"not all rows were created: {output}")
    return {
        "us": cpu / rows * 1e6,
        "per_s": rows / wall,
        "run_per_s": rows / (summary["elapsed_ms"] / 1000),
        "MiB": memory,
        "connections": connections() - before - 1,
    }


def bare(binary, rows):
    before = connections()
    words = [str(binary), str(PORT), str(rows), str(CONCURRENCY)]
    wall, cpu, memory, _ = measured(pinned(1, words))
    return {"us": cpu / rows * 1e6, "per_s": rows / wall, "MiB": memory,
            "connections": connections() - before - 1}


def wrk(folder):
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method='POST'\nwrk.body='{BODY}'\nwrk.headers['Content-Type']='application/json'\n"
    )
    words = ["wrk", "-t1", f"-c{CONCURRENCY}", "-d3s", "-s", str(script),
             f"http://127.0.0.1:{PORT}{PATH}"]
    _, cpu, memory, output = measured(pinned(1, words))
    count = int(re.search(r"(\d+) requests in", output).group(1))
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))
    return {"us": cpu / count * 1e6, "per_s": per_s, "MiB": memory, "connections": CONCURRENCY}


def oha(rows, folder):
    body = folder / "body.json"
    body.write_text(BODY)
    words = ["oha", "--no-tui", "-n", str(rows), "-c", str(CONCURRENCY), "-m", "POST",
             "-T", "application/json", "-D", str(body), f"http://127.0.0.1:{PORT}{PATH}"]
    wall, cpu, memory, _ = measured(pinned(1, words))
    return {"us": cpu / rows * 1e6, "per_s": rows / wall, "MiB": memory,
            "connections": CONCURRENCY}


def sdk_loop(rows):
    """Run in a process of its own by `--sdk-loop`."""
    def with_requests(_):
        body = json.dumps(json.loads(BODY))
        answer = requests.request(
            "POST", f"http://127.0.0.1:{PORT}{PATH}", data=body, verify=False, timeout=30,
            headers={"Content-Type": "application/json"},
        )
        answer.json()

    def with_http_client(_):
        client = http.client.HTTPConnection("127.0.0.1", PORT)
        client.request("POST", PATH, BODY, {"Content-Type": "application/json"})
        json.loads(client.getresponse().read())
        client.close()
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(with_requests if requests else with_http_client, range(rows)))


def python(rows, folder):
    words = [sys.executable, __file__, "--sdk-loop", str(rows)]
    wall, cpu, memory, _ = measured(pinned(1, words))
    return {"us": cpu / rows * 1e6, "per_s": rows / wall, "MiB": memory, "connections": rows}


def write_rows(folder, rows):
    with open(folder / f"rows-{rows}.csv", "w") as file:
        file.write("obj_asst_id,inst_id,asst_inst_id,biz_id\n")
        file.writelines(f"a_run_b,{n % 9973 + 1},{n + 1},1\n" for n in range(rows))


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def table(latency, results):
    base = results.get("wrk")
    print(f"\n{latency} ms, concurrency {CONCURRENCY}")
    print("| client | CPU a row, us | / wrk | rows/s | / oha | peak MiB | connections |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, row in results.items():
        to_wrk = f"{row['us'] / base['us']:.2f}" if base else "-"
        to_oha = f"{row['per_s'] / results['oha']['per_s']:.2f}" if "oha" in results else "-"
        print(f"| {name} | {row['us']:.1f} | {to_wrk} | {row['per_s']:,.0f} | {to_oha} "
              f"| {row['MiB']:.1f} | {row['connections']:.0f} |")


def growth(binary, folder, sizes):
    print(f"\n0 ms, concurrency {CONCURRENCY}: results in input order included")
    print("| rows | wall, s | us a row | CPU a row, us | peak MiB |")
    print("|--:|--:|--:|--:|--:|")
    for rows in sizes:
        write_rows(folder, rows)
        sample = bkassoc(binary, rows, folder)
        (folder / f"rows-{rows}.csv").unlink()
        print(f"| {rows:,} | {rows / sample['per_s']:.2f} | {1e6 / sample['per_s']:.1f} "
              f"| {sample['us']:.1f} | {sample['MiB']:.1f} |", flush=True)


@contextmanager
def stub(target, latency):
    process = subprocess.Popen(
        pinned(0, [str(target / "examples" / "stub"), str(PORT), str(latency)]),
        stdout=subprocess.PIPE,
    )
    if not process.stdout.readline():
        sys.exit(f"the stub does not start: is port {PORT} free?")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def compare(target, folder, latency, rows, rounds):
    binary = target / "bkassoc"
    write_rows(folder, rows)
    clients = {
        "bkassoc": lambda: bkassoc(binary, rows, folder),
        "bkassoc --batch 200": lambda: bkassoc(binary, rows, folder, "--batch", "200"),
    }
    clients["reqwest, and nothing else"] = lambda: bare(target / "examples" / "bare", rows)
    if shutil.which("wrk"):
        clients["wrk"] = lambda: wrk(folder)
    if shutil.which("oha"):
        clients["oha"] = lambda: oha(rows, folder)
    clients["Python, as the SDK does"] = lambda: python(3000, folder)
    samples = {name: [] for name in clients}
    with stub(target, latency):
        for _ in range(rounds):
            for name, client in clients.items():
                samples[name].append(client())
    results = {name: medians(of_client) for name, of_client in samples.items()}
    table(latency, results)
    if latency:
        ideal = CONCURRENCY / (latency / 1000)
        share = results["bkassoc"]["run_per_s"] / ideal
        print(f"bkassoc: {share:.3f} of concurrency / latency")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=int, nargs="*", default=[0, 5, 20])
    parser.add_argument("--growth", type=int, nargs="*")
    parser.add_argument("--sdk-loop", type=int)
    options = parser.parse_args()
    if options.sdk_loop:
        return sdk_loop(options.sdk_loop)
    subprocess.run(["cargo", "build", "--release", "--bins", "--examples"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.growth is not None:
            with stub(target, 0):
                growth(target / "bkassoc", folder, options.growth or GROWTH)
            return
        for latency in options.latency:
            # Where latency is what decides, fewer rows tell as much.
            rows = options.rows if latency == 0 else options.rows // 5
            compare(target, folder, latency, rows, options.rounds)


if __name__ == "__main__":
    main()
