"""Qiskit Aer behind a Unix socket: OpenQASM 3 in, counts out.

One JSON object per line and connection: a request, then its answer. Jobs live in this process and nowhere
else: whoever kills it kills them, and a client that asks for one afterwards is told that it is gone. A
second submission under the same key gives the same job. The process ends when its standard input ends, so
it never outlives whoever holds the other end of that pipe.

    python aer_service.py --socket PATH [--noise JSON] [--qubits-max N] [--shots-max N]

Noise, if asked for: {"one_qubit": p, "two_qubit": p, "readout": p} as depolarising and bit-flip
probabilities, or {"device": {"qubits": n, "seed": s}} for Qiskit's generic fake device.
"""

import argparse
import fcntl
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time

LINE_BYTES_MAX = 64 * 1024 * 1024
CONNECTION_SECONDS_MAX = 30
# Ended jobs that are remembered; older ones are answered as gone.
ENDED_JOBS_MAX = 4096


def end_with_standard_input():
    """Dies of SIGIO when the writing end of standard input closes, even inside a long computation."""
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)

    def watch():
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Refused(Exception):
    """The request cannot be carried out, and repeating it cannot help."""


class Gone(Exception):
    """No such job in the life of this process."""


class Simulation:
    """The simulator with its noise; imported late, so that the socket says first that it is there."""

    def __init__(self, noise, qubits_max):
        import qiskit
        import qiskit_aer
        from qiskit import qasm3
        from qiskit_aer import AerSimulator

        self.versions = {"qiskit": qiskit.__version__, "qiskit_aer": qiskit_aer.__version__}
        self.qasm3 = qasm3
        self.transpile = qiskit.transpile
        self.device = None
        if noise and "device" in noise:
            from qiskit.providers.fake_provider import GenericBackendV2

            given = noise["device"]
            self.device = GenericBackendV2(int(given["qubits"]), seed=int(given.get("seed", 0)))
            self.simulator = AerSimulator.from_backend(self.device)
            qubits_max = min(qubits_max, int(given["qubits"]))
        elif noise:
            self.simulator = AerSimulator(noise_model=self.noise_model(noise))
        else:
            self.simulator = AerSimulator()
        self.simulator.set_options(max_parallel_experiments=1)
        self.qubits_max = qubits_max
        self.noise = noise

    @staticmethod
    def noise_model(noise):
        from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

        model = NoiseModel(basis_gates=["id", "rz", "sx", "x", "cx"])
        if noise.get("one_qubit"):
            model.add_all_qubit_quantum_error(depolarizing_error(noise["one_qubit"], 1), ["sx", "x"])
        if noise.get("two_qubit"):
            model.add_all_qubit_quantum_error(depolarizing_error(noise["two_qubit"], 2), ["cx"])
        if noise.get("readout"):
            p = noise["readout"]
            model.add_all_qubit_readout_error(ReadoutError([[1 - p, p], [p, 1 - p]]))
        return model

    def calibration(self):
        """Names what the results were computed under; the same words give the same distribution."""
        words = json.dumps(self.noise, sort_keys=True) if self.noise else "ideal"
        return f"aer {self.versions['qiskit_aer']}, qiskit {self.versions['qiskit']}, noise {words}"

    def circuit(self, program, inputs):
        try:
            circuit = self.qasm3.loads(program)
        except Exception as error:
            raise Refused(f"the program is not read: {error}") from error
        if circuit.num_qubits > self.qubits_max:
            raise Refused(f"{circuit.num_qubits} qubits, at most {self.qubits_max} are taken")
        parameters = {parameter.name: parameter for parameter in circuit.parameters}
        for name, value in inputs:
            # An input that the program names and no gate uses is no parameter any more.
            if name in parameters:
                circuit = circuit.assign_parameters({parameters.pop(name): float(value)})
        if parameters:
            raise Refused(f"no value for input {', '.join(sorted(parameters))}")
        return circuit

    def run(self, circuit, shots, seed):
        circuit = self.transpile(circuit, self.simulator, optimization_level=1, seed_transpiler=seed % 2**32)
        begun = time.monotonic()
        result = self.simulator.run(circuit, shots=shots, seed_simulator=seed % 2**63).result()
        if not result.success:
            raise RuntimeError(str(result.status))
        # Qiskit writes the highest bit first, so the number has bit i for qubit i.
        counts = sorted((int(word.replace(" ", ""), 2), count) for word, count in result.get_counts().items())
        return {
            "counts": counts,
            "qpu_ms": int((time.monotonic() - begun) * 1000) + 1,
            "cost_micro_usd": 0,
            "calibration": self.calibration(),
        }


class Jobs:
    """The table of jobs and the one thread that works through it."""

    def __init__(self, simulation, shots_max):
        self.simulation = simulation
        self.shots_max = shots_max
        self.lock = threading.Lock()
        self.by_id = {}
        self.by_key = {}
        self.waiting = queue.Queue()
        # Another life of this service must not give out the same names.
        self.life = secrets.token_hex(6)
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            job = self.waiting.get()
            with self.lock:
                if job["state"] != "queued":
                    continue
                job["state"] = "running"
            try:
                # Reading a large program takes longer than a caller waits, so it is read here.
                circuit = self.simulation.circuit(job["program"], job["inputs"])
                end = ("succeeded", self.simulation.run(circuit, job["shots"], job["seed"]))
            except Exception as error:
                end = ("failed", f"{type(error).__name__}: {error}"[:1000])
            with self.lock:
                job["program"] = None
                if job["state"] == "running":
                    job["state"], job["end"] = end

    def submit(self, request):
        key, job = request["key"], request["job"]
        shots = int(job["shots"])
        with self.lock:
            if key in self.by_key:
                return {"id": self.by_key[key]}
        if not 1 <= shots <= self.shots_max:
            raise Refused(f"{shots} shots, 1 to {self.shots_max} are taken")
        program, inputs = str(job["program"]), [(str(name), float(value)) for name, value in job["inputs"]]
        with self.lock:
            if key in self.by_key:
                return {"id": self.by_key[key]}
            name = f"aer-{self.life}-{len(self.by_key) + 1}"
            entry = {"id": name, "key": key, "state": "queued", "program": program, "inputs": inputs}
            entry |= {"shots": shots, "seed": int(job["seed"]), "end": None}
            self.by_key[key], self.by_id[name] = name, entry
            ended = [one for one in self.by_id.values() if one["state"] not in ("queued", "running")]
            for old in ended[: max(0, len(ended) - ENDED_JOBS_MAX)]:
                del self.by_id[old["id"]]
            self.waiting.put(entry)
        return {"id": name}

    def known(self, request):
        job = self.by_id.get(request["id"])
        if job is None:
            raise Gone(f"no job {request['id']} in this life of the service")
        return job

    def find(self, request):
        with self.lock:
            return {"id": self.by_key.get(request["key"])}

    def poll(self, request):
        with self.lock:
            job = self.known(request)
            answer = {"state": job["state"]}
            if job["state"] == "failed":
                answer["message"] = job["end"]
            if job["state"] == "queued":
                before = [one for one in self.by_id.values() if one["state"] in ("queued", "running")]
                answer["position"] = next(i for i, one in enumerate(before) if one is job)
            return answer

    def result(self, request):
        with self.lock:
            job = self.known(request)
            if job["state"] != "succeeded":
                raise Refused(f"job {job['id']} is {job['state']}")
            return job["end"]

    def cancel(self, request):
        with self.lock:
            job = self.known(request)
            if job["state"] not in ("queued", "running"):
                return {"cancelled": False}
            # A running one computes to its end and its result is dropped; it costs nothing but time.
            job["state"] = "cancelled"
            return {"cancelled": True}

    def describe(self, _):
        with self.lock:
            waiting = sum(one["state"] in ("queued", "running") for one in self.by_id.values())
        simulation = self.simulation
        gates = sorted(getattr(simulation.simulator, "operation_names", []))[:64]
        return {
            "qubits_max": simulation.qubits_max,
            "shots_max": self.shots_max,
            "gates": gates,
            "calibration": simulation.calibration(),
            "jobs": waiting,
            "pid": os.getpid(),
        }


VERBS = {"describe", "submit", "find", "poll", "result", "cancel"}


def answer(jobs, line):
    try:
        request = json.loads(line)
        verb = request["verb"]
        if verb not in VERBS:
            raise Refused(f"no verb {verb!r}")
        return {"ok": getattr(jobs, verb)(request)}
    except Gone as error:
        return {"error": {"class": "gone", "message": str(error)}}
    except (Refused, KeyError, TypeError, ValueError) as error:
        return {"error": {"class": "permanent", "message": f"{type(error).__name__}: {error}"[:1000]}}
    except Exception as error:
        return {"error": {"class": "transient", "message": f"{type(error).__name__}: {error}"[:1000]}}


def serve(connection, jobs):
    with connection:
        connection.settimeout(CONNECTION_SECONDS_MAX)
        try:
            with connection.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES_MAX)
            if line.endswith(b"\n"):
                connection.sendall(json.dumps(answer(jobs, line)).encode() + b"\n")
        except OSError:
            # Whoever asked has gone; the job table has not changed by that.
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--noise", default="")
    parser.add_argument("--qubits-max", type=int, default=24)
    parser.add_argument("--shots-max", type=int, default=1_000_000)
    given = parser.parse_args()
    end_with_standard_input()
    noise = json.loads(given.noise) if given.noise else None
    jobs = Jobs(Simulation(noise, given.qubits_max), given.shots_max)
    os.umask(0o177)
    try:
        os.unlink(given.socket)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(given.socket)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, jobs), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
