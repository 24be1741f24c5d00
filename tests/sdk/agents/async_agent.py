"""An async agent of the real SDK, without a workflow engine.

Task created: `params` of the task may hold `greeting` (a message to write), `wait_ms`
(time to take before answering) and `fail` (the text of an exception to raise).

Event: writes the message `You said: <text>`. After it, two texts get a streamed message:

stream        of 3 words in the SDK's default mode, which merges deltas that come close
stream N      of N words, each published as a delta of its own

Task canceled: writes the message `Goodbye.`
"""

from __future__ import annotations

import asyncio

from runtime import count_in, prepare, serve, words

PORT = prepare("async")

from agentex.lib import adk  # noqa: E402
from agentex.lib.core.services.adk.streaming import StreamingMode  # noqa: E402
from agentex.lib.sdk.fastacp.fastacp import FastACP  # noqa: E402
from agentex.lib.types.acp import CancelTaskParams, CreateTaskParams, SendEventParams  # noqa: E402
from agentex.lib.types.fastacp import AsyncACPConfig  # noqa: E402
from agentex.types.task_message_delta import TextDelta  # noqa: E402
from agentex.types.task_message_update import StreamTaskMessageDelta  # noqa: E402
from agentex.types.text_content import TextContent  # noqa: E402

acp = FastACP.create("async", config=AsyncACPConfig(type="base"))


def text_content(text: str) -> TextContent:
    return TextContent(author="agent", content=text)


@acp.on_task_create
async def on_create(params: CreateTaskParams) -> None:
    wishes = params.params or {}
    await asyncio.sleep(wishes.get("wait_ms", 0) / 1000)
    if "fail" in wishes:
        raise RuntimeError(wishes["fail"])
    if "greeting" in wishes:
        await adk.messages.create(task_id=params.task.id, content=text_content(wishes["greeting"]))


@acp.on_task_event_send
async def on_event(params: SendEventParams) -> None:
    text = str(getattr(params.event.content, "content", ""))
    await adk.messages.create(task_id=params.task.id, content=text_content(f"You said: {text}"))
    if text.strip() == "stream":
        await stream_message(params.task.id, 3, "coalesced")
    elif numbers := count_in(text, "stream N"):
        await stream_message(params.task.id, *numbers, "per_token")


async def stream_message(task_id: str, count: int, mode: StreamingMode) -> None:
    async with adk.streaming.streaming_task_message_context(
        task_id=task_id, initial_content=text_content(""), streaming_mode=mode
    ) as message:
        for word in words(count):
            await message.stream_update(
                StreamTaskMessageDelta(
                    type="delta",
                    parent_task_message=message.task_message,
                    delta=TextDelta(type="text", text_delta=word),
                )
            )


@acp.on_task_cancel
async def on_cancel(params: CancelTaskParams) -> None:
    await adk.messages.create(task_id=params.task.id, content=text_content("Goodbye."))


if __name__ == "__main__":
    serve(acp, PORT)
