"""Points most generated requests at rows that exist, and says which answers are expected although they are 5xx.

What is pointed where follows from how many requests the operation has had, so the same generated requests are treated alike.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import urllib.error
import zlib
from collections import Counter
from pathlib import Path

import schemathesis
from schemathesis.core import NOT_SET
from world import FRESH, Api, Record

WORLD = json.loads(Path(os.environ["AGENTEX_FUZZ_WORLD"]).read_text())
OWNER = Api(WORLD["url"], WORLD["token"])

# Without Temporal, what needs it says so, with this answer and no other.
WITHOUT_TEMPORAL = {"message": "Temporal client is not connected", "code": 503, "data": None}
NEEDS_TEMPORAL = re.compile(r"/schedules|/query/")

# What must outlive every request. Schemathesis reads ids in answers and asks for them by itself.
KEPT = {
    value for record in WORLD["records"] for name, values in record.items() if name.endswith(("_id", "_name")) for value in values
}

answers: Counter[tuple[str, int]] = Counter()
asked: Counter[str] = Counter()
digest = 0


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


def point(record: Record, path: str, values: object, turn: tuple, of: int) -> None:
    """Replaces all but one in `of` ids and names among `values`, in place."""
    if not isinstance(values, dict):
        return
    for name in list(values):
        number = number_of(turn, name)
        if (known := record.get(known_as(path, name))) and number % of:
            values[name] = known[number // of % len(known)]
    # Both together are refused, so mostly only one is left.
    if "agent_id" in values and "agent_name" in values and number_of(turn) % 4:
        del values["agent_name"]


def spare(values: object) -> None:
    """Replaces what must be kept among `values`, in place."""
    if isinstance(values, dict):
        for name, seen in values.items():
            if isinstance(seen, str) and seen in KEPT:
                values[name] = "spared"


def record_for(label: str, number: int) -> Record:
    """The rows of one agent; for what ends its object, every other time an object that nothing else meets, and otherwise none."""
    record = WORLD["records"][number % len(WORLD["records"])]
    make = FRESH.get(label)
    if not make:
        return record
    if number // 4 % 2 or (NEEDS_TEMPORAL.search(label) and not WORLD["temporal"]):
        return {}
    try:
        return record | make(OWNER, record)
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{label}: no row for it: {refused.code} {refused.read()[:500]}") from refused


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    global digest
    label, path = case.operation.label, case.path
    parts = (case.path_parameters, case.query, case.body)
    digest = zlib.crc32(repr((label, [None if part is NOT_SET else part for part in parts])).encode(), digest)
    # Copies, because Schemathesis makes further requests of the same parts.
    parts = tuple(dict(part) if isinstance(part, dict) else part for part in parts)
    case.path_parameters, case.query, case.body = parts
    asked[label] += 1
    turn = (label, asked[label])
    number = number_of(turn)
    if label in FRESH or path == "/agents/register":
        # A registration under another agent's name or id would take its calls away.
        for values in parts:
            spare(values)
    # A sequence of operations passes on the ids of its own objects.
    in_sequence = case.meta is not None and case.meta.phase.name.value == "stateful"
    headers = {}
    if not in_sequence or number % 4 == 0:
        record = record_for(label, number // 16)
        if path == "/agents/register":
            record = {"acp_url": record["acp_url"]}
        # What was made for this request is hardly ever missed.
        of = 8 if label in FRESH else 4
        for values in parts:
            point(record, path, values, turn, of)
        if number_of(turn, "whole") % of:
            case.query = record.get("query", [case.query])[0]
            case.body = record.get("body", [case.body])[0]
        if path.startswith("/agents/forward/") and number % 2:
            headers["X-Agent-Api-Key"] = record["external_key"][0]

    if tokens := WORLD["tokens"]:
        # Mostly who owns the rows, now and then somebody else, a wrong token, or nobody.
        token = {0: None, 1: "wrong", 2: tokens[1]}.get(number_of(turn, "token") % 16, tokens[0])
        if token:
            headers["Authorization"] = f"Bearer {token}"
    if headers:
        case.headers = {**(case.headers or {}), **headers}


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
    Path(os.environ["AGENTEX_FUZZ_ANSWERS"]).write_text(json.dumps({
        "answers": [[operation, status, count] for (operation, status), count in sorted(answers.items())],
        "digest": f"{digest:08x}",
    }))
