"""What the gateway adds to aiosmtpd's ``Session`` and ``Envelope``, read and written in one place.

The handler runs under this project's edge and under aiosmtpd's stock ``Controller``. The edge sets
the attributes marked "edge"; under the stock engine they are absent and each reader here has an
answer for that. Login state lives on the session object alone (smtp-server 2.3): STARTTLS makes a
new session, so nothing of the clear-text phase survives, and nothing is keyed by client address.

    session.session_id         edge     id in the log and at the end of each error reply
    session.client_gone        edge     its end came: nobody knows whether it still listens
    session.proxy_data         aiosmtpd the PROXY header's facts
    session.login              handler  ``api.tokens.Login`` after a good AUTH
    session.login_key          handler  its key, for limits per credential
    session.login_failure      handler  public words about the last refused AUTH
    session.account_key        handler  account that a suffix of the user name asks for
    envelope.policy            handler  the snapshot taken at MAIL
    envelope.received_monotonic edge    when the final dot came
    envelope.on_settled        edge     called once when the message's memory is free
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from smtp_gateway.utils.sockets import unmapped

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

    from smtp_gateway.api.tokens import Login
    from smtp_gateway.policy import Policy


class Server(Protocol):
    """What the handler uses of the engine it runs under, theirs or ours.

    ``session`` is needed because aiosmtpd hands ``auth_*`` methods the server alone.
    """

    hostname: str
    session: Session | None

    async def challenge_auth(self, challenge: str | bytes) -> object:
        """Send ``334``; the decoded answer, or aiosmtpd's MISSING when 501 has been said."""
        ...


def client_address(session: Session) -> str:
    """The client's address: the one a trusted proxy announced, else the socket's peer; "" if none.

    It serves limits, lock-out and logs, and never replaces a login (smtp-server 3.8).
    """
    proxy = session.proxy_data
    if proxy is not None and proxy.valid and proxy.src_addr:
        return str(proxy.src_addr)
    peer: Any = session.peer
    if isinstance(peer, tuple) and peer:
        return unmapped(str(peer[0]))
    return unmapped(peer) if isinstance(peer, str) else ""


def session_id(session: Session) -> str:
    """The id of the session; made on first use where the engine gave none."""
    given: str | None = getattr(session, "session_id", None)
    if given is None:
        given = secrets.token_hex(8)
        vars(session)["session_id"] = given
    return given


def client_there(session: Session) -> bool:
    """Whether the client waits for its reply, as far as anybody can know.

    The stock engine ends the hook with its connection, so there the question answers itself.
    """
    return not getattr(session, "client_gone", False)


def login_of(session: Session) -> Login | None:
    """The login of this session, or None."""
    login: Login | None = getattr(session, "login", None)
    return login


def login_failure(session: Session) -> str:
    """Public words about the last refused AUTH of this session, or ""."""
    words: str = getattr(session, "login_failure", "")
    return words


def account_key(session: Session) -> str:
    """The account that a suffix of the user name asked for, as ``sparkpost:7``; "" for none."""
    key: str = getattr(session, "account_key", "")
    return key


def admit_login(session: Session, login: Login, account: str) -> None:
    """Note a good AUTH."""
    vars(session).update(login=login, login_key=login.key, account_key=account, login_failure="")


def note_failure(session: Session, words: str) -> None:
    """Note a refused AUTH, for the 530 that a client's user sees at MAIL (smtp-server 3.7)."""
    vars(session)["login_failure"] = words


def policy_of(envelope: Envelope, current: Policy) -> Policy:
    """The snapshot of this transaction: taken once, never two versions in one transaction."""
    taken: Policy | None = getattr(envelope, "policy", None)
    if taken is None:
        taken = current
        vars(envelope)["policy"] = taken
    return taken


def received_monotonic(envelope: Envelope, now: float) -> float:
    """When the final dot came; ``now`` where the engine does not say."""
    at: float = getattr(envelope, "received_monotonic", now)
    return at


def take_settled(envelope: Envelope) -> Callable[[], None]:
    """Take over what to call once when the message's memory is free; the edge then does not."""
    settled: Callable[[], None] = vars(envelope).pop("on_settled", _nothing)
    return settled


def _nothing() -> None:
    """The stock engine keeps no account of memory."""
