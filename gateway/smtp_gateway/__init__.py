"""SMTP submission server that hands every message to the Cakemail Email API.

Import order, upper may import lower, never the reverse (held by import-linter):

    __main__                 ten lines
    app                      composition root: build, start, drain, stop
    smtp | http              the SMTP side; health and metrics
    delivery                 one accepted message from bytes to outcome
    preparation              bytes to request parts, in this process or in a worker
    ledger | api             what was already sent; the Cakemail API
    email                    pure: message bytes to dataclasses
    telemetry                names of every metric and event
    live                     settings from a file that changes while running
    settings                 what may not change while running
    policy                   what may
    errors                   the error tree
    utils                    what any project could use
"""

from importlib.metadata import version

__version__ = version("cakemail-smtp-gateway")
