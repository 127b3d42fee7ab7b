"""Start the gateway: ``python -m smtp_gateway``."""

from smtp_gateway.app import main

if __name__ == "__main__":
    raise SystemExit(main())
