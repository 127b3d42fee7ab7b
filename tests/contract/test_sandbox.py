"""The sandbox keeps the contract: generated requests, judged by the OpenAPI document.

schemathesis makes requests that fit the document and requests that do not, sends them over a real
socket, and judges status, media type and body of every answer. Statuses that the document does not
list come from the written list in ``cakemail_sandbox.deviations`` and nowhere else.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import positive_data_acceptance
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema

from cakemail_sandbox.contract import published
from cakemail_sandbox.deviations import with_extra_responses
from tests.cakemail_sandbox.mails import attachment, content, mail
from tests.support.sandbox import FULL_TOKEN, LIST_ID, PASSWORD, SENDER_ID, USERNAME, Sandbox

HEADERS = {"Authorization": f"Bearer {FULL_TOKEN}"}
# The same requests each time; a failure is told apart from bad luck by running it again.
BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def schema_of(sandbox: Sandbox) -> BaseSchema:
    """The document, bound to the running sandbox."""
    document = with_extra_responses(dict(published().document))
    # Every request carries a bearer, and a missing one is a test of its own: were it declared here,
    # schemathesis would leave it out and expect a refusal.
    components = {**document["components"], "securitySchemes": {}}
    schema = schemathesis.openapi.from_dict(
        {
            **document,
            "components": components,
            "paths": {
                path: {method: {**each, "security": []} for method, each in operations.items()}
                for path, operations in document["paths"].items()
            },
        }
    )
    schema.config.update(base_url=sandbox.url)
    return schema


@pytest.fixture
def contract(sandbox: Sandbox) -> BaseSchema:
    """What schemathesis reads."""
    return schema_of(sandbox)


OPERATIONS = [
    (method.upper(), path)
    for path, operations in published().document["paths"].items()
    for method in operations
]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_one_that_the_contract_lists(
    contract: BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Status, type and body; nothing that does not fit is taken, and nothing ends in a 5xx."""
    operation = contract[path][method]
    if mode.is_negative and not operation.body and not list(operation.iter_parameters()):
        assert path == "/accounts/self"  # nothing to be wrong about
        return

    @BOUNDED
    @given(operation.as_strategy(generation_mode=mode))
    def judge(case: Case[Any]) -> None:
        # What fits may still name a sender or list that nobody has: 400, as documented.
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])

    judge()


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[1] != "/token"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody"}], ids=["none", "wrong"])
def test_nothing_but_the_login_works_without_a_valid_bearer(
    contract: BaseSchema, method: str, path: str, headers: dict[str, str]
) -> None:
    """401 in the documented form, whatever else the request holds."""
    names = {"sender_id": "31", "list_id": "1", "account_id": "1", "email_id": str(UUID(int=1))}
    case = contract[path][method].Case(
        path_parameters={name: value for name, value in names.items() if f"{{{name}}}" in path}
    )

    assert case.call_and_validate(headers=headers).status_code == 401


# Requests that succeed, so that the bodies of success are judged too.
SUCCESSES: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/token", {"body": {"username": USERNAME, "password": PASSWORD}}, 200),
    (
        "POST",
        "/token",
        {"body": {"username": "mfa@example.com", "password": PASSWORD, "grant_type": "password"}},
        200,
    ),
    ("POST", "/v2/emails", {"body": mail()}, 201),
    ("POST", "/v2/emails", {"body": mail("optout@example.org")}, 201),
    (
        "POST",
        "/v2/emails",
        {
            "body": mail(
                tags=["a"],
                attachment=[attachment()],
                content=content(html="<p>x</p>", text="x", type="marketing"),
            ),
            "query": {"account_id": 1001},
        },
        201,
    ),
    ("GET", "/brands/default/senders", {"query": {"with_count": True, "sort": "-confirmed"}}, 200),
    ("GET", "/brands/default/senders/{sender_id}", {"path_parameters": {"sender_id": "31"}}, 200),
    ("GET", "/lists", {"query": {"filter": "status==active", "sort": "+created_on"}}, 200),
    ("GET", "/lists/{list_id}", {"path_parameters": {"list_id": LIST_ID}}, 200),
    ("GET", "/accounts/self", {}, 200),
    ("GET", "/accounts/{account_id}", {"path_parameters": {"account_id": "1002"}}, 200),
    ("GET", "/logs/emails-summary", {"query": {"email": "bob@example.org", "start_time": 1}}, 200),
]


@pytest.mark.parametrize(("method", "path", "request_", "status"), SUCCESSES)
def test_a_success_has_the_body_of_the_contract(
    contract: BaseSchema, method: str, path: str, request_: dict[str, Any], status: int
) -> None:
    """With every field of the type that the document gives it."""
    answer = contract[path][method].Case(**request_).call_and_validate(headers=HEADERS)

    assert answer.status_code == status


def test_a_stored_mail_has_the_body_of_the_contract(contract: BaseSchema) -> None:
    """Looked up by the id of its acceptance, and in the log."""
    full = mail(
        tags=["a"],
        content=content(
            html="<p>x</p>",
            template={"id": 7},
            custom_attributes=[{"name": "order", "value": "17"}, {"name": "empty", "value": ""}],
        ),
    )
    sent = contract["/v2/emails"]["POST"].Case(body=full).call_and_validate(headers=HEADERS)
    number = sent.json()["data"]["id"]

    shown = contract["/v2/emails/{email_id}"]["GET"].Case(path_parameters={"email_id": number})
    logged = contract["/logs/emails-summary"]["GET"].Case(query={"email_id": number})

    assert shown.call_and_validate(headers=HEADERS).json()["content"]["template_id"] == 7
    assert len(logged.call_and_validate(headers=HEADERS).json()["data"]) == 1


def test_the_judge_would_find_a_wrong_answer(sandbox: Sandbox, contract: BaseSchema) -> None:
    """A body with a field of another type, and a status that is not listed, fail."""
    case = contract["/v2/emails"]["POST"].Case(body=mail(sender={"id": SENDER_ID}))
    sandbox.fault(status=201, body={"email": "x", "data": {"id": "no uuid", "status": "sent"}})
    with pytest.raises(BaseExceptionGroup, match="201"):
        case.call_and_validate(headers=HEADERS)

    sandbox.no_faults()
    sandbox.fault(status=418)
    with pytest.raises(BaseExceptionGroup, match="418"):
        case.call_and_validate(headers=HEADERS)
