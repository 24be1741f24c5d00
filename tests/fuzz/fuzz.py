"""Starts the server, gives it some rows and an agent, and lets Schemathesis loose on it.

Once with authorization off and once with the local backend in the strict profile. The exit code is that of the worse run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from world import Api, seed

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "openapi.json"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,stream_events"
TOKENS = {"alice": "alice-0123456789abcdef", "bob": "bob-0123456789abcdef"}
# A Temporal for the schedules, as `testenv` starts one; optional.
TEMPORAL = "AGENTEX_TEST_TEMPORAL_ADDRESS"
# Requests per operation of the bounded run's fuzzing phase. The number of its coverage phase follows from the document.
EXAMPLES = 12
# What makes the requests of a run depend on its answers, and with them on ids that the server makes up.
REPEATABLE = """
[phases.coverage.extra-data-sources]
responses = false

[phases.fuzzing.extra-data-sources]
responses = false

[phases.fuzzing.error-feedback]
enabled = false
"""
# What cannot succeed here, whatever is asked. README.md says why.
NEVER_SUCCEED = {"GET /tasks/{task_id}/query/{query_name}", "POST /tasks/{task_id}/export"}
# What cannot succeed without Temporal.
NEEDS_TEMPORAL = re.compile(r"/schedules|/query/")


class Agent(BaseHTTPRequestHandler):
    """Answers every call at once: `message/send` as a stream of three lines, the rest as done, paths with their length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer("application/json", json.dumps({"path": len(self.path)}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            call = json.loads(body)
            method, identifier = call["method"], call["id"]
        except (ValueError, KeyError, TypeError):
            return self.do_GET()
        if method != "message/send":
            return self.answer("application/json", self.line({"status": "processing"}, identifier))
        content = {"type": "text", "author": "agent", "style": "static", "format": "plain", "content": "", "attachments": None}
        update = {"index": 0, "parent_task_message": None}
        lines = [
            update | {"type": "start", "content": content},
            update | {"type": "delta", "delta": {"type": "text", "text_delta": "lorem"}},
            update | {"type": "done"},
        ]
        self.answer("application/x-ndjson", "".join(self.line(line, identifier) for line in lines))

    @staticmethod
    def line(result: dict, identifier: object) -> str:
        return json.dumps({"jsonrpc": "2.0", "result": result, "error": None, "id": identifier}) + "\n"

    def answer(self, content_type: str, body: str) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


class Server:
    """The server under test, in a folder of its own."""

    def __init__(self, binary: Path, folder: Path, strict: bool) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        environment |= {"SSE_KEEPALIVE_PING_INTERVAL": "0.2", "RUST_LOG": "warn", "AGENTEX_LOG_FORMAT": "text"}
        # Without a secret to check signatures with, the gateways have no routes.
        environment |= {"SLACK_SIGNING_SECRET": secrets.token_hex(), "LINEAR_WEBHOOK_SIGNING_SECRET": secrets.token_hex()}
        if strict:
            tokens = folder / "tokens.toml"
            tokens.write_text("".join(
                f'[[token]]\ntoken = "{token}"\nuser_id = "{user}"\naccounts = ["acme"]\n' for user, token in TOKENS.items()
            ))
            environment |= {"AGENTEX_AUTHZ_BACKEND": "local", "AGENTEX_TOKENS_FILE": str(tokens)}
        if temporal := os.environ.get(TEMPORAL):
            environment["TEMPORAL_ADDRESS"] = temporal
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--port", "0", "--data-dir", folder / "data", "--drain-timeout", "1"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )
        ready = self.process.stdout.readline()
        found = re.search(r"http://[\w.:\[\]]+", ready)
        if not found:
            self.stop()
            raise SystemExit(f"fuzz: the server did not start: {self.log.read_text()[-2000:]}")
        self.api = Api(found[0].rstrip("/"), TOKENS["alice"] if strict else None)

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def report(figures: dict, temporal: bool, full: bool) -> int:
    """Prints how often which status was answered. 1 if a full run never saw an operation succeed that can."""
    answers: list[tuple[str, int, int]] = figures["answers"]
    statuses: dict[int, int] = {}
    for _, status, count in answers:
        statuses[status] = statuses.get(status, 0) + count
    paths = json.loads(DOCUMENT.read_text())["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    silent = sorted(operations - {operation for operation, status, _ in answers if status < 300})
    print(f"fuzz: {sum(statuses.values())} answers:", ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    print(f"fuzz: requests as generated: {figures['digest']}")
    print(f"fuzz: {len(silent)} of {len(operations)} operations never succeeded:", "; ".join(silent) or "none")
    excused = {name for name in silent if name in NEVER_SUCCEED or (not temporal and NEEDS_TEMPORAL.search(name))}
    unexpected = [name for name in silent if name not in excused]
    for name in unexpected:
        seen = ", ".join(f"{count} x {status}" for operation, status, count in answers if operation == name)
        print(f"fuzz: {name} only answered {seen or 'nothing'}", file=sys.stderr)
    return int(full and bool(unexpected))


def fuzz(mode: str, options: argparse.Namespace, agent_url: str) -> int:
    with tempfile.TemporaryDirectory(prefix="agentex-fuzz-") as name:
        folder = Path(name)
        started = time.monotonic()
        temporal = TEMPORAL in os.environ
        server = Server(options.binary.resolve(), folder, mode == "strict")
        try:
            world = {
                "url": server.api.url, "token": server.api.token, "tokens": list(TOKENS.values()) if mode == "strict" else [],
                "temporal": temporal, "records": seed(server.api, agent_url, temporal),
            }
            (folder / "world.json").write_text(json.dumps(world))
            settings = folder / "schemathesis.toml"
            settings.write_text((HERE / settings.name).read_text() + ("" if options.minutes else REPEATABLE))
            command = [
                Path(sys.executable).parent / "schemathesis", "--config-file", settings, "run", DOCUMENT,
                "--url", server.api.url, "--checks", CHECKS, "--seed", str(options.seed), "--no-color",
                "--continue-on-failure", "--no-shrink", "--generation-database", "none", "--warnings", "off",
            ]
            if options.minutes:
                seconds = int(options.minutes * 60 / len(options.modes))
                command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(seconds)]
            else:
                command += ["--phases", "coverage,fuzzing", "--max-examples", str(options.examples)]
            command += options.further
            result = subprocess.run(
                command, cwd=folder,
                env=os.environ | {
                    "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE),
                    "AGENTEX_FUZZ_WORLD": str(folder / "world.json"),
                    "AGENTEX_FUZZ_ANSWERS": str(folder / "answers.json"),
                },
            ).returncode
            crashed = server.process.poll() is not None
        finally:
            server.stop()
        log = server.log.read_text(errors="replace")
        if crashed or "panicked" in log:
            print(f"fuzz: the server panicked or ended:\n{log[-4000:]}", file=sys.stderr)
            result = result or 1
        full = not options.further and (options.minutes or options.examples >= EXAMPLES)
        result = result or report(json.loads((folder / "answers.json").read_text()), temporal, bool(full))
        if options.log:
            options.log.with_suffix(f".{mode}").write_text(log)
        print(f"fuzz: {mode}: {'ok' if result == 0 else 'FAILED'} after {time.monotonic() - started:.0f} s", flush=True)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("--binary", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="requests per operation of the bounded run")
    parser.add_argument("--mode", choices=["open", "strict", "both"], default="both")
    parser.add_argument("--log", type=Path, help="where to leave the server's log")
    options, options.further = parser.parse_known_args()
    options.modes = ["open", "strict"] if options.mode == "both" else [options.mode]
    if not options.binary.is_file():
        raise SystemExit(f"fuzz: there is no server at {options.binary}; build it first")

    agent = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=agent.serve_forever, daemon=True).start()
    agent_url = f"http://127.0.0.1:{agent.server_port}"
    results = [fuzz(mode, options, agent_url) for mode in options.modes]
    sys.exit(1 if any(results) else 0)


main()
