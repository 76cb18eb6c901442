"""QAOA evaluations beside QOKit, Qiskit Aer and qulacs: the same instances, the same run, all rounds printed.

Called by `make bench-quantum`; arguments: the program `evaluate` of the crate `quantum`, a folder for the
instances, the number of rounds. One evaluation is the state after all layers and its mean cost. A peer that is
not installed is named and left out. Nothing here judges: times and ratios are printed, agreement is checked.
Processor time is the measure on a machine that others use as well.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = min(2, os.cpu_count() or 1)
os.environ["OMP_NUM_THREADS"] = str(THREADS)
INSTANCES = [(16, 10), (20, 10), (24, 1)]


def cubic_graph(n, seed):
    """A random cubic graph by pairing ends until it has neither loops nor double edges."""
    chance = random.Random(seed)
    while True:
        ends = [v for v in range(n) for _ in range(3)]
        chance.shuffle(ends)
        edges = {tuple(sorted(pair)) for pair in zip(ends[::2], ends[1::2])}
        if len(edges) == 3 * n // 2 and all(a != b for a, b in edges):
            return sorted(edges)


def instance(folder, n, layers):
    edges = cubic_graph(n, 1000 + n)
    cost = [0.2 + 0.5 * k / layers for k in range(layers)]
    mixer = [0.7 - 0.5 * k / layers for k in range(layers)]
    terms = [{"z": list(edge), "coefficient": 0.5} for edge in edges]
    problem = {
        "qaoa_problem": 1, "qubits": n, "cost": {"ising": terms}, "mixer": "x",
        "cost_angles": cost, "mixer_angles": mixer,
    }
    path = folder / f"cubic-n{n}-p{layers}.json"
    path.write_text(json.dumps(problem))
    return path, edges, cost, mixer


def ours(program, path, threads):
    def evaluate():
        line = subprocess.run(
            [program, path, str(threads), "2"], check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        found = json.loads(line)
        return found["seconds"], found["processor_seconds"], found["expectation"], found["gradient_seconds"]

    return evaluate


def timed(work):
    def evaluate():
        start, processor = time.perf_counter(), time.process_time()
        value = work()
        return time.perf_counter() - start, time.process_time() - processor, value, None

    return evaluate


def qokit(n, edges, cost, mixer):
    import qokit

    # The wheel puts its C library where its own loader does not look.
    home = Path(qokit.__file__).parent
    wanted = home / "fur" / "c" / "csim" / "libcsim.so"
    if not wanted.exists():
        built = list(home.parent.glob("simulator.cpython-*.so"))
        if not built:
            raise ImportError("this build of QOKit holds no C simulator")
        shutil.copy(built[0], wanted)
    from qokit.fur.c.qaoa_simulator import QAOAFURXSimulatorC

    simulator = QAOAFURXSimulatorC(n, terms=[(0.5, edge) for edge in edges])
    # QOKit's phase is exp(-i gamma C / 2).
    gammas, betas = [2 * a for a in cost], [1 * b for b in mixer]

    def work():
        return float(simulator.get_expectation(simulator.simulate_qaoa(gammas, betas)))

    return timed(work)


def aer(n, edges, cost, mixer):
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for a, b in zip(cost, mixer):
        for i, j in edges:
            circuit.rzz(a, i, j)
        circuit.rx(2 * b, range(n))
    terms = [("ZZ", list(edge), 0.5) for edge in edges]
    circuit.save_expectation_value(SparsePauliOp.from_sparse_list(terms, num_qubits=n), range(n))
    simulator = AerSimulator(method="statevector", max_parallel_threads=THREADS)

    def work():
        return float(simulator.run(circuit, shots=1).result().data()["expectation_value"])

    return timed(work)


def qulacs_peer(n, edges, cost, mixer):
    from qulacs import Observable, QuantumCircuit, QuantumState

    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.add_H_gate(q)
    for a, b in zip(cost, mixer):
        for i, j in edges:
            circuit.add_multi_Pauli_rotation_gate([i, j], [3, 3], -a)
        for q in range(n):
            circuit.add_RX_gate(q, -2 * b)
    observable = Observable(n)
    for i, j in edges:
        observable.add_operator(0.5, f"Z {i} Z {j}")
    state = QuantumState(n)

    def work():
        state.set_zero_state()
        circuit.update_quantum_state(state)
        return observable.get_expectation_value(state)

    return timed(work)


def main():
    program, folder, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    print(f"threads of ours and of peers that take them: {THREADS}; load at the start: {os.getloadavg()[0]:.2f}")
    for n, layers in INSTANCES:
        path, edges, cost, mixer = instance(folder, n, layers)
        runners = {f"ours, {THREADS} threads": ours(program, path, THREADS), "ours, 1 thread": ours(program, path, 1)}
        for name, make in [("QOKit (C)", qokit), ("Aer", aer), ("qulacs", qulacs_peer)]:
            try:
                runners[name] = make(n, edges, cost, mixer)
            except ImportError as error:
                print(f"{name}: not there ({error})")
        rows = {name: [] for name in runners}
        processor = {name: [] for name in runners}
        gradients, values = [], {}
        for turn in range(rounds + 1):
            for name, evaluate in runners.items():
                seconds, busy, value, gradient = evaluate()
                values[name] = value
                # The round before the first warms up what compiles or caches at its first call.
                if turn > 0:
                    rows[name].append(1e3 * seconds)
                    processor[name].append(1e3 * busy)
                    if gradient is not None and name.endswith("threads"):
                        gradients.append(gradient / seconds)
        mine = f"ours, {THREADS} threads"
        print(f"\nn = {n}, p = {layers}: milliseconds of each round | median, times ours | processor time, times ours")
        own, own_busy = statistics.median(rows[mine]), statistics.median(processor[mine])
        for name, times in rows.items():
            middle, busy = statistics.median(times), statistics.median(processor[name])
            all_rounds = " ".join(f"{t:.1f}" for t in times)
            print(f"  {name:16} {all_rounds} | {middle:.1f}, {middle / own:.1f} | {busy:.1f}, {busy / own_busy:.1f}")
            assert abs(values[name] - values[mine]) < 1e-9, f"{name} finds {values[name]}, not {values[mine]}"
        print(f"  value and gradient, in evaluations: {statistics.median(gradients):.2f}")
    print(f"\nload at the end: {os.getloadavg()[0]:.2f}")


main()
