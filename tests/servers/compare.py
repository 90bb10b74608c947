"""Measures one server with inferometer and with an independent client, in turn, and prints both figures and their ratios.

    compare.py --inferometer PATH --name NAME [--json FILE] [--rounds N] COMMAND

The command, with {port} for the port, starts the server; a number instead of it is the port of a server that runs already. Two
comparisons are made:

    client    client.py sends the requests that inferometer sent, in turn with it: medians over all requests. Digits that bypass a
              prefix cache are replaced by other digits, so that answers may have other lengths. Both share the server's own variation.
    wire      a relay between inferometer and the server stores every read of the same requests; client.py computes their figures
              from the stored bytes. The largest deviation of one request is printed.

A figure agrees when the two sides differ by less than 2 % or 2 ms (a rate: by less than 2 %).
"""

import argparse
import json
import os
import pathlib
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import client
import relay

PROMPT = (
    "A harbour town has a lighthouse, a market and a school. Every morning the ferry brings flour, paper and lamp oil, and every "
    "evening it takes salted fish and wool back to the mainland. One winter the ferry does not come for nine days. Tell in a few "
    "plain sentences what the baker, the teacher and the keeper of the lighthouse do in that time."
)
FIELDS = ["latency_s", "ttft_s", "decode_tps", "prompt_tokens", "output_tokens"]
READY_S = 600


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A server as a process group of its own."""

    def __init__(self, command: str, port: int, log: pathlib.Path):
        words = shlex.split(command.replace("{port}", str(port)))
        self.log = log
        self.process = subprocess.Popen(
            words, stdout=log.open("wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self.wait(port)
        except BaseException:
            self.stop()
            raise

    def wait(self, port: int) -> None:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise SystemExit(f"the server exited: {self.log.read_text(errors='replace')[-1500:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.3)
        raise SystemExit(f"the server was not ready after {READY_S} s: {self.log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        for number in [signal.SIGTERM, signal.SIGKILL]:
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(timeout=5)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return


def run_tool(args: argparse.Namespace, port: int, folder: pathlib.Path) -> list[dict]:
    """One run of inferometer; its samples in the order of the requests."""
    command = [args.inferometer, "run", "-e", "openai", "--url", f"http://127.0.0.1:{port}", "--prompt", PROMPT]
    command += ["-n", str(args.tokens), "-r", str(args.requests), "--warmup", "0", "--trace", "off", "--out", str(folder)]
    command += args.tool
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    record = folder / "run.json"
    if not record.exists():
        raise SystemExit(f"inferometer failed: {done.stderr[-2000:]}")
    case = json.loads(record.read_text())["cases"][0]
    if case["status"] != "ok":
        raise SystemExit(f"inferometer: {case['status']}: {case['error']}")
    args.case = case
    return case["samples"]


def is_generation(exchange: client.Exchange) -> bool:
    return b'"stream":true' in exchange.body.replace(b" ", b"")


def with_other_digits(body: bytes) -> bytes:
    """The request with other digits where inferometer put random ones, in runs of the same length."""
    return re.sub(rb"\d{10,}", lambda found: bytes(random.choice(b"123456789") for _ in found.group()), body)


def median(values: list) -> float | None:
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def agrees(field: str, ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if field.endswith("tokens"):
        return ours == theirs
    return abs(ours - theirs) <= max(0.02 * theirs, 0.002 if field.endswith("_s") else 0.0)


def row(field: str, ours: list, theirs: list, wire: list[tuple]) -> dict:
    one, two = median(ours), median(theirs)
    deviations = [(a / b - 1, a - b) for a, b in wire if a is not None and b]
    worst = max(deviations, key=lambda pair: abs(pair[0]), default=None)
    return {
        "field": field,
        "ours": one,
        "client": two,
        "ratio": one / two if one is not None and two else None,
        "agrees": agrees(field, one, two),
        "wire_worst_share": worst[0] if worst else None,
        "wire_worst": worst[1] if worst else None,
        "wire_agrees": all(agrees(field, a, b) for a, b in wire),
    }


def shown(name: str, found: dict) -> str:
    def value(number: float | None) -> str:
        return "-" if number is None else f"{number:.4g}" if found["field"].endswith(("_s", "tps")) else f"{number:.0f}"

    ratio = "-" if found["ratio"] is None else f"{found['ratio']:.3f}"
    wire = "-"
    if found["wire_worst_share"] is not None:
        unit = f" ({found['wire_worst'] * 1e3:+.2f} ms)" if found["field"].endswith("_s") else ""
        wire = f"{found['wire_worst_share'] * 100:+.2f} %{unit}"
    verdict = {True: "", False: "  <- differs"}[found["wire_agrees"]]
    return f"{name:22} {found['field']:14} {value(found['ours']):>9} {value(found['client']):>9} {ratio:>7}  {wire:>22}{verdict}"


def measure(args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.command.isdigit():
            return exchange_all(args, int(args.command), folder)
        port = free_port()
        server = Server(args.command, port, folder / "log")
        try:
            return exchange_all(args, port, folder)
        finally:
            server.stop()


def exchange_all(args: argparse.Namespace, port: int, folder: pathlib.Path) -> dict:
    between = relay.Relay(("127.0.0.1", port))
    ours, theirs, wire, failures = [], [], [], []
    for number in range(args.rounds + 1):
        seen = len(between.exchanges)
        samples = run_tool(args, between.port, folder / f"run{number}")
        time.sleep(0.3)
        passed = [one for one in between.exchanges[seen:] if is_generation(one)]
        if len(passed) < len(samples):
            failures.append(f"round {number}: {len(samples)} samples, {len(passed)} requests on the wire")
            continue
        # Requests before the first sample only make the server ready.
        passed = passed[-len(samples) :]
        # The first round warms the server up.
        for sample, one in zip(samples, passed):
            if number and not sample["warmup"]:
                ours.append(sample)
                wire.append((sample, client.figures(one)))
        for _ in range(args.requests):
            body = with_other_digits(passed[-1].body)
            found = client.figures(client.send(("127.0.0.1", port), passed[-1].path, body))
            if number:
                theirs.append(found)
    between.close()
    rows = []
    for field in FIELDS:
        pairs = [(sample[field], getattr(seen, field)) for sample, seen in wire]
        rows.append(row(field, [one[field] for one in ours], [getattr(one, field) for one in theirs], pairs))
    server = args.case["server"]
    return {
        "name": args.name,
        "software": server["software"],
        "version": server["version"],
        "requests": len(ours),
        "rows": rows,
        "reasons": args.case["samples"][-1].get("reasons", {}),
        "failures": failures,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inferometer", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--json", type=pathlib.Path, help="append the result to this file, one line of JSON")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=2, help="requests of each side in a round")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--tool", action="append", default=[], help="a further argument of inferometer")
    parser.add_argument("command")
    args = parser.parse_args()
    found = measure(args)
    version = found["version"] or "of unknown version"
    print(f"{args.name}: identified as {found['software']} {version}, {found['requests']} requests of each side")
    print(f"{'server':22} {'figure':14} {'ours':>9} {'client':>9} {'ratio':>7}  {'wire, worst request':>22}")
    for one in found["rows"]:
        print(shown(args.name, one))
    for text in found["failures"]:
        print(f"{args.name}: {text}")
    if args.json:
        with args.json.open("a") as file:
            file.write(json.dumps(found) + "\n")
    return 0 if all(one["wire_agrees"] for one in found["rows"]) and not found["failures"] else 1


if __name__ == "__main__":
    sys.exit(main())
