"""A sync agent of the real SDK. The text of the message chooses the answer:

stream N      start, N text deltas, done
slow N MS     the same with MS milliseconds before each delta
fail after N  N text deltas, then an exception
fail          an exception before any answer
list          two contents at once
reasoning     one reasoning content with nothing but the SDK's defaults
nothing       no content
other text    one content, `You said: <text>`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from runtime import count_in, prepare, serve, words

PORT = prepare("sync")

from agentex.lib.sdk.fastacp.fastacp import FastACP  # noqa: E402
from agentex.lib.types.acp import RPCMethod, SendMessageParams  # noqa: E402
from agentex.types.reasoning_content import ReasoningContent  # noqa: E402
from agentex.types.task_message_content import TaskMessageContent  # noqa: E402
from agentex.types.task_message_delta import TextDelta  # noqa: E402
from agentex.types.task_message_update import (  # noqa: E402
    StreamTaskMessageDelta,
    StreamTaskMessageDone,
    StreamTaskMessageStart,
    TaskMessageUpdate,
)
from agentex.types.text_content import TextContent  # noqa: E402

acp = FastACP.create("sync")


def text_content(text: str) -> TextContent:
    return TextContent(author="agent", content=text)


def text_of(params: SendMessageParams) -> str:
    return str(getattr(params.content, "content", ""))


async def stream(count: int, pause_ms: int = 0, fail: bool = False) -> AsyncIterator[TaskMessageUpdate]:
    yield StreamTaskMessageStart(type="start", index=0, content=text_content(""))
    for word in words(count):
        await asyncio.sleep(pause_ms / 1000)
        yield StreamTaskMessageDelta(type="delta", index=0, delta=TextDelta(type="text", text_delta=word))
    if fail:
        raise RuntimeError(f"failed after {count} deltas, as asked")
    yield StreamTaskMessageDone(type="done", index=0)


def streamed(text: str) -> AsyncIterator[TaskMessageUpdate] | None:
    """The stream `text` asks for, if it asks for one."""
    if numbers := count_in(text, "stream N"):
        return stream(*numbers)
    if numbers := count_in(text, "slow N N"):
        return stream(*numbers)
    if numbers := count_in(text, "fail after N"):
        return stream(*numbers, fail=True)
    return None


@acp.on_message_send
async def answer_streaming(params: SendMessageParams):
    async for update in streamed(text_of(params)):
        yield update


send_stream = acp._handlers[RPCMethod.MESSAGE_SEND]


@acp.on_message_send
async def answer_at_once(params: SendMessageParams) -> TaskMessageContent | list[TaskMessageContent] | None:
    text = text_of(params)
    match text.strip():
        case "fail":
            raise RuntimeError("failed before answering, as asked")
        case "list":
            return [text_content("first"), text_content("second")]
        case "reasoning":
            return ReasoningContent(author="agent", summary=["thought about it"])
        case "nothing":
            return None
        case _:
            return text_content(f"You said: {text}")


send_at_once = acp._handlers[RPCMethod.MESSAGE_SEND]


# The SDK treats generators and plain functions differently and holds one handler only;
# choosing between its two wrappers keeps both of its paths under test in one process.
async def send_message(params: SendMessageParams):
    return await (send_at_once if streamed(text_of(params)) is None else send_stream)(params)


acp._handlers[RPCMethod.MESSAGE_SEND] = send_message

if __name__ == "__main__":
    serve(acp, PORT)
