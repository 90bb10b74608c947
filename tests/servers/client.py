"""An independent client of servers with an OpenAI-compatible stream: latency, TTFT, decode rate and counts from times of arrival.

It shares no code with inferometer. It sends a request over a plain socket, stores every read with its time, and interprets the
stored bytes afterwards.

    latency     from before connecting to the event that ends the answer (`finish_reason`), at least to its last text     [s]
    TTFT        from before connecting to the first event with text                                                        [s]
    decode      (tokens with text - tokens of the first event) / (last event with text - first one)                      [1/s]
    counts      of `usage`, else of `timings`; an event with text counts as one token where the server counts none

An end token is counted by some servers and has no text: one token more than events with text is no token with text.

An event arrives when the read arrives that ends its line.
"""

import dataclasses
import json
import socket
import time


@dataclasses.dataclass
class Exchange:
    """A request and the reads of its response: seconds since before connecting, and bytes."""

    path: str
    body: bytes
    reads: list[tuple[float, bytes]]
    head: bytes = b""


@dataclasses.dataclass
class Figures:
    latency_s: float | None = None
    ttft_s: float | None = None
    decode_tps: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    pieces: int = 0
    text: str = ""


def send(address: tuple[str, int], path: str, body: bytes, timeout: float = 600) -> Exchange:
    """Sends a request on a connection of its own and reads until the server ends the response."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    )
    exchange = Exchange(path, body, [], head.encode())
    began = time.perf_counter()
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(exchange.head + body)
        while data := connection.recv(1 << 16):
            exchange.reads.append((time.perf_counter() - began, data))
            if is_complete(exchange):
                break
    return exchange


def is_complete(exchange: Exchange) -> bool:
    """Whether the last chunk of a chunked body has arrived: some servers keep the connection open."""
    tail = b"".join(data for _, data in exchange.reads[-2:])[-16:]
    return tail.endswith(b"\r\n0\r\n\r\n") or tail == b"0\r\n\r\n"


def body_bytes(exchange: Exchange) -> tuple[int, list[tuple[float, bytes]]]:
    """The status, and the body in parts with their times: without the head, and without the framing of chunks."""
    data, arrivals, at = b"", [], 0
    for when, part in exchange.reads:
        data += part
        at += len(part)
        arrivals.append((at, when))
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError(f"no HTTP head: {data[:80]!r}")
    status = int(head.split(None, 2)[1])
    start = len(head) + 4

    def arrived(position: int) -> float:
        return next(when for end, when in arrivals if position < end)

    if b"transfer-encoding: chunked" not in head.lower():
        ends = [start, *(end for end, _ in arrivals if end > start)]
        return status, [(arrived(a), data[a:b]) for a, b in zip(ends, ends[1:])]
    parts, position = [], start
    while position < len(data):
        line = data.find(b"\r\n", position)
        if line < 0:
            break
        size = int(data[position:line].split(b";")[0], 16)
        if size == 0:
            break
        begin, end = line + 2, line + 2 + size
        # A chunk may arrive in several reads.
        cuts = sorted({begin, min(end, len(data)), *(cut for cut, _ in arrivals if begin < cut < end)})
        parts += [(arrived(a), data[a:b]) for a, b in zip(cuts, cuts[1:])]
        position = end + 2
    return status, parts


def events(exchange: Exchange) -> list[tuple[float, dict]]:
    """The JSON documents of the `data:` lines, each with the time at which its line was complete."""
    status, parts = body_bytes(exchange)
    if status != 200:
        raise ValueError(f"status {status}: {b''.join(data for _, data in parts)[:300]!r}")
    found, line = [], b""
    for when, part in parts:
        for byte_line in part.splitlines(keepends=True):
            line += byte_line
            if not line.endswith((b"\n", b"\r")):
                continue
            text = line.strip()
            line = b""
            if text.startswith(b"data:") and text[5:].strip() != b"[DONE]":
                found.append((when, json.loads(text[5:])))
    return found


def text_of(event: dict) -> str:
    """The text of an event: of chat completions and of completions."""
    if isinstance(event.get("content"), str):
        return event["content"]
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        for key in ["content", "reasoning_content", "reasoning"]:
            if delta.get(key):
                return delta[key]
        if choice.get("text"):
            return choice["text"]
    return ""


def figures(exchange: Exchange) -> Figures:
    """The figures of a complete exchange."""
    found, times, counts, ended = Figures(), [], [], 0.0
    for when, event in events(exchange):
        if event.get("error"):
            raise ValueError(f"error in the stream: {event['error']}")
        text = text_of(event)
        usage, timings = event.get("usage") or {}, event.get("timings") or {}
        if usage.get("prompt_tokens"):
            found.prompt_tokens = usage["prompt_tokens"]
        elif timings.get("prompt_n") is not None and not found.prompt_tokens:
            found.prompt_tokens = timings["prompt_n"] + timings.get("cache_n", 0)
        counted = usage.get("completion_tokens") or timings.get("predicted_n")
        if counted:
            found.output_tokens = counted
        if any(choice.get("finish_reason") for choice in event.get("choices") or []) or event.get("stop") is True:
            ended = ended or when
        if text:
            found.text += text
            times.append(when)
            counts.append(counted)
    found.pieces = len(times)
    if not times:
        return found
    found.ttft_s, found.latency_s = times[0], max(times[-1], ended)
    found.output_tokens = found.output_tokens or found.pieces
    # Without an end token, which has no text.
    tokens = found.pieces if found.output_tokens == found.pieces + 1 else found.output_tokens
    first = counts[0] or 1
    if len(times) > 1 and times[-1] > times[0]:
        found.decode_tps = (tokens - first) / (times[-1] - times[0])
    return found
