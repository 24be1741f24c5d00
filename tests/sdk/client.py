"""A client of the real SDK for system tests.

Every subcommand prints one JSON object. The exit code is 0 when the SDK raised nothing;
otherwise the object has `error`, or `failed` names the calls that raised. An error the
SDK hands over as data (a streamed JSON-RPC error) is found in the object only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from agentex import Agentex, APIStatusError


def plain(value: Any) -> Any:
    """`value` as JSON data: what the SDK made of the answer, unset fields left out."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def described(error: BaseException) -> dict[str, Any]:
    """What a caller of the SDK can learn from `error`."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, APIStatusError):
        facts |= {"status": error.status_code, "body": error.body}
    return facts


def user_text(text: str) -> dict[str, Any]:
    return {"type": "text", "author": "user", "content": text}


def create_task(client: Agentex, args: argparse.Namespace) -> Any:
    params = {"params": json.loads(args.task_params)} if args.task_params else {}
    return client.agents.create_task(agent_name=args.agent, params=params).result


def events(client: Agentex, task_id: str, reader: str) -> Iterator[dict[str, Any]]:
    """The task's events, by one of the two ways applications read them."""
    if reader == "typed":
        with client.tasks.stream_events(task_id) as stream:
            yield from stream
    else:
        with client.tasks.with_streaming_response.stream_events(task_id) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


def sync_turn(client: Agentex, args: argparse.Namespace) -> dict[str, Any]:
    task = create_task(client, args)
    params = {"task_id": task.id, "content": user_text(args.text)}
    if args.stream:
        replies = client.agents.send_message_stream(agent_name=args.agent, params=params)
        answer = {"updates": [plain(reply) for reply in replies]}
    else:
        answer = {"reply": plain(client.agents.send_message(agent_name=args.agent, params=params))}
    return {"task": plain(task), **answer, "messages": plain(client.messages.list(task_id=task.id))}


def async_turn(client: Agentex, args: argparse.Namespace) -> dict[str, Any]:
    task = create_task(client, args)
    seen: list[dict[str, Any]] = []
    event = None
    for update in events(client, task.id, args.reader):
        seen.append(update)
        # The stream is known to be open only once something came from it.
        if event is None:
            params = {"task_id": task.id, "content": user_text(args.text)}
            event = client.agents.send_event(agent_name=args.agent, params=params).result
        if update.get("type") == args.until:
            break
    return {
        "task": plain(task),
        "event": plain(event),
        "events": seen,
        "messages": plain(client.messages.list(task_id=task.id)),
    }


def watch(client: Agentex, args: argparse.Namespace) -> dict[str, Any]:
    seen = []
    for update in events(client, args.task, args.reader):
        seen.append(update)
        if len(seen) == args.count:
            return {"events": seen}
    ended = {"type": "StreamEnded", "message": f"the stream ended before {args.count} events"}
    return {"events": seen, "error": ended}


class Calls:
    """Calls one SDK method after the other and notes what became of each."""

    def __init__(self) -> None:
        self.outcomes: list[dict[str, Any]] = []

    def __call__(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The answer, or None if the call failed."""
        try:
            answer = method(*args, **kwargs)
        except Exception as error:
            self.outcomes.append({"call": name, "ok": False, "error": described(error)})
            return None
        self.outcomes.append({"call": name, "ok": True, "result": plain(answer)})
        return answer


def resources(client: Agentex, args: argparse.Namespace) -> dict[str, Any]:
    call = Calls()
    agent = exercise_agents(client, call, args.agent)
    if agent is not None:
        exercise_rpc(client, call, agent)
        exercise_tasks(client, call, agent.name)
        exercise_messages(client, call, agent.name)
    failed = [outcome["call"] for outcome in call.outcomes if not outcome["ok"]]
    return {"calls": call.outcomes, "failed": failed}


def exercise_agents(client: Agentex, call: Calls, name: str) -> Any:
    agent = call("agents.retrieve_by_name", client.agents.retrieve_by_name, name)
    if agent is not None:
        call("agents.retrieve", client.agents.retrieve, agent.id)
    call("agents.list", client.agents.list)
    call(
        "agents.list(ordered page)",
        client.agents.list,
        limit=1, page_number=1, order_by="name", order_direction="asc",
    )
    for how in ("delete", "delete_by_name"):
        spare = call(
            "agents.register_build",
            client.agents.register_build,
            name=f"sdk-spare-{uuid.uuid4().hex}", description="made to be deleted",
        )
        if spare is not None:
            which = spare.id if how == "delete" else spare.name
            call(f"agents.{how}", getattr(client.agents, how), which)
    return agent


def exercise_rpc(client: Agentex, call: Calls, agent: Any) -> None:
    agents = client.agents
    call("agents.rpc", agents.rpc, agent.id, method="task/create", params={})
    call(
        "agents.rpc_by_name",
        agents.rpc_by_name,
        agent.name, method="task/create", params={}, id="own-id", jsonrpc="2.0",
    )
    task = new_task(client, call, agent.name)
    if task is None:
        return
    params = {"task_id": task.id, "content": user_text("hello")}
    if agent.acp_type == "sync":
        call("agents.send_message", agents.send_message, agent_name=agent.name, params=dict(params))
        call(
            "agents.send_message_stream",
            lambda: list(agents.send_message_stream(agent_name=agent.name, params=dict(params))),
        )
    else:
        call("agents.send_event", agents.send_event, agent_name=agent.name, params=params)
        call("agents.cancel_task", agents.cancel_task, agent_id=agent.id, params={"task_id": task.id})


def new_task(client: Agentex, call: Calls, agent_name: str) -> Any:
    """A new task with a name of its own."""
    params = {"name": f"sdk-{uuid.uuid4().hex}", "params": {"made_by": "resources"}}
    answer = call("agents.create_task", client.agents.create_task, agent_name=agent_name, params=params)
    return answer and answer.result


def exercise_tasks(client: Agentex, call: Calls, agent_name: str) -> None:
    tasks = client.tasks
    task = new_task(client, call, agent_name)
    if task is None:
        return
    call("tasks.retrieve", tasks.retrieve, task.id)
    call("tasks.retrieve(relationships)", tasks.retrieve, task.id, relationships=["agents"])
    call("tasks.retrieve_by_name", tasks.retrieve_by_name, task.name)
    call("tasks.list", tasks.list, agent_name=agent_name, limit=5, page_number=1)
    call("tasks.update_by_id", tasks.update_by_id, task.id, task_metadata={"by": "id"})
    call("tasks.list(task_metadata)", tasks.list, task_metadata=json.dumps({"by": "id"}), status="RUNNING")
    call("tasks.update_by_name", tasks.update_by_name, task.name, task_metadata={"by": "name"})
    call("tasks.stream_events", lambda: first(tasks.stream_events(task.id)))
    call("tasks.stream_events_by_name", lambda: first(tasks.stream_events_by_name(task.name)))
    for verb in ("cancel", "complete", "fail", "terminate", "timeout", "interrupt"):
        # The oldest release cannot interrupt.
        if hasattr(tasks, verb) and (spare := new_task(client, call, agent_name)):
            call(f"tasks.{verb}", getattr(tasks, verb), spare.id, reason=f"{verb}, as asked")
    call("tasks.delete", tasks.delete, task.id)
    if spare := new_task(client, call, agent_name):
        call("tasks.delete_by_name", tasks.delete_by_name, spare.name)


def first(stream: Any) -> Any:
    with stream:
        return next(stream)


def exercise_messages(client: Agentex, call: Calls, agent_name: str) -> None:
    messages = client.messages
    task = new_task(client, call, agent_name)
    if task is None:
        return
    message = call("messages.create", messages.create, task_id=task.id, content=user_text("one"))
    if message is not None:
        call("messages.retrieve", messages.retrieve, message.id)
        call("messages.update", messages.update, message.id, task_id=task.id, content=user_text("uno"))
    batch = call(
        "messages.batch.create",
        messages.batch.create,
        task_id=task.id, contents=[user_text("two"), user_text("three")],
    )
    if batch:
        changes = {item.id: user_text("changed") for item in batch}
        call("messages.batch.update", messages.batch.update, task_id=task.id, updates=changes)
    call("messages.list", messages.list, task_id=task.id)
    call(
        "messages.list(ordered page)",
        messages.list,
        task_id=task.id, limit=1, page_number=2, order_by="created_at", order_direction="asc",
    )
    page = call("messages.list_paginated", messages.list_paginated, task_id=task.id, limit=2)
    if page is not None and page.next_cursor:
        call(
            "messages.list_paginated(cursor)",
            messages.list_paginated,
            task_id=task.id, limit=2, cursor=page.next_cursor,
        )


def parse_arguments() -> argparse.Namespace:
    server = os.environ.get("AGENTEX_BASE_URL", "http://localhost:5003")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--base-url", default=server, help="the server (default %(default)s)")
    common.add_argument("--timeout", type=int, default=60, help="seconds for the whole command (default 60)")

    agent = argparse.ArgumentParser(add_help=False)
    agent.add_argument("--agent", required=True, help="name of the agent")

    turn = argparse.ArgumentParser(add_help=False)
    turn.add_argument("--text", required=True, help="text to send")
    turn.add_argument("--task-params", help="`params` of the new task, as a JSON object")

    reader = argparse.ArgumentParser(add_help=False)
    reader.add_argument("--reader", choices=["typed", "lines"], default="typed", help="how to read the event stream")

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("sync-turn", parents=[common, agent, turn], help="a message to a sync agent")
    command.add_argument("--stream", action="store_true", help="ask for a streamed answer")
    command.set_defaults(run=sync_turn)

    command = commands.add_parser(
        "async-turn", parents=[common, agent, turn, reader], help="an event to an async agent"
    )
    command.add_argument(
        "--until",
        help="type of the update to stop at (default: done if the text starts with stream, else full)",
    )
    command.set_defaults(run=async_turn)

    command = commands.add_parser("watch", parents=[common, reader], help="the first events of a task")
    command.add_argument("--task", required=True, help="id of the task")
    command.add_argument("--count", type=int, required=True, help="number of events to wait for")
    command.set_defaults(run=watch)

    command = commands.add_parser(
        "resources", parents=[common, agent], help="the SDK's methods for agents, tasks and messages"
    )
    command.set_defaults(run=resources)

    args = parser.parse_args()
    if args.run is async_turn and args.until is None:
        args.until = "done" if args.text.startswith("stream") else "full"
    return args


class OutOfTime(BaseException):
    """--timeout has passed. Not an Exception: the SDK would retry, this file would note it."""


def out_of_time(*_: Any) -> None:
    raise OutOfTime("the command took longer than --timeout")


def main() -> int:
    args = parse_arguments()
    # An alarm also ends a stream that is alive but silent, which a read timeout may not.
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(args.timeout)
    try:
        with Agentex(base_url=args.base_url) as client:
            outcome = args.run(client, args)
    except (Exception, OutOfTime) as error:
        outcome = {"error": described(error)}
    signal.alarm(0)
    json.dump(outcome, sys.stdout)
    print()
    return 1 if outcome.get("error") or outcome.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
