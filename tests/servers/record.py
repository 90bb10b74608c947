"""Records one exchange with a server as a fixture of engines/tests/fixtures/servers.

    record.py http://127.0.0.1:PORT PATH NOTE [BODY] > FILE

Headers without information, identifiers and paths are replaced; the note is the first line.
"""

import re
import socket
import sys
import time
import urllib.parse

import client

DROPPED = re.compile(r"^(date|access-control-[a-z-]+|x-request-id|vary):", re.IGNORECASE)
REPLACED = [
    (re.compile(r"/[\w./-]*/(smollm2|tiny)\b[\w.-]*"), "/path"),
    (re.compile(r"/[\w./-]+\.gguf"), "/path"),
    (re.compile(r"\b(chatcmpl|cmpl|modelperm|req|resp)[-_][\w-]+"), r"\1-1"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "id-1"),
]


def exchange(host: str, port: int, method: str, path: str, body: bytes) -> client.Exchange:
    found = client.Exchange(path, body, [])
    kind = b"Content-Type: application/json\r\n" if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode()
    began = time.perf_counter()
    with socket.create_connection((host, port), timeout=600) as connection:
        connection.sendall(head + kind + b"\r\n" + body)
        while data := connection.recv(1 << 16):
            found.reads.append((time.perf_counter() - began, data))
            if client.is_complete(found):
                break
    return found


def clean(text: str) -> str:
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    return text


def main() -> None:
    url, path, note = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
    body = sys.argv[4].encode() if len(sys.argv) > 4 else b""
    method = "POST" if body else "GET"
    found = exchange(url.hostname, url.port, method, path, body)
    head = found.reads[0][1].partition(b"\r\n\r\n")[0].decode()
    lines = [f"# {note}", f"{method} {path}"]
    lines += [f"{found.reads[0][0]:.4f} {clean(line)}" for line in head.split("\r\n") if not DROPPED.match(line)]
    lines.append("")
    rest, when = "", 0.0
    for when, data in client.body_bytes(found)[1]:
        *whole, rest = (rest + data.decode(errors="replace")).split("\n")
        lines += [f"{when:.4f} {clean(line.rstrip())}" for line in whole]
    if rest:
        lines.append(f"{when:.4f} {clean(rest)}")
    print("\n".join(lines))


main()
