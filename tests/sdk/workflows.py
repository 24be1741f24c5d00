"""Somebody else's Temporal worker: what workflow schedules start, and what queries are asked of.

Prints READY when it is about to poll, then a JSON object for each workflow `Note`.

Note(params)  notes its id and what it was given, and ends
Waiting       does nothing until it is ended; answers the query `state`, and fails at `broken`
"""

from __future__ import annotations

import argparse
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Optional

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@activity.defn
def note(workflow_id: str, params: Optional[Any]) -> None:
    print(json.dumps({"workflow_id": workflow_id, "params": params}), flush=True)


@workflow.defn(name="Note")
class Note:
    @workflow.run
    async def run(self, params: Optional[Any] = None) -> None:
        await workflow.execute_activity(
            note, args=[workflow.info().workflow_id, params], start_to_close_timeout=timedelta(seconds=10)
        )


@workflow.defn(name="Waiting")
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def state(self) -> dict[str, int]:
        return {"steps": 1}

    @workflow.query
    def broken(self) -> None:
        raise RuntimeError("the query does not work")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="Temporal")
    parser.add_argument("--queue", required=True, help="task queue to work on")
    args = parser.parse_args()
    client = await Client.connect(args.address)
    with ThreadPoolExecutor(4) as threads:
        worker = Worker(
            client,
            task_queue=args.queue,
            workflows=[Note, Waiting],
            activities=[note],
            activity_executor=threads,
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        print("READY", flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
