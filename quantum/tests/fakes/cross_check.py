"""The fake server asked by boto3, the vendor's own client: what it accepts is what the vendor's client sends.

    python cross_check.py PORT ACCESS_KEY SECRET_KEY
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

port, access, secret = sys.argv[1:]
endpoint = f"http://127.0.0.1:{port}"
keys = {"aws_access_key_id": access, "aws_secret_access_key": secret, "region_name": "us-east-1"}
config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
braket = boto3.client("braket", endpoint_url=endpoint, config=config, **keys)
s3 = boto3.client("s3", endpoint_url=endpoint, config=config, **keys)
device = "arn:aws:braket:::device/qpu/fake/one"

task = {
    "clientToken": "cross-check",
    "deviceArn": device,
    "shots": 6,
    "outputS3Bucket": "bucket",
    "outputS3KeyPrefix": "some/prefix",
    "action": json.dumps({"source": "qubit[2] q;", "inputs": {}}),
    "tags": {"who": "cross-check"},
}
arn = braket.create_quantum_task(**task)["quantumTaskArn"]
assert braket.create_quantum_task(**task)["quantumTaskArn"] == arn, "a replay made another task"
states = [braket.get_quantum_task(quantumTaskArn=arn)["status"] for _ in range(3)]
assert states == ["QUEUED", "RUNNING", "COMPLETED"], states
shown = braket.get_quantum_task(quantumTaskArn=arn)
body = s3.get_object(Bucket="bucket", Key=shown["outputS3Directory"] + "/results.json")["Body"].read()
assert json.loads(body)["measurements"][1] == [1, 0], body
try:
    braket.cancel_quantum_task(quantumTaskArn=arn, clientToken="c")
    raise SystemExit("a completed task was cancelled")
except braket.exceptions.ConflictException:
    pass
other = braket.create_quantum_task(**(task | {"clientToken": "other"}))["quantumTaskArn"]
assert braket.cancel_quantum_task(quantumTaskArn=other, clientToken="c")["cancellationStatus"] == "CANCELLED"
found = braket.search_quantum_tasks(filters=[{"name": "deviceArn", "operator": "EQUAL", "values": [device]}])
assert arn in [one["quantumTaskArn"] for one in found["quantumTasks"]], found
assert braket.get_device(deviceArn=device)["deviceStatus"] == "ONLINE"
try:
    wrong = boto3.client("braket", endpoint_url=endpoint, config=config, **(keys | {"aws_secret_access_key": "no"}))
    wrong.get_device(deviceArn=device)
    raise SystemExit("a wrong secret was accepted")
except ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error
print("cross-check ok")
