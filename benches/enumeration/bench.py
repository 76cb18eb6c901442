"""Ours and its peers on the same instances in the same run.

Every peer gets SECONDS for an instance, on one thread, once; ours is run ROUNDS times and every round is
printed. Times of peers are those of their solvers alone, without reading and building; ours is the whole
process. A ratio of a peer that did not finish compares designs per second.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import generate

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKER = ROOT / "target" / "release" / "executing-worker"
PYTHON = ROOT / "target" / "bench-enumeration" / "venv" / "bin" / "python"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_MAX", "20"))
PEERS = {"cp-sat": "ortools", "highs": "highspy", "gurobi": "gurobipy", "scip": "PySCIPOpt"}
THREADS = {"cfg-e9": 2}


def instances():
    shared = ROOT.parent / "shared" / "bench" / "enumeration"
    only = os.environ.get("ONLY", "").split(",") if os.environ.get("ONLY") else None
    if shared.is_dir():
        known = json.loads((shared / "expected.json").read_text())
        names = ["cfg-e2.json", "cfg-e4.json", "cfg-e6.json", "cfg-e9.json"]
        names += ["domino6.mps", "domino8.mps", "queens10.mps", "p0033.mps", "stein27.mps", "cfg-e4.mps"]
        found = []
        for name in names:
            stem, kind = name.rsplit(".", 1)
            expected = known["design_spaces" if kind == "json" else "mps"][stem]
            found.append((shared / name, "count", expected["count"]))
            if stem in ("cfg-e4", "cfg-e9") and kind == "json":
                found.append((shared / name, "best", expected["best100_sum"]))
    else:
        print("The shared instances are not beside the project; generated ones stand in for them.")
        found = [(path, mode, None) for path in generate.write(ROOT / "target" / "bench-enumeration") for mode in ("count", "best")]
    return [i for i in found if not only or i[0].stem in only]


def ours(path, mode):
    threads = THREADS.get(path.stem, 1) if mode == "count" else 1
    command = [WORKER, "enumerate", path, "--mode", mode, "--threads", str(threads)]
    rounds, answer = [], None
    for _ in range(ROUNDS):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        rounds.append(time.perf_counter() - started)
        if done.returncode != 0:
            sys.exit(f"executing-worker failed on {path.name}: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
    return rounds, answer, threads


def peer(name, path, mode):
    command = [PYTHON, HERE / "peer.py", name, mode, path, str(SECONDS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * 3 + 60)
    except subprocess.TimeoutExpired:
        return None, f"did not obey its limit of {SECONDS:g} s and was ended"
    if done.returncode != 0:
        last = (done.stderr.strip() or "no words").splitlines()[-1]
        return None, last[:100]
    answer = json.loads(done.stdout)
    return (answer, None) if answer else (None, "cannot do this")


def versions():
    there = {}
    for name, package in PEERS.items():
        asked = subprocess.run([PYTHON, "-c", f"import importlib.metadata as m; print(m.version('{package}'))"], capture_output=True, text=True)
        there[name] = asked.stdout.strip() if asked.returncode == 0 else None
    return there


def main():
    there = versions()
    for name, version in there.items():
        print(f"{name}: {PEERS[name]} {version}" if version else f"{name}: not installed, so it is left out")
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; {ROUNDS} rounds, peers {SECONDS:g} s each")
    wrong = 0
    for path, mode, expected in instances():
        rounds, answer, threads = ours(path, mode)
        middle = statistics.median(rounds)
        got = answer["count"] if mode == "count" else answer["objective_sum"]
        verdict = "" if expected is None else (", as known" if got == expected else f", WRONG: known are {expected}")
        wrong += expected is not None and got != expected
        what = "designs counted" if mode == "count" else "sum of the 100 best"
        print(f"\n{path.name} {mode}: {got} {what}{verdict}")
        every = " ".join(f"{r * 1000:.1f}" for r in rounds)
        print(f"  {'ours':8} {middle * 1000:11.1f} ms  (rounds {every}; {threads} thread{'s' * (threads > 1)})")
        for name, version in there.items():
            if not version:
                continue
            result, why = peer(name, path, mode)
            if result is None:
                print(f"  {name:8} {why}")
                continue
            seconds, found = result["seconds"], result["found"] or 0
            if result["finished"]:
                value = found if mode == "count" else result["sum"]
                differs = "" if value == got else f", DIFFERS: {value}"
                ratio = seconds / middle
                print(f"  {name:8} {seconds * 1000:11.1f} ms  {ratio:.1f} x ours{differs}")
            elif mode == "count":
                pace = found / seconds
                ratio = f"{got / middle / pace:.0f} x" if pace else "no pace to compare"
                print(f"  {name:8} not finished after {seconds:.1f} s: {found} solutions, {pace:.0f} a second; ours {ratio}")
            else:
                print(f"  {name:8} not finished after {seconds:.1f} s: {found} of 100; ours at least {seconds / middle:.0f} x")
        sys.stdout.flush()
    if wrong:
        sys.exit(f"{wrong} results differ from the known ones")


if __name__ == "__main__":
    main()
