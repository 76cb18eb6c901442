"""A FAKE of Amazon Braket and of one S3 bucket, for tests: it computes nothing.

Requests are routed, parsed and validated by botocore's own model of the service (braket 2019-09-01), and their
signatures are computed again with a known secret. Tasks are kept in memory, as are the books: how often each
client token was sent and how many tasks it made. A task's shot number k measures outcome k modulo 2^qubits.

    python fake_braket.py ACCESS_KEY SECRET_KEY [REGION]     prints its port

Control, unsigned, from the test only:
    POST /_control {"faults": [{"op", "kind", "times", ..}], "queue_polls": n, "run_polls": n, "status": "ONLINE"}
    GET  /_books
Kinds of fault: "status" (with "status", "error", "retry_after"), "lost" (carried out, the connection closed),
"unread" (not carried out, the connection closed), "slow" (carried out, answered after "seconds"),
"unknown_state", and for "result": "missing_shots", "doubled", "extra_bit", "garbage".
"""

import datetime
import json
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

MODEL = ServiceModel(Loader().load_service_model("braket", "service-2"), "braket")
OPERATIONS = [MODEL.operation_model(name) for name in MODEL.operation_names]
NAME = "arn:aws:braket:{region}:000000000000:quantum-task/fake-{number}"
# One price, so that a test can hold the books against its budget.
TASK_MICRO_USD, SHOT_MICRO_USD = 300_000, 350


class Error(Exception):
    def __init__(self, status, kind, message, retry_after=None):
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after


class Books:
    def __init__(self):
        self.lock = threading.Lock()
        self.tasks, self.requests, self.made = {}, {}, {}
        self.faults, self.cancels, self.seen = [], 0, []
        self.queue_polls, self.run_polls, self.device_status = 1, 1, "ONLINE"

    def fault(self, op):
        """The next fault planned for this operation, which is used up by that."""
        for fault in self.faults:
            if fault["op"] == op and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None


BOOKS = Books()
KEYS = Credentials(sys.argv[1], sys.argv[2])
REGION = sys.argv[3] if len(sys.argv) > 3 else "us-east-1"


def route(method, path):
    """The operation of the model, and the parts of its path."""
    for operation in OPERATIONS:
        template = operation.http["requestUri"].split("?")[0]
        pattern = re.sub(r"\\\{(\w+)\\?\+?\\\}", r"(?P<\1>[^/]+)", re.escape(template))
        found = re.fullmatch(pattern, path)
        if operation.http["method"] == method and found:
            return operation, {name: urllib.parse.unquote(value) for name, value in found.groupdict().items()}
    raise Error(404, "UnknownOperationException", f"{method} {path}")


def parameters(operation, parts, query, body):
    """The request as the model reads it; anything that the model does not allow is refused."""
    shape = operation.input_shape
    given = json.loads(body) if body else {}
    for name, member in shape.members.items():
        where = member.serialization
        wire = where.get("name", name)
        if where.get("location") == "uri":
            given[name] = parts[wire]
        elif where.get("location") == "querystring" and wire in query:
            values = query[wire]
            given[name] = values if member.type_name == "list" else values[0]
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise Error(400, "ValidationException", report.generate_report())
    for name, member in shape.members.items():
        most = member.metadata.get("max")
        if most and isinstance(given.get(name), str) and len(given[name]) > most:
            raise Error(400, "ValidationException", f"{name} is longer than {most}")
    return given


def check_signature(handler, service, body):
    header = handler.headers.get("Authorization", "")
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
        r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        header,
    )
    if not found:
        raise Error(403, "MissingAuthenticationTokenException", "no signature")
    key, _, region, named, signed, signature = found.groups()
    if (key, region, named) != (KEYS.access_key, REGION, service):
        raise Error(403, "UnrecognizedClientException", "the security token included in the request is invalid")
    names = signed.split(";")
    if "host" not in names or "x-amz-date" not in names:
        raise Error(403, "InvalidSignatureException", "host and date must be signed")
    url = f"http://{handler.headers['Host']}{handler.path}"
    again = AWSRequest(method=handler.command, url=url, data=body)
    for name in names:
        again.headers[name] = handler.headers[name]
    stamp = handler.headers["X-Amz-Date"]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.strptime(
        stamp + "+0000", "%Y%m%dT%H%M%SZ%z"
    )
    if abs(age.total_seconds()) > 300:
        raise Error(403, "InvalidSignatureException", "the signature has expired")
    again.context["timestamp"] = stamp
    again.context["signing"] = {}
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(KEYS, service, REGION)
    text = auth.string_to_sign(again, auth.canonical_request(again))
    if auth.signature(text, again) != signature:
        raise Error(403, "InvalidSignatureException", "the signature does not match")


def view(task, unknown=False):
    task["polls"] += 1
    if task["status"] in ("QUEUED", "RUNNING"):
        if task["polls"] > BOOKS.queue_polls:
            task["status"] = "RUNNING"
        if task["polls"] > BOOKS.queue_polls + BOOKS.run_polls:
            task["status"] = "COMPLETED"
    shown = {name: task[name] for name in SHOWN}
    if unknown:
        shown["status"] = "CONTEMPLATING"
    if task["status"] == "QUEUED":
        shown["queueInfo"] = {"queue": "QUANTUM_TASKS_QUEUE", "position": ">2000"}
    return shown


SHOWN = ("quantumTaskArn", "status", "deviceArn", "deviceParameters", "shots", "outputS3Bucket")
SHOWN += ("outputS3Directory", "createdAt", "tags")


def create(given):
    token = given["clientToken"]
    BOOKS.requests[token] = BOOKS.requests.get(token, 0) + 1
    if token in BOOKS.made:
        return {"quantumTaskArn": BOOKS.made[token]}
    if BOOKS.device_status != "ONLINE":
        raise Error(424, "DeviceOfflineException", "the device is offline")
    source = json.loads(given["action"])["source"]
    arn = NAME.format(region=REGION, number=len(BOOKS.tasks) + 1)
    BOOKS.made[token] = arn
    BOOKS.tasks[arn] = {
        "quantumTaskArn": arn, "status": "QUEUED", "deviceArn": given["deviceArn"], "deviceParameters": "{}",
        "shots": given["shots"], "outputS3Bucket": given["outputS3Bucket"],
        "outputS3Directory": f"{given['outputS3KeyPrefix']}/{arn.rsplit('/')[-1]}",
        "createdAt": "2026-01-01T00:00:00Z", "tags": given.get("tags", {}), "polls": 0,
        "qubits": int(re.search(r"qubit\[(\d+)\]", source).group(1)), "source": source, "token": token,
    }
    return {"quantumTaskArn": arn}


def known(given):
    task = BOOKS.tasks.get(given["quantumTaskArn"])
    if task is None:
        raise Error(404, "ResourceNotFoundException", "no such task")
    return task


def cancel(given):
    task = known(given)
    BOOKS.cancels += 1
    if task["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
        raise Error(409, "ConflictException", f"the task is {task['status']}")
    task["status"] = "CANCELLED"
    return {"quantumTaskArn": task["quantumTaskArn"], "cancellationStatus": "CANCELLED"}


def search(given):
    # Two tasks a page, so that a client that reads only the first one is found out.
    wanted = [value for one in given["filters"] if one["name"] == "deviceArn" for value in one["values"]]
    tasks = [task for task in BOOKS.tasks.values() if task["deviceArn"] in wanted]
    begin = int(given.get("nextToken", "0"))
    names = [name for name in SHOWN if name != "deviceParameters"]
    page = [{name: task[name] for name in names} for task in tasks[begin : begin + 2]]
    more = {"nextToken": str(begin + 2)} if begin + 2 < len(tasks) else {}
    return {"quantumTasks": page} | more


def device(given):
    capabilities = {
        "service": {"shotsRange": [1, 100000], "updatedAt": "2026-01-01T00:00:00", "deviceCost": {"price": 0.00035, "unit": "shot"}},
        "paradigm": {"qubitCount": 25, "nativeGateSet": ["GPi", "GPi2", "MS"]},
    }
    return {
        "deviceArn": given["deviceArn"], "deviceName": "fake", "providerName": "fake", "deviceType": "QPU",
        "deviceStatus": BOOKS.device_status, "deviceCapabilities": json.dumps(capabilities),
        "deviceQueueInfo": [{"queue": "QUANTUM_TASKS_QUEUE", "queueSize": "12"}],
    }


def get(given):
    return view(known(given), given.get("_fault") == "unknown_state")


DOERS = {"CreateQuantumTask": create, "GetQuantumTask": get, "CancelQuantumTask": cancel}
DOERS |= {"SearchQuantumTasks": search, "GetDevice": device}


def result(path, fault):
    for task in BOOKS.tasks.values():
        if path == f"/{task['outputS3Bucket']}/{task['outputS3Directory']}/results.json":
            if task["status"] != "COMPLETED":
                break
            n, shots = task["qubits"], task["shots"]
            rows = [[(k % 2**n) >> qubit & 1 for qubit in range(n)] for k in range(shots)]
            if fault == "missing_shots":
                rows = rows[:-1]
            if fault == "doubled":
                rows = rows + rows
            if fault == "extra_bit":
                rows[0] = rows[0] + [1]
            if fault == "garbage":
                return b"<html>"
            return json.dumps({"measurements": rows, "measuredQubits": list(range(n))}).encode()
    raise Error(404, "NoSuchKey", path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        return

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The client was killed meanwhile, which is what some tests are about.
            self.close_connection = True

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        try:
            if path == "/_control":
                for name, value in json.loads(body).items():
                    setattr(BOOKS, name, value)
                return self.reply(200, b"{}")
            if path == "/_books":
                return self.reply(200, json.dumps(books()).encode())
            if path.endswith("/results.json"):
                operation, name = None, "result"
            else:
                operation, parts = route(self.command, path)
                name = operation.name
            check_signature(self, "s3" if operation is None else "braket", body)
            with BOOKS.lock:
                fault = BOOKS.fault(name) or {}
                BOOKS.seen.append(name)
                kind = fault.get("kind")
                if kind == "unread":
                    return self.hang_up()
                if kind == "status":
                    raise Error(fault["status"], fault.get("error", "Fault"), "as planned", fault.get("retry_after"))
                if operation is None:
                    answer = result(urllib.parse.unquote(path), kind)
                else:
                    given = parameters(operation, parts, urllib.parse.parse_qs(query), body)
                    if kind == "unknown_state":
                        given["_fault"] = kind
                    answer = json.dumps(DOERS[name](given)).encode()
            if kind == "lost":
                return self.hang_up()
            if kind == "slow":
                time.sleep(fault["seconds"])
            self.reply(operation.http.get("responseCode", 200) if operation else 200, answer)
        except Error as error:
            headers = [("x-amzn-ErrorType", error.kind)]
            if error.retry_after is not None:
                headers.append(("Retry-After", str(error.retry_after)))
            self.reply(error.status, json.dumps({"message": str(error)}).encode(), headers)

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    do_GET = do_POST = do_PUT = handle_any


def books():
    with BOOKS.lock:
        per_token = {}
        for task in BOOKS.tasks.values():
            per_token[task["token"]] = per_token.get(task["token"], 0) + 1
        ran = [task for task in BOOKS.tasks.values() if task["status"] in ("RUNNING", "COMPLETED")]
        return {
            "requests": BOOKS.requests,
            "tasks_per_token": per_token,
            "tasks": [{"arn": t["quantumTaskArn"], "status": t["status"], "shots": t["shots"]} for t in BOOKS.tasks.values()],
            "cancels": BOOKS.cancels,
            "seen": BOOKS.seen,
            "cost_micro_usd": sum(TASK_MICRO_USD + SHOT_MICRO_USD * task["shots"] for task in ran),
        }


def end_with_standard_input():
    while sys.stdin.buffer.read(4096):
        pass
    sys.exit(0)


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        # Clients that are killed in the middle of a call are what some tests are about.
        return


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    end_with_standard_input()
