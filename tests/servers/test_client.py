"""Tests of the client's arithmetic: `python3 -m unittest discover tests/servers`."""

import json
import unittest

import client


def stream(*reads: tuple[float, str], head: str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") -> client.Exchange:
    """An exchange whose events arrive at these times, each in a chunk of its own."""
    parts = [(0.0, head.encode())]
    parts += [(when, f"{len(text.encode()):x}\r\n{text}\r\n".encode()) for when, text in reads]
    return client.Exchange("/", b"", parts + [(99.0, b"0\r\n\r\n")])


def event(text: str = "", finish: str | None = None, **more: object) -> str:
    delta = {"content": text} if text else {}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}], **more})}\n\n"


class Figures(unittest.TestCase):
    def test_one_token_an_event(self) -> None:
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        found = client.figures(
            stream((1.0, event("a")), (1.5, event("b")), (2.0, event("c")), (2.1, event(finish="length", usage=usage)))
        )
        self.assertEqual((found.ttft_s, found.latency_s, found.decode_tps), (1.0, 2.1, 2.0))
        self.assertEqual((found.prompt_tokens, found.output_tokens, found.text), (7, 3, "abc"))

    def test_an_end_token_has_no_text(self) -> None:
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        found = client.figures(stream((1.0, event("a")), (1.5, event("b")), (2.0, event(finish="stop", usage=usage))))
        self.assertEqual((found.decode_tps, found.output_tokens, found.latency_s), (2.0, 3, 2.0))

    def test_several_tokens_an_event(self) -> None:
        first, last = {"prompt_tokens": 7, "completion_tokens": 2}, {"prompt_tokens": 7, "completion_tokens": 6}
        found = client.figures(stream((1.0, event("ab", usage=first)), (2.0, event("cdef", usage=last))))
        self.assertEqual((found.decode_tps, found.output_tokens), (4.0, 6))

    def test_an_event_arrives_with_the_end_of_its_line(self) -> None:
        text = event("a")
        found = client.figures(stream((0.5, text[:9]), (1.0, text[9:])))
        self.assertEqual((found.ttft_s, found.decode_tps), (1.0, None))

    def test_without_chunks(self) -> None:
        head = "HTTP/1.0 200 OK\r\n\r\n"
        parts = [(0.0, head.encode()), (1.0, event("a").encode()), (2.0, event("b").encode())]
        found = client.figures(client.Exchange("/", b"", parts))
        self.assertEqual((found.ttft_s, found.latency_s), (1.0, 2.0))

    def test_without_counts_an_event_is_a_token(self) -> None:
        found = client.figures(stream((1.0, event("a")), (1.5, event("b")), (2.0, event(finish="stop"))))
        self.assertEqual((found.output_tokens, found.decode_tps), (2, 2.0))


if __name__ == "__main__":
    unittest.main()
