"""Points most generated requests at rows that exist, and says which answers are expected although they are 5xx.

The choice depends on the generated value only, so that one seed means one run.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import zlib
from collections import Counter
from pathlib import Path

import schemathesis

WORLD = json.loads(Path(os.environ["AGENTEX_FUZZ_WORLD"]).read_text())

# What ends or deletes its object meets only these.
ENDING = ("/complete", "/fail", "/terminate", "/timeout", "/cancel", "/clean", "/rehydrate", "/delete-thread", "/promote")

# Without Temporal, what needs it says so, with this answer and no other.
WITHOUT_TEMPORAL = {"message": "Temporal client is not connected", "code": 503, "data": None}
NEEDS_TEMPORAL = re.compile(r"/schedules|/query/")

answers: Counter[tuple[str, int]] = Counter()


def number_of(*seen: object) -> int:
    return zlib.crc32(repr(seen).encode())


def known_as(path: str, name: str) -> str:
    """What the record calls a parameter."""
    if path.startswith("/agent_api_keys") and name in ("id", "name"):
        return f"api_key_{name}"
    if path.startswith("/agents/{agent_id}/schedules/name/") and name == "name":
        return "schedule_name"
    if path.startswith("/deployment-history/"):
        return "history_id"
    return {"thread_id": "task_id", "last_processed_event_id": "event_id", "parent_id": "span_id"}.get(name, name)


def point(record: dict[str, list], path: str, values: object) -> None:
    """Replaces three in four ids and names among `values`, in place."""
    if not isinstance(values, dict):
        return
    for name, seen in list(values.items()):
        number = number_of(path, name, seen)
        if (known := record.get(known_as(path, name))) and number % 4:
            values[name] = known[number // 4 % len(known)]
    # Both together are refused, so mostly only one is left.
    if "agent_id" in values and "agent_name" in values and number_of(path, values) % 4:
        del values["agent_name"]


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    path = case.path
    ends = case.method.upper() == "DELETE" or path.endswith(ENDING)
    records = WORLD["doomed" if ends else "kept"]
    record = records[number_of(path, case.path_parameters, case.query, case.body) % len(records)]
    point(record, path, case.path_parameters)
    point(record, path, case.query)
    if path == "/agents/register":
        # A registration under another agent's name or id would take its calls away.
        record = {"acp_url": record["acp_url"]}
    point(record, path, case.body)

    if tokens := WORLD["tokens"]:
        # Mostly who owns the rows, now and then somebody else, a wrong token, or nobody.
        number = number_of(path, case.path_parameters, case.query, case.body) % 16
        token = {0: None, 1: "wrong", 2: tokens[1]}.get(number, tokens[0])
        if token:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


@schemathesis.hook
def after_call(context, case, response) -> None:
    answers[case.operation.label, response.status_code] += 1


@schemathesis.check
def stream_events(ctx, response, case) -> None:
    """A task's stream starts with who is connected, and every event of it is a JSON object with a type."""
    if response.status_code != 200 or not case.path.endswith("/stream"):
        return
    lines = response.content.decode().split("\n")
    # The last line may have been cut off.
    events = [json.loads(line.removeprefix("data:")) for line in lines[:-1] if line.startswith("data:")]
    assert events, "a stream without an event"
    assert all(isinstance(event, dict) and isinstance(event.get("type"), str) for event in events), events


@schemathesis.hook
def filter_failure(context, failure, case, response) -> bool:
    kind = type(failure).__name__
    if kind == "ServerError" and not WORLD["temporal"] and response.status_code == 503 and NEEDS_TEMPORAL.search(case.path):
        return response.json() != WITHOUT_TEMPORAL
    # OpenAPI 3.1 has no words for the events of a stream: the document's string is the whole body, Schemathesis takes it for
    # one event. `stream_events` looks at them instead.
    return not (case.path.endswith("/stream") and response.status_code == 200 and failure.code == "ST108")


@atexit.register
def write_answers() -> None:
    Path(os.environ["AGENTEX_FUZZ_ANSWERS"]).write_text(
        json.dumps([[operation, status, count] for (operation, status), count in sorted(answers.items())])
    )
