"""The table of kinds, and paths made from it."""

from __future__ import annotations

import pytest

from smtp_operator.cluster.kinds import CHILD_KINDS, KINDS


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "subresource", "path"),
    [
        ("Secret", "mail", "a", "", "/api/v1/namespaces/mail/secrets/a"),
        ("Deployment", "", "", "", "/apis/apps/v1/deployments"),
        ("Deployment", "mail", "", "", "/apis/apps/v1/namespaces/mail/deployments"),
        ("SmtpGateway", "mail", "a", "status",
         "/apis/smtp.cakemail.com/v1alpha1/namespaces/mail/smtpgateways/a/status"),
        ("Secret", "mail", "../x", "", "/api/v1/namespaces/mail/secrets/..%2Fx"),
    ],
)  # fmt: skip
def test_paths(kind: str, namespace: str, name: str, subresource: str, path: str) -> None:
    """As the API has them; a name cannot leave its place."""
    assert KINDS[kind].path(namespace, name, subresource) == path


def test_every_child_has_a_row() -> None:
    """The table is all the discovery there is."""
    assert [kind for kind in CHILD_KINDS if kind not in KINDS] == []
    assert KINDS["Secret"].api_version == "v1"
    assert KINDS["Deployment"].api_version == "apps/v1"
