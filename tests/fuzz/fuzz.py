"""Starts the server, gives it some rows and an agent, and lets Schemathesis loose on it.

Once with authorization off and once with the local backend in the strict profile. The exit code is that of the worse run.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "openapi.json"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,stream_events"
TOKENS = {"alice": "alice-0123456789abcdef", "bob": "bob-0123456789abcdef"}
# A Temporal for the schedules, as `testenv` starts one; optional.
TEMPORAL = "AGENTEX_TEST_TEMPORAL_ADDRESS"
# Requests per operation of the bounded run's fuzzing phase. The number of its coverage phase follows from the document.
EXAMPLES = 12


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
        self.url = found[0].rstrip("/")
        self.token = TOKENS["alice"] if strict else None

    def call(self, method: str, path: str, body: object = None) -> dict:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def seed(server: Server, agent_url: str) -> dict[str, list[dict[str, list]]]:
    """Makes agents and what they have, for requests to meet: one record per agent, of the values each parameter may have.

    What ends or deletes its object is pointed at `doomed` records, so that the others last.
    """
    text = {"type": "text", "author": "user", "content": "hello"}
    moment = "2025-01-02T03:04:05Z"
    records = []
    for number in range(10):
        agent = server.call("POST", "/agents/register", {
            "name": f"fuzz-{number}", "description": "d", "acp_url": agent_url, "acp_type": ("sync", "async")[number % 2],
        })
        path = f"/agents/{agent['id']}"
        record: dict[str, list] = {"agent_id": [agent["id"]], "agent_name": [agent["name"]], "trace_id": [f"trace-{number}"]}
        records.append(record)

        def add(**values: object) -> None:
            for name, value in values.items():
                record.setdefault(name, []).append(value)

        for turn in range(2):
            key = server.call("POST", "/agent_api_keys", {"agent_id": agent["id"], "name": f"key-{number}-{turn}"})
            add(api_key_id=key["id"], api_key_name=key["name"])
            deployment = server.call("POST", f"{path}/deployments", {"docker_image": f"image:{turn}"})
            # Its pods report, so that calls and promotion reach something.
            server.call("POST", "/agents/register", {
                "name": agent["name"], "description": "d", "acp_url": agent_url, "acp_type": agent["acp_type"],
                "registration_metadata": {"deployment_id": deployment["id"]},
            })
            add(deployment_id=deployment["id"])
            task = server.call("POST", f"{path}/rpc", {
                "jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {"name": f"task-{number}-{turn}", "params": {}},
            })["result"]
            add(task_id=task["id"], task_name=task["name"], resource=f"task:{task['id']}")
            add(message_id=server.call("POST", "/messages", {"task_id": task["id"], "content": text})["id"])
            state = {"task_id": task["id"], "agent_id": agent["id"], "state": {"n": turn}}
            add(state_id=server.call("POST", "/states", state)["id"])
            span = {"trace_id": f"trace-{number}", "task_id": task["id"], "name": "span", "start_time": moment}
            add(span_id=server.call("POST", "/spans", span)["id"])
            checkpoint = str(uuid.uuid5(uuid.NAMESPACE_OID, task["name"]))
            server.call("POST", "/checkpoints/put", {
                "thread_id": task["id"], "checkpoint_id": checkpoint, "checkpoint": {"v": 1}, "metadata": {}, "blobs": [],
            })
            add(checkpoint_id=checkpoint)
            if agent["acp_type"] == "async":
                call = {"jsonrpc": "2.0", "id": 1, "method": "event/send", "params": {"task_id": task["id"], "content": text}}
                server.call("POST", f"{path}/rpc", call)
                for event in server.call("GET", f"/events?task_id={task['id']}&agent_id={agent['id']}"):
                    add(event_id=event["id"])
            for tracker in server.call("GET", f"/tracker?task_id={task['id']}"):
                add(tracker_id=tracker["id"])
            # What an agent can be asked, whatever the method.
            add(params={"task_id": task["id"], "content": text}, operation=("read", "update")[turn], acp_url=agent_url)
        if TEMPORAL in os.environ:
            for turn in range(2):
                schedule = server.call("POST", f"{path}/schedules", {
                    "name": f"schedule-{number}-{turn}", "initial_input": {"content": "hello"}, "cron_expression": "0 0 1 1 *",
                })
                add(schedule_id=schedule["id"], schedule_name=schedule["name"], cron_expression="0 0 1 1 *")
        for entry in server.call("GET", f"/deployment-history?agent_id={agent['id']}"):
            add(history_id=entry["id"])
    return {"kept": records[:4], "doomed": records[4:]}


def report(answers: list[tuple[str, int, int]]) -> int:
    """Prints how often which status was answered; 1 if so few operations ever did their job that the run shows little."""
    statuses: dict[int, int] = {}
    for _, status, count in answers:
        statuses[status] = statuses.get(status, 0) + count
    operations = {operation for operation, _, _ in answers}
    silent = sorted(operations - {operation for operation, status, _ in answers if status < 300})
    print(f"fuzz: {sum(statuses.values())} answers:", ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    print(f"fuzz: {len(silent)} of {len(operations)} operations never succeeded:", "; ".join(silent) or "none")
    return int(len(silent) > len(operations) / 2)


def fuzz(mode: str, options: argparse.Namespace, agent_url: str) -> int:
    with tempfile.TemporaryDirectory(prefix="agentex-fuzz-") as name:
        folder = Path(name)
        started = time.monotonic()
        server = Server(options.binary.resolve(), folder, mode == "strict")
        try:
            world = seed(server, agent_url)
            world |= {"tokens": list(TOKENS.values()) if mode == "strict" else [], "temporal": TEMPORAL in os.environ}
            (folder / "world.json").write_text(json.dumps(world))
            command = [
                Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", DOCUMENT,
                "--url", server.url, "--checks", CHECKS, "--seed", str(options.seed), "--no-color",
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
        result = result or report(json.loads((folder / "answers.json").read_text()))
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
