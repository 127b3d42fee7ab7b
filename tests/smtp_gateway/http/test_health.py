"""What makes a gateway ready."""

from smtp_gateway.http.health import Health


def test_nothing_wrong_means_ready() -> None:
    """An empty list of faults is readiness; details never count."""
    health = Health(
        listening=True,
        draining=False,
        certificate_usable=True,
        memory_left=True,
        details={"api": "open"},
    )
    assert health.faults == []


def test_every_fault_is_named_at_once() -> None:
    """Somebody who mends one thing sees what is left."""
    health = Health(
        listening=False, draining=True, certificate_usable=False, memory_left=False, details={}
    )
    assert health.faults == [
        "not listening",
        "draining",
        "no usable certificate",
        "no memory left",
    ]
