"""What can go wrong with one reconcile.

    OperatorError
    |- SpecInvalid           terminal: waits for a new generation; told in a condition
    |- Conflict              transient: somebody wrote in between; look again at once
    |- ClusterUnavailable    transient: the API server did not answer, or asked for patience
    |- Refused               the API server refused an object for good (403, 422): a condition
    '- NotFound              it is not there
    ConfigurationError       stands outside: ends the program before it watches anything

Transient ones are tried again after a while; terminal ones wait until somebody changes something.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base. ``detail`` is for logs and conditions; it holds no Secret's content."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class SpecInvalid(OperatorError):
    """The spec cannot be rendered; says which field, and what to do."""


class Conflict(OperatorError):
    """409: a precondition or a resourceVersion no longer holds."""


class ClusterUnavailable(OperatorError):
    """Time-out, connection lost, 401, 410, 429, 5xx.

    ``retry_after_seconds``: asked for, or None. ``expired``: 410, what was asked for is too old.
    """

    def __init__(
        self,
        detail: str = "",
        retry_after_seconds: float | None = None,
        *,
        expired: bool = False,
    ) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
        self.expired = expired


class Refused(OperatorError):
    """403 or 422. ``status``: of HTTP. ``reason``: of the API server, such as ``Invalid``."""

    def __init__(self, detail: str, *, status: int, reason: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class NotFound(OperatorError):
    """404."""


class ConfigurationError(Exception):
    """Settings that do not hold together: one line per fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
