"""The SMTP server in a process of its own, which tells what memory it takes.

Run as ``python -m tests.support.edge_process FOLDER``: it writes its port, and for each line of
input its peak in bytes; it ends with its input.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from tests.support.edge import serving
from tests.support.gateway import Certificates, make_certificates

SIZE_LIMIT_BYTES = 1 << 20


def peak_bytes() -> int:
    """The most memory this process ever had; the unit of the system's figure differs."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def main(folder: Path) -> None:
    """Serve until standard input ends."""
    certificates: Certificates = make_certificates(folder)
    async with serving(folder, certificates, message_size_limit_bytes=SIZE_LIMIT_BYTES) as rig:
        sys.stdout.write(f"{rig.ports[0]}\n")
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            sys.stdout.write(f"{peak_bytes()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
