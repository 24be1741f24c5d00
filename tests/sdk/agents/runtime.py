"""What both test agents share: settings from the environment, and the READY line."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"


def prepare(acp_type: str) -> int:
    """Sets what the environment leaves open and returns the port to listen on.

    Must run before the SDK is imported: parts of it read the environment at import.
    """
    parser = argparse.ArgumentParser(description=f"SDK test agent ({acp_type})")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port

    os.environ["ACP_PORT"] = str(port)
    for name, value in {
        "ACP_URL": f"http://{HOST}",
        "ACP_TYPE": acp_type,
        "AGENT_NAME": f"sdk-{acp_type}",
        "AGENTEX_BASE_URL": "http://localhost:5003",
        "REDIS_URL": "redis://localhost:6379",
        # Dependencies of the SDK that would otherwise go looking for the internet or a
        # local collector.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DD_TRACE_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)

    # An agent checks `x-agent-api-key` only if its settings were read before the server
    # class was imported. Real ones differ; ours are strict.
    from agentex.lib.environment_variables import EnvironmentVariables

    EnvironmentVariables.refresh()
    return port


def serve(acp: FastAPI, port: int) -> None:
    """Serves until stopped; prints READY once registered and listening."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            # Runs the SDK's lifespan (version guard, registration), then listens.
            await super().startup(sockets=sockets)
            if self.started:
                print("READY", flush=True)

    Server(uvicorn.Config(acp, host=HOST, port=port, log_level="warning")).run()


def count_in(text: str, pattern: str) -> list[int] | None:
    """The numbers of `pattern` (a command with `N` for each number) if `text` is one."""
    found = re.fullmatch(pattern.replace("N", r"(\d+)"), text.strip())
    return [int(number) for number in found.groups()] if found else None


def words(count: int) -> list[str]:
    """The deltas of a streamed answer; together they are its text."""
    return [f"word{number} " for number in range(count)]
