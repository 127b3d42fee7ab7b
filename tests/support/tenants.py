"""Customers of the sandbox, as many as tests want: each has its own account, login and sender.

Caches, pauses and lock-outs of a gateway are kept per account and login, so tests that share one
gateway do not feel each other when each has a customer of its own. What they write is made of
words that nobody else uses, so that a log can be searched for them.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cakemail_sandbox import seed as seeds
from cakemail_sandbox.seed import AccessToken, Account, MailingList, Seed, Sender, User

SUBJECT = "velvet otter"
BODY = "crimson heron"
SECRET = "bronze lynx"
FILE_NAME = "walnut-gate"
# Of all that clients send and the API answers, none of this may ever stand in a log.
PRIVATE = (SUBJECT, BODY, SECRET, FILE_NAME, "@example", "@tenant", "ck_pat_", "eyJ")

SHORTEST_IN_BASE64 = 7  # of what is shorter the few characters would be found by chance

_FIRST_ACCOUNT = 50_000
_numbers = itertools.count(1)
_letters = itertools.count(1)
SCOPES = ("emailapi:send", "emailapi:read", "sender:read", "list:read", "account:read")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer.

    Attributes:
        number: tells customers apart.
        scopes: of its access token.
    """

    number: int
    scopes: tuple[str, ...] = SCOPES

    @property
    def username(self) -> str:
        """Login, and address of the confirmed sender."""
        return f"t{self.number}@tenant.example"

    @property
    def sender(self) -> str:
        """The confirmed sender."""
        return self.username

    @property
    def pending_sender(self) -> str:
        """One that nobody has confirmed."""
        return f"pending{self.number}@tenant.example"

    @property
    def password(self) -> str:
        """The right one."""
        return f"{SECRET} {self.number}"

    @property
    def token(self) -> str:
        """A personal access token."""
        return f"ck_pat_{self.number:040x}"

    @property
    def account(self) -> int:
        """The login's own account."""
        return _FIRST_ACCOUNT + 2 * self.number

    @property
    def sub_account(self) -> int:
        """Another account that the login may select; it has a sender of the same address."""
        return self.account + 1

    @property
    def sender_id(self) -> str:
        """Id of the confirmed sender in the own account."""
        return str(self.account)

    @property
    def list_id(self) -> int:
        """The oldest active list of the own account."""
        return self.account + 500_000

    @property
    def younger_list_id(self) -> int:
        """Another active list of the own account."""
        return self.account + 600_000

    def accounts(self) -> Iterable[Account]:
        """What the sandbox knows of this customer."""
        for number in (self.account, self.sub_account):
            senders = (
                Sender(id=str(number), name="Shop", email=self.sender),
                Sender(id=f"9{number}", name="New", email=self.pending_sender, confirmed=False),
            )
            lists = (
                MailingList(id=number + 600_000, name="News", created_on=2),
                MailingList(id=number + 500_000, name="Customers", created_on=1),
            )
            yield Account(
                id=number,
                name=f"Tenant {number}",
                lineage=f"1-{number}",
                senders=senders,
                lists=lists,
            )


def new_tenant(scopes: tuple[str, ...] = SCOPES) -> Tenant:
    """A customer whom no gateway has met."""
    return Tenant(next(_numbers), scopes)


def seed_of(tenants: Sequence[Tenant]) -> Seed:
    """The packaged seed with these customers beside it."""
    packaged = seeds.load()
    reach = {each.number: (each.account, each.sub_account) for each in tenants}
    users = (
        User(
            id=10_000 + each.number,
            email=each.username,
            password=each.password,
            accounts=reach[each.number],
        )
        for each in tenants
    )
    tokens = (
        AccessToken(token=each.token, accounts=reach[each.number], scopes=each.scopes)
        for each in tenants
    )
    accounts = (account for each in tenants for account in each.accounts())
    return Seed(
        accounts=(*packaged.accounts, *accounts),
        users=(*packaged.users, *users),
        access_tokens=(*packaged.access_tokens, *tokens),
    )


def recipient(name: str = "ada") -> str:
    """Somebody who gets mail."""
    return f"{name}@example.org"


def letter(
    tenant: Tenant,
    *fields: str,
    sender: str = "",
    message_id: str = "",
    body: str = f"{BODY}\r\n",
) -> bytes:
    """A message of this customer.

    Args:
        tenant: whose sender stands in From.
        fields: further header lines.
        sender: instead of the tenant's.
        message_id: instead of a new one.
        body: with CRLF.
    """
    number = next(_letters)
    lines = [
        f"From: {sender or tenant.sender}",
        "To: all@example.org",
        f"Subject: {SUBJECT} {number}",
        f"Message-ID: {message_id or f'<{number}@tenant.example>'}",
        *fields,
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def private_words(log: str) -> list[str]:
    """What of the customers' words stands in a log, as they are or in base64."""
    return [word for word in PRIVATE if any(form in log for form in _forms(word))]


def _forms(word: str) -> Iterator[str]:
    """The word, and the characters that it alone decides in base64, wherever it begins there."""
    yield word
    if len(word) < SHORTEST_IN_BASE64:
        return
    for before, unsure in ((0, 0), (1, 2), (2, 3)):
        octets = b"\0" * before + word.encode()
        yield base64.b64encode(octets).decode()[unsure : len(octets) * 8 // 6]
