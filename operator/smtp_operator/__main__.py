"""``python -m smtp_operator``."""

from __future__ import annotations

import sys

from smtp_operator.app import main

if __name__ == "__main__":
    sys.exit(main())
