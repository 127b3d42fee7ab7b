"""Every form of PLAIN and LOGIN, and what each answer of the API becomes."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from aiosmtpd.smtp import MISSING, AuthResult, Session
from prometheus_client import CollectorRegistry

from smtp_gateway import errors
from smtp_gateway.smtp import context
from smtp_gateway.smtp.authenticator import Authenticator, split_account
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.telemetry import Metrics
from tests.support.fakes import FakeLog, FakeTokens, GivenClock, until

USER, PASSWORD = "a@x.test", "p\u00e4ss word"
GOOD = f"\0{USER}\0{PASSWORD}".encode()


class Client:
    """The server of one session, with the client's answers to its challenges."""

    def __init__(self, answers: Iterable[Any] = (), *, address: str = "192.0.2.7") -> None:
        self.hostname = "mx.test"
        self.session: Session | None = Session(asyncio.get_running_loop())
        peer: Any = (address, 50000)
        self.session.peer = peer
        vars(self.session)["session_id"] = "abc"
        self.answers = list(answers)
        self.challenges: list[str | bytes] = []

    async def challenge_auth(self, challenge: str | bytes) -> object:
        """See ``Server``."""
        self.challenges.append(challenge)
        return self.answers.pop(0)

    @property
    def login(self) -> object:
        """Who is logged in."""
        assert self.session is not None
        return context.login_of(self.session)


class Gate:
    """An authenticator with everything around it."""

    def __init__(self, **options: Any) -> None:
        self.tokens = FakeTokens({(USER, PASSWORD)})
        self.clock = GivenClock()
        self.log = FakeLog()
        self.registry = CollectorRegistry()
        self.authenticator = Authenticator(
            tokens=self.tokens,
            lockout=Lockout(self.clock),
            metrics=Metrics(self.registry),
            log=self.log,
            clock=self.clock,
            **options,
        )

    async def plain(self, client: Client, args: Sequence[str | bytes]) -> AuthResult:
        """AUTH PLAIN."""
        return await self.authenticator.plain(client, args)

    async def password(self, password: str, *, user: str = USER, at: str = "192.0.2.7") -> str:
        """The reply to one password on a fresh session."""
        client = Client(address=at)
        result = await self.plain(client, ["PLAIN", f"\0{user}\0{password}".encode()])
        assert (client.login is not None) == result.success
        return str(result.message)

    def failures(self, reason: str) -> float:
        """How many failures were counted for a reason."""
        name = "smtp_auth_failures_total"
        return self.registry.get_sample_value(name, {"reason": reason}) or 0.0


def encoded(octets: bytes) -> str:
    """Base64 as a client writes it."""
    return b64encode(octets).decode()


async def test_plain_with_initial_response_in_base64() -> None:
    """As both engines hand it over."""
    gate, client = Gate(), Client()
    result = await gate.plain(client, ["PLAIN", encoded(GOOD)])
    assert result.success
    assert result.message == "235 2.7.0 Authentication successful"
    assert result.auth_data is client.login
    assert gate.tokens.asked == [(USER, PASSWORD)]


async def test_plain_in_two_steps() -> None:
    """The challenge is empty; PHPMailer waits for it."""
    gate, client = Gate(), Client([GOOD])
    assert (await gate.plain(client, ["PLAIN"])).success
    assert client.challenges == [""]


async def test_plain_with_its_own_user_name_as_authorisation_id() -> None:
    """Symfony sends it."""
    gate, client = Gate(), Client()
    octets = f"{USER}\0{USER}\0{PASSWORD}".encode()
    assert (await gate.plain(client, ["PLAIN", encoded(octets)])).success


async def test_nobody_acts_for_somebody_else() -> None:
    """Another authorisation id is 535, and the API is not asked."""
    gate, client = Gate(), Client()
    octets = f"b@x.test\0{USER}\0{PASSWORD}".encode()
    result = await gate.plain(client, ["PLAIN", encoded(octets)])
    assert result.message == "535 5.7.8 Authentication credentials invalid [abc]"
    assert gate.tokens.asked == []
    assert client.login is None


async def test_login_with_both_challenges() -> None:
    """Some clients compare the challenges octet for octet."""
    gate, client = Gate(), Client([USER.encode(), PASSWORD.encode()])
    assert (await gate.authenticator.login(client, ["LOGIN"])).success
    assert client.challenges == ["Username:", "Password:"]


async def test_login_with_the_user_name_in_the_command() -> None:
    """.NET and smtplib send it; the second challenge comes at once."""
    gate, client = Gate(), Client([PASSWORD.encode()])
    assert (await gate.authenticator.login(client, ["LOGIN", encoded(USER.encode())])).success
    assert client.challenges == ["Password:"]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"a@x.test",
        b"\0a@x.test",
        b"\0a@x.test\0pass\0word",
        b"\0a@x.test\0p\xe4ss",
    ],
)
async def test_malformed_credentials_are_told_and_ask_nobody(octets: bytes) -> None:
    """Exactly two NULs, UTF-8 (RFC 4616 2)."""
    gate, client = Gate(), Client()
    result = await gate.plain(client, ["PLAIN", encoded(octets)])
    assert (result.success, result.handled) == (False, False)
    assert result.message == "501 5.5.2 Malformed credentials [abc]"
    assert gate.failures("malformed") == 1
    assert gate.tokens.asked == []


@pytest.mark.parametrize("given", ["=", ""])
async def test_an_empty_initial_response_is_a_response(given: str) -> None:
    """No challenge follows (RFC 4954 4)."""
    gate, client = Gate(), Client()
    assert (await gate.plain(client, ["PLAIN", given])).message == (
        "501 5.5.2 Malformed credentials [abc]"
    )
    assert client.challenges == []


@pytest.mark.parametrize("given", ["a", "!!!!", "YQ=", "\u00e9\u00e9\u00e9\u00e9"])
async def test_undecodable_base64(given: str) -> None:
    """501, and the session goes on."""
    gate, client = Gate(), Client()
    result = await gate.plain(client, ["PLAIN", given])
    assert result.message == "501 5.5.2 Cannot decode base64 [abc]"


@pytest.mark.parametrize("answers", [[MISSING], [b"a@x.test", MISSING]])
async def test_a_client_that_gives_up_has_had_its_reply(answers: list[Any]) -> None:
    """After `*` or bad base64 the engine has said 501 already."""
    gate, client = Gate(), Client(answers)
    result = await gate.authenticator.login(client, ["LOGIN"])
    assert (result.success, result.handled, result.message) == (False, True, None)
    assert gate.failures("malformed") == 1


async def test_a_nul_in_login_is_malformed() -> None:
    """What PLAIN cannot say, LOGIN may not say either."""
    gate, client = Gate(), Client([b"a@x.test", b"pass\0word"])
    result = await gate.authenticator.login(client, ["LOGIN"])
    assert result.message == "501 5.5.2 Malformed credentials [abc]"


@pytest.mark.trap(2)
async def test_trap_2_another_password_is_refused_while_the_right_one_is_cached() -> None:
    """Right user, other password, within the cache's life: 535."""
    gate = Gate()
    assert await gate.password(PASSWORD) == "235 2.7.0 Authentication successful"
    assert await gate.password("other") == "535 5.7.8 Authentication credentials invalid [abc]"


@pytest.mark.trap(3)
async def test_trap_3_a_wrong_secret_never_gets_235() -> None:
    """Nothing but the pair that the API accepts logs in."""
    gate = Gate()
    for user, password in [(USER, ""), ("", PASSWORD), ("", ""), (USER, PASSWORD + " ")]:
        assert (await gate.password(password, user=user))[:3] == "535"


@pytest.mark.parametrize(
    ("failure", "reply", "reason"),
    [
        (
            errors.CredentialsInvalid(),
            "535 5.7.8 Authentication credentials invalid [abc]",
            "invalid_credentials",
        ),
        (
            errors.AuthenticationUnavailable("status 503"),
            "454 4.7.0 Temporary authentication failure [abc]",
            "api_error",
        ),
        (
            errors.AuthenticationUnavailable("timeout"),
            "454 4.7.0 Temporary authentication failure [abc]",
            "timeout",
        ),
        (
            ValueError("bob@x.test"),
            "454 4.7.0 Temporary authentication failure [abc]",
            "api_error",
        ),
    ],
)
async def test_an_outage_is_never_a_wrong_password(
    failure: Exception, reply: str, reason: str
) -> None:
    """A fault of the API, or of ours, is 454; each is counted by its reason."""
    gate = Gate()
    gate.tokens.failure = failure
    assert await gate.password(PASSWORD) == reply
    assert gate.failures(reason) == 1
    assert "bob@x.test" not in gate.log.text


async def test_multi_factor_is_explained() -> None:
    """The person reads why the right password does not do."""
    gate = Gate()
    gate.tokens.failure = errors.MultiFactorRequired()
    reply = await gate.password(PASSWORD)
    assert reply.startswith("535 5.7.8 Authentication credentials invalid: the account uses multi")


async def test_an_api_without_an_answer_is_454_in_time() -> None:
    """The wait has a limit; the client hears a temporary failure."""
    gate = Gate(answer_seconds=0)
    gate.tokens.release = asyncio.Event()
    assert await gate.password(PASSWORD) == "454 4.7.0 Temporary authentication failure [abc]"
    assert gate.failures("timeout") == 1


async def test_the_duration_of_a_check_is_observed() -> None:
    """One observation per exchange that came as far as credentials."""
    gate = Gate()
    await gate.password(PASSWORD)
    await gate.password("other")
    name = "smtp_processing_duration_seconds_count"
    assert gate.registry.get_sample_value(name, {"stage": "auth"}) == 2


@pytest.mark.trap(25)
async def test_trap_25_one_wrong_password_never_locks_out() -> None:
    """Symfony and smtplib try each mechanism; the API is asked, the count stays one."""
    gate = Gate()
    for _ in range(30):
        assert (await gate.password("wrong"))[:3] == "535"
    assert (await gate.password(PASSWORD))[:3] == "235"


@pytest.mark.trap(25)
async def test_trap_25_six_distinct_passwords_lock_out() -> None:
    """Five are refused as wrong, the sixth is 421 and the API is not asked."""
    gate = Gate()
    replies = [(await gate.password(f"guess {n}"))[:9] for n in range(6)]
    assert replies == ["535 5.7.8"] * 5 + ["421 4.7.0"]
    assert len(gate.tokens.asked) == 5
    assert gate.failures("locked_out") == 1


@pytest.mark.trap(26)
async def test_trap_26_a_locked_attacker_does_not_lock_the_owner() -> None:
    """The owner logs in from elsewhere."""
    gate = Gate()
    for n in range(6):
        await gate.password(f"guess {n}")
    assert (await gate.password(PASSWORD))[:3] == "421"
    assert (await gate.password(PASSWORD, at="198.51.100.9"))[:3] == "235"


async def test_a_credential_in_the_cache_is_never_refused() -> None:
    """A guesser behind the same address does not stop the program that has logged in."""
    gate = Gate()
    await gate.password(PASSWORD)
    for n in range(6):
        await gate.password(f"guess {n}")
    assert (await gate.password("guess 6"))[:3] == "421"
    assert (await gate.password(PASSWORD))[:3] == "235"


@pytest.mark.trap(24)
async def test_trap_24_parallel_logins_stop_at_the_limit() -> None:
    """Two hundred at once with distinct passwords: the API sees five of them."""
    gate = Gate()
    gate.tokens.release = asyncio.Event()

    async def answer() -> None:
        await until(lambda: gate.tokens.waiting == 5)
        assert gate.tokens.release is not None
        gate.tokens.release.set()

    async with asyncio.timeout(10):
        _, *replies = await asyncio.gather(
            answer(), *(gate.password(f"guess {n}") for n in range(200))
        )
    assert len(gate.tokens.asked) == 5
    assert sorted({str(reply)[:9] for reply in replies}) == ["421 4.7.0", "535 5.7.8"]


async def test_a_refused_login_is_one_line_without_credentials() -> None:
    """User name and password are in no log at any level."""
    gate = Gate()
    await gate.password("s3cret")
    (line,) = gate.log.lines
    assert (line.level, line.event) == ("info", "login refused")
    assert (line.fields["command"], line.fields["code"]) == ("AUTH PLAIN", 535)
    assert USER not in gate.log.text
    assert "s3cret" not in gate.log.text


async def test_the_reason_of_a_failure_is_kept_for_mail() -> None:
    """And is gone after a good login on the same session."""
    gate, client = Gate(), Client()
    assert client.session is not None
    await gate.plain(client, ["PLAIN", encoded(f"\0{USER}\0wrong".encode())])
    assert context.login_failure(client.session) == "Authentication credentials invalid"
    await gate.plain(client, ["PLAIN", encoded(GOOD)])
    assert context.login_failure(client.session) == ""


@pytest.mark.parametrize(
    ("username", "split"),
    [
        ("a@x.test", ("a@x.test", "")),
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=7", ("SMTP_Injection", "sparkpost:7")),
        ("SMTP_Injection:x-msys-subaccount=7", ("SMTP_Injection", "sparkpost:7")),
        ("a@x.test:x-bird-workspace-id=ab-1", ("a@x.test", "bird:ab-1")),
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=", ("SMTP_Injection:X-MSYS-SUBACCOUNT=", "")),
        ("SMTP_Injection:X-OTHER=7", ("SMTP_Injection:X-OTHER=7", "")),
    ],
)
def test_a_suffix_of_the_user_name_selects_an_account(
    username: str, split: tuple[str, str]
) -> None:
    """SparkPost's and Bird's forms; anything else is part of the name."""
    assert split_account(username) == split


async def test_the_suffix_is_no_part_of_the_credential() -> None:
    """The API is asked for the bare user name; the session keeps the account."""
    gate, client = Gate(), Client()
    octets = f"\0{USER}:X-MSYS-SUBACCOUNT=7\0{PASSWORD}".encode()
    assert (await gate.plain(client, ["PLAIN", encoded(octets)])).success
    assert gate.tokens.asked == [(USER, PASSWORD)]
    assert client.session is not None
    assert context.account_key(client.session) == "sparkpost:7"
