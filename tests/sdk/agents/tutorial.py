"""Runs an agent of the SDK's public tutorials as it was published.

`TUTORIAL` names the file that has it, `ACP_TYPE` (sync or async) what it is. Its spans go to
the server; on its own the SDK sends them nowhere.
"""

from __future__ import annotations

import os
import runpy

from runtime import prepare, serve

PORT = prepare(os.environ["ACP_TYPE"])

from agentex.lib.core.tracing.tracing_processor_manager import add_tracing_processor_config  # noqa: E402
from agentex.lib.types.tracing import AgentexTracingProcessorConfig  # noqa: E402

add_tracing_processor_config(AgentexTracingProcessorConfig())

if __name__ == "__main__":
    serve(runpy.run_path(os.environ["TUTORIAL"])["acp"], PORT)
