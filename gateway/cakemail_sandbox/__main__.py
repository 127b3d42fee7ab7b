"""``python -m cakemail_sandbox``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import ValidationError

from cakemail_sandbox import seed
from cakemail_sandbox.server import SandboxServer, listen, url_of
from cakemail_sandbox.settings import from_arguments
from cakemail_sandbox.world import House


def main(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C or SIGTERM; 2 when it cannot start."""
    settings = from_arguments(arguments)
    try:
        data = seed.load(settings.seed_path)
        listener = listen(settings.host, settings.port)
    except (OSError, ValidationError) as fault:
        sys.stderr.write(f"cakemail_sandbox: {fault}\n")
        return 2
    sys.stdout.write(f"Cakemail sandbox: {url_of(listener)}/ (Ctrl-C ends it)\n")
    sys.stdout.flush()
    try:
        SandboxServer(House(settings, data)).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has ended in good order and raises the signal again
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
