"""Answers every GET with the pod's name.

/burn?SECONDS uses a core for so long. /lookup?NAME resolves a name. /peer says who asks.
"""

import http.server
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping

import h11  # that pip works in image builds is part of what this image shows


def _burn(seconds: str) -> str:
    until = time.process_time() + float(seconds)
    while time.process_time() < until:
        pass
    return platform.node()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer by path."""
        path, _, query = self.path.partition("?")
        answers: Mapping[str, Callable[[], str]] = {
            "/burn": lambda: _burn(query),
            "/lookup": lambda: socket.gethostbyname(query),
            "/peer": lambda: str(self.client_address[0]),
        }
        body = answers.get(path, platform.node)() + "\n"
        self.send_response(200)
        self.send_header("X-Library", h11.PRODUCT_ID)
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    # The first process of a container has no default reaction to SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
