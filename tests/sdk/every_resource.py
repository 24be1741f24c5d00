"""Every resource of the SDK's generated client, one group of calls for each.

A group does with a resource what an application does, and compares the typed answers with
what it sent. One JSON object is printed: `done` has the calls made, in order, `failed` what
a group stumbled over; the exit code is 0 if that is empty. With groups as arguments only
those run.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import sys
import traceback
import uuid
from collections.abc import Callable
from typing import Any

from agentex import Agentex, BadRequestError, InternalServerError, NotFoundError, UnprocessableEntityError

GROUPS: dict[str, Callable[[Any], None]] = {}


def group(run: Callable[[Any], None]) -> Callable[[Any], None]:
    GROUPS[run.__name__] = run
    return run


class World:
    """The client under test, and an agent that answers at once."""

    def __init__(self, client: Agentex, agent_name: str, done: list[str]) -> None:
        self.raw = client
        self.client = Noting(client, "", done)
        self.agent = self.client.agents.retrieve_by_name(agent_name)

    def task(self, **params: Any) -> Any:
        given = {"name": f"every-{uuid.uuid4().hex}", "params": params}
        return self.client.agents.create_task(agent_name=self.agent.name, params=given).result

    def register(self, name: str, metadata: dict[str, Any]) -> Any:
        """What a pod does when it starts. The client has no method for it; it is the agents' half that registers."""
        body = {
            "name": name, "description": "of every resource", "acp_type": "sync", "acp_url": "http://127.0.0.1:1",
            "registration_metadata": metadata,
        }
        self.raw.post("/agents/register", cast_to=object, body=body)
        return self.client.agents.retrieve_by_name(name)

    def refuses(self, error: type[Exception], call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            answer = call(*args, **kwargs)
        except error:
            return
        raise AssertionError(f"answered {answer!r} where {error.__name__} was to be raised")


class Noting:
    """Stands for a part of the client and notes each method that answered."""

    def __init__(self, part: Any, path: str, done: list[str]) -> None:
        self._part, self._path, self._done = part, path, done

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._part, name), f"{self._path}.{name}".lstrip(".")
        if not callable(value):
            return Noting(value, path, self._done)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = value(*args, **kwargs)
            self._done.append(path)
            return answer

        return call


def same(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "author": "user", "content": content}


@group
def agents(world: World) -> None:
    agents = world.client.agents
    same(agents.retrieve(world.agent.id), world.agent)
    same(world.agent.status, "Ready")
    same(world.agent.acp_type, "sync")
    assert world.agent.id in ids(agents.list(limit=1000))
    same(ids(agents.list(task_id=world.task().id)), [world.agent.id])
    built = agents.register_build(
        name=f"every-{uuid.uuid4().hex}", description="of every resource", registration_metadata={"commit_hash": "abc"}
    )
    same((built.description, built.status), ("of every resource", "BuildOnly"))
    same(agents.retrieve_by_name(built.name).id, built.id)
    same(agents.delete(built.id).id, built.id)
    world.refuses(NotFoundError, agents.retrieve, str(uuid.uuid4()))
    again = agents.register_build(name=f"every-{uuid.uuid4().hex}", description="of every resource")
    agents.delete_by_name(again.name)


@group
def rpc(world: World) -> None:
    agents = world.client.agents
    answer = agents.rpc(world.agent.id, method="task/create", params={}, id=7, jsonrpc="2.0")
    same((answer.id, answer.jsonrpc, answer.error), (7, "2.0", None))
    task = agents.rpc_by_name(world.agent.name, method="task/create", params={"params": {"a": 1}}, id="own").result
    same(task.params, {"a": 1})
    sent = {"task_id": task.id, "content": text("hello")}
    replies = agents.send_message(agent_name=world.agent.name, params=dict(sent)).result
    same([(reply.content.author, reply.content.content) for reply in replies], [("agent", "You said: hello")])
    streamed = [
        update.result.type
        for update in agents.send_message_stream(
            agent_id=world.agent.id, params={"task_id": task.id, "content": text("stream 2")}
        )
    ]
    same(streamed, ["start", "delta", "delta", "done"])


@group
def tasks(world: World) -> None:
    tasks = world.client.tasks
    task = world.task(colour="red")
    same((task.status, task.params), ("RUNNING", {"colour": "red"}))
    found = tasks.retrieve(task.id, relationships=["agents"])
    same((found.id, found.name, [agent.id for agent in found.agents]), (task.id, task.name, [world.agent.id]))
    same(tasks.retrieve_by_name(task.name, relationships=["agents"]).id, task.id)
    same(tasks.update_by_id(task.id, task_metadata={"mark": task.id, "n": 1}).task_metadata, {"mark": task.id, "n": 1})
    same(ids(tasks.list(task_metadata=json.dumps({"mark": task.id}))), [task.id])
    same(tasks.update_by_name(task.name, task_metadata={"mark": "new"}).task_metadata, {"mark": "new"})
    merged = tasks.update_by_id(task.id, merge_params={"size": 3})
    same(merged.params, {"colour": "red", "size": 3})
    assert task.id in ids(tasks.list(agent_id=world.agent.id, status="RUNNING", limit=1000, relationships=["agents"]))
    assert task.id in ids(tasks.list(agent_name=world.agent.name, limit=1000, order_by="created_at", order_direction="desc"))
    with tasks.stream_events(task.id) as stream:
        same(next(stream)["type"], "connected")
    with tasks.stream_events_by_name(task.name) as stream:
        same(next(stream)["type"], "connected")
    ends = {
        "cancel": "CANCELED", "complete": "COMPLETED", "fail": "FAILED", "terminate": "TERMINATED", "timeout": "TIMED_OUT",
    }
    for verb, status in ends.items():
        spare = world.task()
        ended = getattr(tasks, verb)(spare.id, reason=f"{verb} it")
        same((ended.id, ended.status, ended.status_reason), (spare.id, status, f"{verb} it"))
    same(tasks.interrupt(task.id, reason="wait").id, task.id)
    # There is no workflow engine to ask.
    world.refuses(InternalServerError, tasks.query_workflow, "any", task_id=task.id)
    tasks.delete(task.id)
    spare = world.task()
    tasks.delete_by_name(spare.name)
    world.refuses(NotFoundError, tasks.retrieve, str(uuid.uuid4()))


@group
def messages(world: World) -> None:
    messages, task = world.client.messages, world.task()
    one = messages.create(task_id=task.id, content=text("one"))
    same((one.task_id, one.content.type, one.content.content), (task.id, "text", "one"))
    same(messages.retrieve(one.id).content.content, "one")
    same(messages.update(one.id, task_id=task.id, content=text("uno"), streaming_status="DONE").content.content, "uno")
    data = {"type": "data", "author": "agent", "data": {"n": 1}}
    request = {"type": "tool_request", "author": "agent", "tool_call_id": "c", "name": "t", "arguments": {"x": [1]}}
    response = {"type": "tool_response", "author": "agent", "tool_call_id": "c", "name": "t", "content": {"y": None}}
    reasoning = {"type": "reasoning", "author": "agent", "summary": ["so"], "content": ["because"]}
    batch = messages.batch.create(task_id=task.id, contents=[data, request, response, reasoning])
    same([item.content.type for item in batch], ["data", "tool_request", "tool_response", "reasoning"])
    same((batch[0].content.data, batch[1].content.arguments, batch[3].content.summary), ({"n": 1}, {"x": [1]}, ["so"]))
    changed = messages.batch.update(task_id=task.id, updates={batch[0].id: text("changed")})
    same([item.content.content for item in changed], ["changed"])
    everything = [one.id, *ids(batch)]
    same(sorted(ids(messages.list(task_id=task.id))), sorted(everything))
    filtered = messages.list(task_id=task.id, filters=json.dumps([{"content": {"type": "text", "author": "user"}}]))
    same(sorted(ids(filtered)), sorted([one.id, batch[0].id]))
    seen: list[str] = []
    page = messages.list_paginated(task_id=task.id, limit=2)
    while True:
        seen += ids(page.data)
        if not page.next_cursor:
            break
        page = messages.list_paginated(task_id=task.id, limit=2, cursor=page.next_cursor)
    same((sorted(seen), page.has_more), (sorted(everything), False))


@group
def states(world: World) -> None:
    states, task = world.client.states, world.task()
    made = states.create(agent_id=world.agent.id, task_id=task.id, state={"step": 1, "deep": {"ü": [None, 1.5, 2**60]}})
    same(made.state, {"step": 1, "deep": {"ü": [None, 1.5, 2**60]}})
    same(states.retrieve(made.id), made)
    changed = states.update(made.id, state={"step": 2})
    same((changed.state, changed.created_at), ({"step": 2}, made.created_at))
    same(ids(states.list(task_id=task.id)), [made.id])
    same(ids(states.list(task_id=task.id, agent_id=world.agent.id, limit=1, page_number=1)), [made.id])
    same(states.delete(made.id).id, made.id)
    same(states.list(task_id=task.id), [])
    world.refuses(NotFoundError, states.retrieve, made.id)


@group
def events(world: World) -> None:
    """Events, and the tracker that says how far an agent has read them."""
    answering_later = world.client.agents.retrieve_by_name(f"{world.agent.name}-later")
    task = world.client.agents.create_task(agent_id=answering_later.id, params={}).result
    sent = [
        world.client.agents.send_event(
            agent_id=answering_later.id, params={"task_id": task.id, "content": text(words)}
        ).result
        for words in ("first", "second")
    ]
    first, second = sent
    same((first.task_id, first.agent_id, first.content.content), (task.id, answering_later.id, "first"))
    same(world.client.events.retrieve(first.id).sequence_id, first.sequence_id)
    listed = world.client.events.list(task_id=task.id, agent_id=answering_later.id)
    same(ids(listed), [first.id, second.id])
    assert first.sequence_id < second.sequence_id
    rest = {"task_id": task.id, "agent_id": answering_later.id, "last_processed_event_id": first.id, "limit": 5}
    same(ids(world.client.events.list(**rest)), [second.id])

    trackers = world.client.tracker
    (tracker,) = trackers.list(task_id=task.id, agent_id=answering_later.id)
    same((tracker.task_id, tracker.agent_id), (task.id, answering_later.id))
    same(trackers.retrieve(tracker.id).id, tracker.id)
    moved = trackers.update(tracker.id, last_processed_event_id=second.id, status="PROCESSING", status_reason="busy")
    same((moved.last_processed_event_id, moved.status, moved.status_reason), (second.id, "PROCESSING", "busy"))
    # Backwards it does not go.
    world.refuses(BadRequestError, trackers.update, tracker.id, last_processed_event_id=first.id)
    same(trackers.retrieve(tracker.id).last_processed_event_id, second.id)
    canceled = world.client.agents.cancel_task(agent_id=answering_later.id, params={"task_id": task.id}).result
    same((canceled.id, canceled.status), (task.id, "CANCELED"))


@group
def spans(world: World) -> None:
    spans, trace, task = world.client.spans, str(uuid.uuid4()), world.task()
    start = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
    root = spans.create(name="root", trace_id=trace, start_time=start, input={"q": 1}, data={"kind": "x"}, task_id=task.id)
    same((root.input, root.data, root.task_id, root.start_time), ({"q": 1}, {"kind": "x"}, task.id, start))
    own = str(uuid.uuid4())
    child = spans.create(id=own, name="child", trace_id=trace, start_time=start, parent_id=root.id)
    same((child.id, child.parent_id, child.end_time), (own, root.id, None))
    end = start + datetime.timedelta(seconds=1)
    same(spans.update(own, end_time=end, output={"a": [1]}).end_time, end)
    found = spans.retrieve(own)
    same((found.name, found.output, found.end_time), ("child", {"a": [1]}, end))
    same(sorted(ids(spans.list(trace_id=trace))), sorted([root.id, own]))
    same(ids(spans.list(task_id=task.id, limit=1, order_by="start_time", order_direction="asc")), [root.id])


@group
def checkpoints(world: World) -> None:
    checkpoints, thread = world.client.checkpoints, world.task().id
    same(checkpoints.get_tuple(thread_id=thread), None)
    blob = {"channel": "c", "version": "1", "type": "bytes", "blob": base64.b64encode(b"\x00\xff").decode()}
    for number in (1, 2):
        put = checkpoints.put(
            thread_id=thread, checkpoint_id=f"cp-{number}", parent_checkpoint_id="cp-1" if number > 1 else None,
            checkpoint={"channel_versions": {"c": "1"}}, metadata={"step": number}, blobs=[blob],
        )
        same((put.thread_id, put.checkpoint_ns, put.checkpoint_id), (thread, "", f"cp-{number}"))
    write = {"task_id": "t", "idx": -1, "channel": "__error__", "type": "bytes", "blob": blob["blob"]}
    checkpoints.put_writes(thread_id=thread, checkpoint_id="cp-2", writes=[write], upsert=True)
    # Whatever order they are sent in, they are read in the order of their numbers.
    writes = [write | {"idx": idx, "channel": "c"} for idx in (1, 0)]
    checkpoints.put_writes(thread_id=thread, checkpoint_id="cp-2", writes=writes)
    found = checkpoints.get_tuple(thread_id=thread)
    same((found.checkpoint_id, found.parent_checkpoint_id, found.metadata), ("cp-2", "cp-1", {"step": 2}))
    same([(item.channel, item.version, item.blob) for item in found.blobs], [("c", "1", blob["blob"])])
    same([(item.task_id, item.idx, item.channel) for item in found.pending_writes], [("t", -1, "__error__"), ("t", 0, "c"), ("t", 1, "c")])
    same(checkpoints.get_tuple(thread_id=thread, checkpoint_id="cp-1", checkpoint_ns="").checkpoint_id, "cp-1")
    listed = checkpoints.list(thread_id=thread, before_checkpoint_id="cp-2", filter_metadata={"step": 1}, limit=5)
    same([item.checkpoint_id for item in listed], ["cp-1"])
    world.refuses(UnprocessableEntityError, checkpoints.list, thread_id=thread, limit=1001)
    # A blob of nothing stays nothing; one that is not base64 is refused, and the checkpoint with it.
    beside = {"thread_id": thread, "checkpoint_ns": "beside"}
    version = {"channel_versions": {"c": "1"}}
    checkpoints.put(**beside, checkpoint_id="cp-1", checkpoint=version, blobs=[blob | {"type": "empty", "blob": None}])
    same([(item.type, item.blob) for item in checkpoints.get_tuple(**beside).blobs], [("empty", None)])
    bad = {"checkpoint": {}, "blobs": [blob | {"blob": "*"}]}
    world.refuses(UnprocessableEntityError, checkpoints.put, **beside, checkpoint_id="cp-2", **bad)
    same([item.checkpoint_id for item in checkpoints.list(**beside)], ["cp-1"])
    checkpoints.delete_thread(thread_id=thread)
    same(checkpoints.list(thread_id=thread), [])


@group
def webhooks(world: World) -> None:
    """The one method for keys the client has."""
    made = world.client.webhooks.create_webhook_trigger(
        agent_name=world.agent.name, forward_path="hooks/pr", name=f"acme/{uuid.uuid4().hex}", source="github",
        base_url="https://agents.example",
    )
    same((made.agent_name, made.source), (world.agent.name, "github"))
    assert made.key_id and len(made.secret) >= 16, made
    same(made.webhook_path, f"/agents/forward/name/{world.agent.name}/hooks/pr")
    same(made.webhook_url, f"https://agents.example{made.webhook_path}")


@group
def deployments(world: World) -> None:
    agent = world.client.agents.register_build(name=f"every-{uuid.uuid4().hex}", description="to deploy")
    deployments = world.client.agents.deployments
    made = deployments.create(
        agent.id, docker_image="registry.example/agent:1", helm_release_name="release", registration_metadata={"branch_name": "b"}
    )
    same((made.agent_id, made.docker_image, made.status), (agent.id, "registry.example/agent:1", "Pending"))
    same((made.helm_release_name, made.is_production), ("release", False))
    same(deployments.retrieve(made.id, agent_id=agent.id).id, made.id)
    same(ids(deployments.list(agent.id, limit=10, order_by="created_at", order_direction="desc")), [made.id])
    # Nothing is to be promoted or called before its pod has come.
    world.refuses(BadRequestError, deployments.promote, made.id, agent_id=agent.id)
    world.refuses(BadRequestError, deployments.preview_rpc, made.id, agent_id=agent.id, method="task/create", params={})
    same(deployments.delete(made.id, agent_id=agent.id).id, made.id)
    # It is kept for a while, marked for cleanup.
    assert deployments.retrieve(made.id, agent_id=agent.id).expires_at is not None

    # Its pod registers; then it is called, and then promoted.
    agent = world.register(f"every-{uuid.uuid4().hex}", {})
    live = deployments.create(agent.id, docker_image="registry.example/agent:2")
    world.register(agent.name, {"deployment_id": live.id})
    same(deployments.retrieve(live.id, agent_id=agent.id).status, "Ready")
    answer = deployments.preview_rpc(live.id, agent_id=agent.id, method="task/create", params={"params": {"a": 1}}, id=5)
    same((answer.id, answer.error, answer.result.params), (5, None, {"a": 1}))
    promoted = deployments.promote(live.id, agent_id=agent.id)
    same((promoted.id, promoted.is_production), (live.id, True))


@group
def deployment_history(world: World) -> None:
    name, history = f"every-{uuid.uuid4().hex}", world.client.deployment_history
    build = {
        "agent_commit": "c0ffee", "branch_name": "main", "author_name": "Ada", "author_email": "ada@example.com",
        "build_timestamp": "2026-01-02T03:04:05Z",
    }
    world.register(name, build)
    agent = world.register(name, build | {"agent_commit": "c0ffef"}).id
    listed = history.list(agent_id=agent, limit=5, order_by="deployment_timestamp", order_direction="desc")
    same([item.commit_hash for item in listed], ["c0ffef", "c0ffee"])
    newest = history.retrieve(listed[0].id)
    same((newest, newest.agent_id, newest.author_name), (listed[0], agent, "Ada"))
    same(newest.build_timestamp, datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC))
    same(ids(history.list(agent_name=name, limit=1)), [newest.id])
    world.refuses(NotFoundError, history.retrieve, str(uuid.uuid4()))


@group
def schedules(world: World) -> None:
    schedules, agent = world.client.agents.schedules, world.agent.id
    name = f"every-{uuid.uuid4().hex}"
    made = schedules.create(
        agent, name=name, initial_input={"content": "hello"}, cron_expression="0 17 * * MON-FRI", timezone="Europe/Berlin",
        task_params={"a": 1}, task_metadata={"b": 2}, description="each evening",
    )
    same((made.agent_id, made.name, made.initial_input.content), (agent, name, "hello"))
    same((made.cron_expression, made.timezone, made.task_params), ("0 17 * * MON-FRI", "Europe/Berlin", {"a": 1}))
    world.refuses(BadRequestError, schedules.create, agent, name=name, initial_input={"content": "x"}, interval_seconds=60)
    found = schedules.retrieve(made.id, agent_id=agent)
    same((found.id, found.state), (made.id, "ACTIVE"))
    same(schedules.retrieve_by_name(name, agent_id=agent).id, made.id)
    assert made.id in [item.id for item in schedules.list(agent, include_live=True, limit=1000).run_schedules]
    same(schedules.update(made.id, agent_id=agent, description="later").description, "later")
    same(schedules.update_by_name(name, agent_id=agent, cron_expression="0 18 * * *").cron_expression, "0 18 * * *")
    same(schedules.pause(made.id, agent_id=agent, note="holidays").paused, True)
    same(schedules.resume(made.id, agent_id=agent).paused, False)
    same(schedules.pause_by_name(name, agent_id=agent).paused, True)
    same(schedules.resume_by_name(name, agent_id=agent, note="back").paused, False)
    upcoming = schedules.retrieve(made.id, agent_id=agent).next_action_times[0]
    skipped = schedules.skip(made.id, agent_id=agent, scheduled_time=upcoming)
    assert upcoming in skipped.skipped_action_times, skipped
    same(schedules.unskip(made.id, agent_id=agent, scheduled_time=upcoming).skipped_action_times, [])
    same(schedules.trigger(made.id, agent_id=agent).id, made.id)
    same(schedules.trigger_by_name(name, agent_id=agent).id, made.id)
    schedules.delete(made.id, agent_id=agent)
    schedules.create(agent, name=name, initial_input={"content": "x"}, interval_seconds=3600, paused=True)
    schedules.delete_by_name(name, agent_id=agent)
    world.refuses(NotFoundError, schedules.retrieve_by_name, name, agent_id=agent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True, help="the server")
    parser.add_argument("--agent", required=True, help="name of a sync agent; NAME-later is an async one")
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="what to do (default: everything)")
    args = parser.parse_args()
    done: list[str] = []
    failed: dict[str, str] = {}
    with Agentex(base_url=args.base_url, max_retries=0, timeout=30) as client:
        world = World(client, args.agent, done)
        for name in args.groups or GROUPS:
            try:
                GROUPS[name](world)
            except Exception:
                failed[name] = traceback.format_exc(limit=4)
    json.dump({"done": done, "failed": failed}, sys.stdout)
    print()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
