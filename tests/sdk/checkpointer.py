"""The SDK's LangGraph checkpointer, driven by hand and by a real graph without a model.

`saver` calls every method LangGraph calls and gives what came back; `graph` runs a small
graph until it pauses; `resume`, in this process or another, lets it go on. One JSON object
is printed with what each of them found; the exit code is 0 unless something raised.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import sys
from typing import Annotated, Any, TypedDict

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("commands", nargs="+", choices=["saver", "graph", "resume"])
parser.add_argument("--base-url", required=True, help="the server")
parser.add_argument("--thread", required=True, help="id of the task whose thread the graph has")
parser.add_argument("--spare-thread", help="saver: id of a task whose thread is written and deleted")
args = parser.parse_args()

# What the SDK wants to know of an agent before it makes a client for it; and a dependency
# would look for the internet.
os.environ |= {
    "AGENTEX_BASE_URL": args.base_url,
    "AGENT_NAME": "checkpointer",
    "ACP_URL": "http://127.0.0.1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}

from agentex.lib.adk import create_checkpointer  # noqa: E402
from langgraph.checkpoint.base import ERROR, empty_checkpoint  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.types import Command, interrupt  # noqa: E402


def configured(thread: str, namespace: str | None = "", checkpoint: str | None = None) -> dict[str, Any]:
    given = {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}
    return {"configurable": {name: value for name, value in given.items() if value is not None}}


async def put(saver: Any, config: dict[str, Any], id: str, values: dict[str, Any], changed: dict[str, Any],
              metadata: dict[str, Any], versions: dict[str, Any] | None = None) -> dict[str, Any]:
    """Stores a checkpoint whose `changed` channels are new. Gives where it is."""
    checkpoint = empty_checkpoint() | {
        "id": id,
        "channel_values": values,
        "channel_versions": versions if versions is not None else changed,
    }
    return await saver.aput(config, checkpoint, metadata, changed)


async def read(saver: Any, config: dict[str, Any]) -> dict[str, Any] | None:
    found = await saver.aget_tuple(config)
    return found and {
        "id": found.config["configurable"]["checkpoint_id"],
        "namespace": found.config["configurable"]["checkpoint_ns"],
        "parent": (found.parent_config or {}).get("configurable", {}).get("checkpoint_id"),
        "values": repr(dict(sorted(found.checkpoint["channel_values"].items()))),
        "metadata": found.metadata,
        "writes": [[task, channel, repr(value)] for task, channel, value in found.pending_writes],
    }


async def listed(saver: Any, config: dict[str, Any], **how: Any) -> list[list[str]]:
    """Namespace and id of what a list has."""
    found = [item.config["configurable"] async for item in saver.alist(config, **how)]
    return [[item["checkpoint_ns"], item["checkpoint_id"]] for item in found]


async def drive_saver() -> dict[str, Any]:
    saver = await create_checkpointer()
    facts: dict[str, Any] = {}
    root = configured(args.spare_thread)
    facts["absent"] = await read(saver, root)

    # `bytes`, a set and a tuple survive only as blobs; the number and the text travel in the checkpoint.
    values = {"things": [b"\x00\xff", {1}, (2, "drei")], "count": 2**53 + 1, "name": "ünïcode"}
    first = await put(saver, root, "cp-1", values, {"things": "1", "count": "1", "name": "1"}, {"step": 1, "source": "input"})
    facts["first"] = await read(saver, first)

    second = await put(
        saver, first, "cp-2",
        {"things": ["new"], "count": 2}, {"things": "2", "count": "2"}, {"step": 2, "source": "loop"},
    )
    await put(saver, second, "cp-3", {"count": 3}, {"count": "3"}, {"step": 3, "source": "loop"})
    facts["second"] = await read(saver, second)
    facts["newest"] = await read(saver, root)

    # The same version again with other bytes, the same id with another parent.
    await put(saver, configured(args.spare_thread, "", "cp-0"), "cp-2", {"things": ["other"], "count": 22}, {"things": "2"}, {"step": 2, "source": "fork"})
    facts["repeated"] = await read(saver, second)

    # Versions that are integers, and a channel that is empty.
    sub = configured(args.spare_thread, "sub")
    in_sub = await put(
        saver, sub, "cp-2", {"things": ["by number"]}, {"things": "7", "gone": "7"}, {"step": 0}, {"things": 7, "gone": 7}
    )
    facts["integer_versions"] = await read(saver, in_sub)

    await saver.aput_writes(second, [("things", ["w0"]), ("count", 9)], "task-a", "path")
    await saver.aput_writes(second, [("things", ["again"])], "task-a")
    await saver.aput_writes(second, [(ERROR, "first error")], "task-b")
    await saver.aput_writes(second, [(ERROR, "second error")], "task-b")
    await saver.aput_writes(second, [], "task-c")
    facts["writes"] = (await read(saver, second))["writes"]

    everywhere = configured(args.spare_thread, None)
    facts["lists"] = {
        "root": await listed(saver, root),
        "sub": await listed(saver, sub),
        "everywhere": await listed(saver, everywhere),
        "filtered": await listed(saver, root, filter={"source": "loop"}),
        "nothing": await listed(saver, root, filter={"source": "elsewhere"}),
        "before": await listed(saver, root, before=configured(args.spare_thread, "", "cp-3")),
        "limited": await listed(saver, root, limit=2),
    }
    facts["refused"] = {}
    for name, bad in {"limit 0": (root, 0), "limit 1001": (root, 1001), "no thread": (None, None)}.items():
        try:
            await listed(saver, bad[0], limit=bad[1])
        except Exception as error:
            facts["refused"][name] = getattr(getattr(error, "response", None), "status_code", repr(error))

    # A thread that is not to be touched, in a namespace the graph does not use.
    other = configured(args.thread, "beside")
    await put(saver, other, "cp-1", {"name": "other"}, {"name": "1"}, {})
    await saver.adelete_thread(args.spare_thread)
    await saver.adelete_thread(args.spare_thread)
    facts["deleted"] = {
        "root": await read(saver, root),
        "sub": await read(saver, in_sub),
        "second": await read(saver, second),
        "list": await listed(saver, everywhere),
        "other": await listed(saver, other),
    }
    # The blobs and writes are gone as well: the same checkpoint again has neither.
    again = await put(saver, root, "cp-2", {"things": ["unsent"]}, {}, {}, {"things": "2"})
    facts["deleted"]["again"] = await read(saver, again)
    return facts


class State(TypedDict):
    seen: Annotated[list[Any], operator.add]


def built(saver: Any) -> Any:
    """Two branches side by side, then a question to the user, then an end."""

    def left(_: State) -> dict[str, Any]:
        return {"seen": [("left", b"\x00")]}

    def right(_: State) -> dict[str, Any]:
        return {"seen": [("right", b"\xff")]}

    def ask(_: State) -> dict[str, Any]:
        return {"seen": [("answer", interrupt("how many?"))]}

    def finish(state: State) -> dict[str, Any]:
        return {"seen": [("finish", len(state["seen"]))]}

    graph = StateGraph(State)
    for name, node in {"left": left, "right": right, "ask": ask, "finish": finish}.items():
        graph.add_node(name, node)
    graph.add_edge(START, "left")
    graph.add_edge(START, "right")
    graph.add_edge(["left", "right"], "ask")
    graph.add_edge("ask", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=saver)


async def run_graph(given: Any) -> dict[str, Any]:
    saver = await create_checkpointer()
    graph = built(saver)
    config = configured(args.thread, None)
    before = await graph.aget_state(config)
    await graph.ainvoke(given, config)
    after = await graph.aget_state(config)
    return {
        "before": [repr(item) for item in before.values.get("seen", [])],
        "after": [repr(item) for item in after.values["seen"]],
        "next": list(after.next),
        "asked": [item.value for item in after.interrupts],
        "steps": [item.metadata["step"] async for item in saver.alist(configured(args.thread))],
    }


async def run() -> dict[str, Any]:
    facts = {}
    for command in args.commands:
        match command:
            case "saver":
                facts[command] = await drive_saver()
            case "graph":
                facts[command] = await run_graph({"seen": [("start", None)]})
            case "resume":
                facts[command] = await run_graph(Command(resume=3))
    return facts


def main() -> int:
    try:
        # A deadline, so that a silent server ends the test.
        facts = asyncio.run(asyncio.wait_for(run(), timeout=60))
    except Exception as error:
        response = getattr(error, "response", None)
        facts = {"error": {"type": type(error).__name__, "message": str(error), "body": response and response.text}}
    json.dump(facts, sys.stdout)
    print()
    return 1 if "error" in facts else 0


if __name__ == "__main__":
    sys.exit(main())
