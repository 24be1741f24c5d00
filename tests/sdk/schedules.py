"""Schedules of both kinds with the real SDK, in steps between which a system test looks around.

make    one that creates tasks and, with --queue, one that starts workflows; both fire every second
watch   waits until both have fired, with --answered also until the agent has answered
handle  lists, reads, pauses, triggers, changes, skips and resumes them
remove  deletes them
query   asks the workflow of --task

The SDK has methods for the first kind. The second is sent over the same client: its transport, its credentials. One JSON
object is printed; the exit code is 1 when something was not as it should be, and `error` says what.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from agentex import Agentex, BadRequestError, ConflictError, NotFoundError
from client import described, plain

RUN, FLOW = "every-second", "flow"
PARAMS = {"from": "a clock"}


def same(found: Any, expected: Any) -> None:
    assert found == expected, f"{found!r} instead of {expected!r}"


class Schedules:
    """Both schedules of an agent."""

    def __init__(self, client: Agentex, args: argparse.Namespace) -> None:
        self.client, self.agent, self.queue, self.answered = client, args.agent, args.queue, args.answered
        self.deadline = time.monotonic() + args.timeout
        self.typed = client.agents.schedules

    # What the SDK has no methods for.

    def raw(self, method: str, rest: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
        path = f"/agents/{self.agent}/schedules{rest}"
        return getattr(self.client, method)(path, cast_to=object, **({} if body is None else {"body": body}))

    def flow(self) -> dict[str, Any]:
        return self.raw("get", f"/{FLOW}")

    def until(self, what: str, ask: Callable[[], Any]) -> Any:
        """Asks until there is an answer: the server tells nobody that a schedule has fired."""
        while not (answer := ask()):
            assert time.monotonic() < self.deadline, f"{what} did not come"
            time.sleep(0.2)
        return answer

    def refused(self, kind: type[Exception], call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            answer = call(*args, **kwargs)
        except kind:
            return
        raise AssertionError(f"{answer!r} instead of {kind.__name__}")

    # What a schedule has done.

    def delivered(self, trigger: str) -> list[Any]:
        """Tasks of the first schedule that were told their input."""
        tasks = self.client.tasks.list(agent_id=self.agent, limit=1000)
        metadata = [(task, task.task_metadata or {}) for task in tasks]
        return [
            task for task, known in metadata
            if known.get("trigger_type") == trigger and known.get("scheduled_input_delivered") is True
        ]

    def has_answered(self, task: Any) -> bool:
        texts = [getattr(message.content, "content", None) for message in self.client.messages.list(task_id=task.id)]
        return "You said: hello" in texts

    # The steps.

    def make(self) -> dict[str, Any]:
        run = self.typed.create(
            self.agent, name=RUN, interval_seconds=1, initial_input={"content": "hello"}, task_params=PARAMS,
            description="fires all the time",
        )
        same((run.agent_id, run.name, run.state), (self.agent, RUN, "ACTIVE"))
        self.refused(
            BadRequestError, self.typed.create,
            self.agent, name=RUN, interval_seconds=60, initial_input={"content": "another"},
        )
        made = {"run": plain(run)}
        if self.queue:
            new = {"name": FLOW, "workflow_name": "Note", "task_queue": self.queue, "workflow_params": PARAMS}
            flow = self.raw("post", body=new | {"interval_seconds": 1})
            same((flow["kind"], flow["name"], flow["state"]), ("workflow", FLOW, "ACTIVE"))
            same(flow["action"]["workflow_params"], [PARAMS])
            self.refused(ConflictError, self.raw, "post", body=new | {"interval_seconds": 60})
            # A name is one of both kinds.
            self.refused(ConflictError, self.raw, "post", body=new | {"name": RUN, "interval_seconds": 60})
            made["flow"] = flow
        return made

    def watch(self) -> dict[str, Any]:
        fired = self.until("two tasks", lambda: len(tasks := self.delivered("scheduled")) > 1 and tasks)
        for task in fired:
            same(self.client.tasks.retrieve(task.id).params, PARAMS)
            assert task.name.startswith("scheduled-run:"), task.name
            same(task.task_metadata["display_name"], RUN)
        if self.answered:
            self.until("an answer", lambda: any(self.has_answered(task) for task in fired))
        seen = {"tasks": [task.id for task in fired]}
        if self.queue:
            seen["flow"] = self.until("two workflows", lambda: (f := self.flow())["num_actions_taken"] > 1 and f)
        return seen

    def handle(self) -> dict[str, Any]:
        listed = self.raw("get", "?include_live=true")
        same([item["name"] for item in listed["run_schedules"]], [RUN])
        same([item["name"] for item in listed.get("schedules", [])], [FLOW] if self.queue else [])
        run = self.typed.retrieve_by_name(RUN, agent_id=self.agent)
        same(self.typed.retrieve(run.id, agent_id=self.agent).id, run.id)
        same([item.id for item in self.typed.list(self.agent, include_live=True).run_schedules], [run.id])

        same(self.typed.pause(run.id, agent_id=self.agent, note="a look around").state, "PAUSED")
        self.typed.trigger(run.id, agent_id=self.agent)
        self.until("a triggered task", lambda: self.delivered("manual"))
        self.change_run(run.id)
        if self.queue:
            self.handle_flow()
        return {"run": plain(self.typed.retrieve(run.id, agent_id=self.agent))}

    def change_run(self, run: str) -> None:
        changed = self.typed.update(run, agent_id=self.agent, cron_expression="0 12 1 6 *", timezone="Europe/Berlin")
        same((changed.cron_expression, changed.interval_seconds, changed.state), ("0 12 1 6 *", None, "PAUSED"))
        same(self.typed.resume_by_name(RUN, agent_id=self.agent).state, "ACTIVE")
        first, second = self.typed.retrieve(run, agent_id=self.agent).next_action_times[:2]
        skipped = self.typed.skip(run, agent_id=self.agent, scheduled_time=first)
        same((skipped.skipped_action_times, skipped.next_action_times[0]), ([first], second))
        # A change of something else leaves it skipped.
        same(self.typed.update(run, agent_id=self.agent, description=None).skipped_action_times, [first])
        back = self.typed.unskip(run, agent_id=self.agent, scheduled_time=first)
        same((back.skipped_action_times, back.next_action_times[0]), ([], first))

    def handle_flow(self) -> None:
        same(self.raw("post", f"/{FLOW}/pause", {"note": "a look around"})["state"], "PAUSED")
        before = self.flow()["num_actions_taken"]
        self.raw("post", f"/{FLOW}/trigger")
        self.until("a triggered workflow", lambda: self.flow()["num_actions_taken"] > before)
        changed = self.raw("patch", f"/{FLOW}", {"cron_expression": "0 12 1 6 *"})
        same((changed["spec"]["cron_expressions"], changed["spec"]["intervals_seconds"]), (["0 12 1 6 *"], []))
        same(self.raw("post", f"/{FLOW}/unpause")["state"], "ACTIVE")
        first, second = self.flow()["next_action_times"][:2]
        skipped = self.raw("post", f"/{FLOW}/skip", {"scheduled_time": first})
        same((skipped["skipped_action_times"], skipped["next_action_times"][0]), ([first], second))
        back = self.raw("post", f"/{FLOW}/unskip", {"scheduled_time": first})
        same((back["skipped_action_times"], back["next_action_times"][0]), ([], first))

    def remove(self) -> dict[str, Any]:
        run = self.typed.retrieve_by_name(RUN, agent_id=self.agent)
        deleted = {"run": plain(self.typed.delete(run.id, agent_id=self.agent))}
        self.refused(NotFoundError, self.typed.retrieve, run.id, agent_id=self.agent)
        self.refused(NotFoundError, self.typed.trigger_by_name, RUN, agent_id=self.agent)
        if self.queue:
            deleted["flow"] = self.raw("delete", f"/{FLOW}")
            self.refused(NotFoundError, self.flow)
            self.refused(NotFoundError, self.raw, "post", f"/{FLOW}/trigger")
        left = self.raw("get")
        same((left["run_schedules"], left["schedules"], left["total"]), ([], [], 0))
        return deleted


def query(client: Agentex, args: argparse.Namespace) -> dict[str, Any]:
    return {"answer": plain(client.tasks.query_workflow(args.query, task_id=args.task))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True, help="the server")
    parser.add_argument("--timeout", type=int, default=60, help="seconds to wait for what a clock does")
    parser.add_argument("--agent", help="id of the agent")
    parser.add_argument("--queue", help="task queue of the worker `workflows.py`")
    parser.add_argument("--answered", action="store_true", help="the agent answers what it is told")
    parser.add_argument("--task", help="id of a task, for queries")
    parser.add_argument("--query", default="state", help="name of the query")
    parser.add_argument("step", choices=["make", "watch", "handle", "remove", "query"])
    args = parser.parse_args()
    outcome: dict[str, Any]
    with Agentex(base_url=args.base_url, max_retries=0, timeout=30) as client:
        try:
            outcome = query(client, args) if args.step == "query" else getattr(Schedules(client, args), args.step)()
        except Exception as error:
            outcome = {"error": described(error), "trace": traceback.format_exc(limit=6)}
    json.dump(outcome, sys.stdout)
    print()
    return 1 if "error" in outcome else 0


if __name__ == "__main__":
    sys.exit(main())
