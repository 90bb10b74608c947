"""A relay between a client and a server that stores what passes, with the times at which it passes."""

import select
import socket
import threading
import time

from client import Exchange


class Relay:
    """Forwards connections on a port of its own; `exchanges` are those that are complete, in the order of their requests."""

    def __init__(self, upstream: tuple[str, int]):
        self.upstream = upstream
        self.exchanges: list[Exchange] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True, name="relay").start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forward, args=(connection, time.perf_counter()), daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def forward(self, client: socket.socket, began: float) -> None:
        """Forwards one connection in both directions until the server or the client ends it."""
        request, reads = b"", []
        with client, socket.create_connection(self.upstream) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_open = True
            while is_open:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(1 << 16)
                        if ready is server:
                            reads.append((time.perf_counter() - began, data))
                            client.sendall(data)
                        else:
                            request += data
                            server.sendall(data)
                    except OSError:
                        data = b""
                    is_open = is_open and bool(data)
        head, _, body = request.partition(b"\r\n\r\n")
        words = head.split()
        if len(words) > 1:
            path = words[1].decode()
            self.exchanges.append(Exchange(path, body, [(when, data) for when, data in reads if data], head))
