"""What requests meet: rows made before the run, and rows made for one request because it ends them."""

from __future__ import annotations

import json
import urllib.request
import uuid
from datetime import datetime, timezone

TEXT = {"type": "text", "author": "user", "content": "hello"}
# A schedule's next occurrences: the first moments of the years to come.
YEARLY = "0 0 1 1 *"

# A record: the values each parameter may have, of one agent.
Record = dict[str, list]


class Api:
    """The server under test, as the owner of all rows calls it."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url, token

    def call(self, method: str, path: str, body: object = None) -> dict:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def agent(self, name: str, url: str, kind: str = "sync", metadata: dict | None = None) -> dict:
        return self.call("POST", "/agents/register", {
            "name": name, "description": "d", "acp_url": url, "acp_type": kind, "registration_metadata": metadata,
        })

    def task(self, agent_id: str, name: str) -> dict:
        params = {"name": name, "params": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": params}
        answer = self.call("POST", f"/agents/{agent_id}/rpc", call)
        assert answer["result"], answer
        return answer["result"]

    def deployment(self, agent: dict, url: str, image: str) -> dict:
        """One whose pods have reported, so that calls and promotion reach something."""
        deployment = self.call("POST", f"/agents/{agent['id']}/deployments", {"docker_image": image})
        self.agent(agent["name"], url, agent["acp_type"], {"deployment_id": deployment["id"]})
        return deployment

    def schedule(self, agent_id: str, name: str) -> dict:
        return self.call("POST", f"/agents/{agent_id}/schedules", {
            "name": name, "initial_input": {"content": "hello"}, "cron_expression": YEARLY,
        })


def coming() -> str:
    """The next occurrence of the schedules."""
    return f"{datetime.now(timezone.utc).year + 1}-01-01T00:00:00Z"


def seed(api: Api, agent_url: str, temporal: bool) -> list[Record]:
    """Makes agents and what they have."""
    records = []
    for number in range(4):
        commit = {"agent_commit": f"{number:040x}", "branch_name": "main"}
        agent = api.agent(f"fuzz-{number}", agent_url, ("sync", "async")[number % 2], commit)
        record: Record = {}
        records.append(record)

        def add(**values: object) -> None:
            for name, value in values.items():
                record.setdefault(name, []).append(value)

        add(agent_id=agent["id"], agent_name=agent["name"], acp_type=agent["acp_type"], acp_url=agent_url)
        add(trace_id=f"trace-{number}", cron_expression=YEARLY, scheduled_time=coming())
        for turn in range(2):
            key = api.call("POST", "/agent_api_keys", {"agent_id": agent["id"], "name": f"key-{number}-{turn}"})
            add(api_key_id=key["id"], api_key_name=key["name"], external_key=key["api_key"])
            add(deployment_id=api.deployment(agent, agent_url, f"image:{turn}")["id"])
            task = api.task(agent["id"], f"task-{number}-{turn}")
            add(task_id=task["id"], task_name=task["name"], resource=f"task:{task['id']}")
            add(message_id=api.call("POST", "/messages", {"task_id": task["id"], "content": TEXT})["id"])
            state = {"task_id": task["id"], "agent_id": agent["id"], "state": {"n": turn}}
            add(state_id=api.call("POST", "/states", state)["id"])
            span = {"trace_id": f"trace-{number}", "task_id": task["id"], "name": "span", "start_time": "2025-01-02T03:04:05Z"}
            add(span_id=api.call("POST", "/spans", span)["id"])
            checkpoint = str(uuid.uuid5(uuid.NAMESPACE_OID, task["name"]))
            api.call("POST", "/checkpoints/put", {
                "thread_id": task["id"], "checkpoint_id": checkpoint, "checkpoint": {"v": 1}, "metadata": {}, "blobs": [],
            })
            add(checkpoint_id=checkpoint)
            if agent["acp_type"] == "async":
                params = {"task_id": task["id"], "content": TEXT}
                call = {"jsonrpc": "2.0", "id": 1, "method": "event/send", "params": params}
                api.call("POST", f"/agents/{agent['id']}/rpc", call)
                for event in api.call("GET", f"/events?task_id={task['id']}&agent_id={agent['id']}"):
                    add(event_id=event["id"])
            for tracker in api.call("GET", f"/tracker?task_id={task['id']}"):
                add(tracker_id=tracker["id"])
            # What an agent can be asked, whatever the method.
            add(params={"task_id": task["id"], "content": TEXT}, operation=("read", "update")[turn])
            if temporal:
                schedule = api.schedule(agent["id"], f"schedule-{number}-{turn}")
                add(schedule_id=schedule["id"], schedule_name=schedule["name"])
        for entry in api.call("GET", f"/deployment-history?agent_id={agent['id']}"):
            add(history_id=entry["id"])
    return records


def agent(api: Api, record: Record) -> Record:
    made = api.agent(unused(), record["acp_url"][0])
    return {"agent_id": [made["id"]], "agent_name": [made["name"]]}


def api_key(api: Api, record: Record) -> Record:
    key = api.call("POST", "/agent_api_keys", {"agent_id": record["agent_id"][0], "name": unused()})
    return {"api_key_id": [key["id"]], "api_key_name": [key["name"]]}


def deployment(api: Api, record: Record) -> Record:
    of = {"id": record["agent_id"][0], "name": record["agent_name"][0], "acp_type": record["acp_type"][0]}
    return {"deployment_id": [api.deployment(of, record["acp_url"][0], "image")["id"]]}


def schedule(api: Api, record: Record) -> Record:
    made = api.schedule(record["agent_id"][0], unused())
    return {"schedule_id": [made["id"]], "schedule_name": [made["name"]]}


def changed_schedule(api: Api, record: Record) -> Record:
    """With a body, because few that are made up are a possible change."""
    return schedule(api, record) | {"body": [{"description": "changed", "paused": False}]}


def skipped_schedule(api: Api, record: Record) -> Record:
    made = schedule(api, record)
    path = f"/agents/{record['agent_id'][0]}/schedules/{made['schedule_id'][0]}/skip"
    api.call("POST", path, {"scheduled_time": record["scheduled_time"][0]})
    return made


def task(api: Api, record: Record) -> Record:
    made = api.task(record["agent_id"][0], unused())
    return {"task_id": [made["id"]], "task_name": [made["name"]]}


def state(api: Api, record: Record) -> Record:
    body = {"task_id": record["task_id"][0], "agent_id": record["agent_id"][0], "state": {}}
    return {"state_id": [api.call("POST", "/states", body)["id"]]}


def completed_task(api: Api, record: Record) -> Record:
    made = task(api, record)
    api.call("POST", "/messages", {"task_id": made["task_id"][0], "content": TEXT})
    api.call("POST", f"/tasks/{made['task_id'][0]}/complete")
    return made | {"force": [True]}


def cleaned_task(api: Api, record: Record) -> Record:
    made = completed_task(api, record)
    path = f"/tasks/{made['task_id'][0]}"
    contents = api.call("GET", f"{path}/export")
    api.call("POST", f"{path}/clean", {"force": True})
    return made | {"messages": [contents["messages"]], "task_states": [contents["task_states"]], "snapshot_url": [None]}


def question(api: Api, record: Record) -> Record:
    return {"query": [{"resource": record["resource"][0], "operation": record["operation"][0]}]}


def unused() -> str:
    return f"doomed-{uuid.uuid4().hex}"


# What ends, deletes or renames its object, and what makes an object for it. `body` and `query` are taken as a whole.
FRESH = {
    "DELETE /agent_api_keys/name/{name}": api_key,
    "DELETE /agent_api_keys/{id}": api_key,
    "DELETE /agents/name/{agent_name}": agent,
    "DELETE /agents/{agent_id}": agent,
    "DELETE /agents/{agent_id}/deployments/{deployment_id}": deployment,
    "DELETE /agents/{agent_id}/schedules/name/{name}": schedule,
    "DELETE /agents/{agent_id}/schedules/{schedule_id}": schedule,
    "DELETE /states/{state_id}": state,
    "DELETE /tasks/name/{task_name}": task,
    "DELETE /tasks/{task_id}": task,
    "GET /authz/explain": question,
    "PATCH /agents/{agent_id}/schedules/name/{name}": changed_schedule,
    "PATCH /agents/{agent_id}/schedules/{schedule_id}": changed_schedule,
    "POST /agents/{agent_id}/deployments/{deployment_id}/promote": deployment,
    "POST /agents/{agent_id}/schedules/{schedule_id}/skip": schedule,
    "POST /agents/{agent_id}/schedules/{schedule_id}/unskip": skipped_schedule,
    "POST /checkpoints/delete-thread": task,
    "POST /tasks/{task_id}/cancel": task,
    "POST /tasks/{task_id}/clean": completed_task,
    "POST /tasks/{task_id}/complete": task,
    "POST /tasks/{task_id}/fail": task,
    "POST /tasks/{task_id}/rehydrate": cleaned_task,
    "POST /tasks/{task_id}/terminate": task,
    "POST /tasks/{task_id}/timeout": task,
}
