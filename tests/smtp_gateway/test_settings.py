"""Start-up settings: defaults, faults in one line each, and nothing secret in any line."""

from pathlib import Path

import pytest

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.policy import EmailType, InlineImages, LockoutRules, Policy, Tracking
from smtp_gateway.settings import ClientAddressLog, Settings, environment, live, load

REQUIRED = {"CAKEMAIL_API_URL": "https://api.cakemail.test"}


def problems(**variables: str) -> list[str]:
    """The lines that stop the start with these variables beside the required ones."""
    with pytest.raises(ConfigurationError) as refused:
        load(REQUIRED | variables)
    return refused.value.problems


def settings(**variables: str) -> Settings:
    """Settings with these variables beside the required ones."""
    return load(REQUIRED | variables)[0]


def test_only_the_api_address_is_required() -> None:
    """The defaults are those of the documentation."""
    made = settings()
    assert (made.smtp_host, made.smtp_port, made.smtps_port) == ("", 587, None)
    assert (made.http_host, made.http_port, made.smtp_extra_ports) == ("", 8080, ())
    assert str(made.tls_cert_path) == "/etc/smtp-gateway/tls/tls.crt"
    assert str(made.tls_key_path) == "/etc/smtp-gateway/tls/tls.key"
    assert (made.log_level, made.rate_limit_per_ip) == ("INFO", 100)
    assert (made.max_connections_per_pod, made.connection_timeout) == (1000, 300)
    assert (made.message_size_limit, made.cakemail_list_id) == (26_214_400, None)
    assert made.cakemail_email_type is EmailType.TRANSACTIONAL


def test_a_missing_required_variable_is_one_line() -> None:
    """Without the API address nothing can be delivered, so nothing starts."""
    with pytest.raises(ConfigurationError) as refused:
        load({})
    assert refused.value.problems == ["CAKEMAIL_API_URL: is required"]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("SMTP_PORT", "many", "SMTP_PORT: must be a whole number"),
        ("SMTP_PORT", "0", "SMTP_PORT: must be greater than or equal to 1"),
        ("SMTPS_PORT", "65536", "SMTPS_PORT: must be less than or equal to 65535"),
        ("SMTP_EXTRA_PORTS", "25,x", "SMTP_EXTRA_PORTS: must be a whole number"),
        ("CONNECTION_TIMEOUT", "soon", "CONNECTION_TIMEOUT: must be a number"),
        ("CAKEMAIL_TRACK_OPENS", "perhaps", "CAKEMAIL_TRACK_OPENS: must be true or false"),
        ("CAKEMAIL_EMAIL_TYPE", "x", "CAKEMAIL_EMAIL_TYPE: must be 'transactional' or 'marketing'"),
        ("CAKEMAIL_API_URL", "api", "CAKEMAIL_API_URL: must be an http:// or https:// address"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        (
            "SMTP_PROXY_PEERS",
            "everyone",
            "SMTP_PROXY_PEERS: must be a list of networks such as 10.0.0.0/8, 192.0.2.7",
        ),
        (
            "CAKEMAIL_TAGS",
            "good,bad tag!",
            "CAKEMAIL_TAGS: has not the form that the documentation gives",
        ),
        (
            "SMTP_POSTMASTER",
            "nobody",
            "SMTP_POSTMASTER: has not the form that the documentation gives",
        ),
    ],
)
def test_a_malformed_variable_is_one_clear_line(name: str, value: str, line: str) -> None:
    """The line names the variable and the rule, not the value."""
    assert problems(**{name: value}) == [line]


def test_a_misspelt_variable_stops_the_start_and_names_the_nearest() -> None:
    """A name of a known family that no setting has is a typing error, not a wish."""
    assert problems(SMTP_PROT="25") == ["SMTP_PROT: is unknown; did you mean SMTP_PORT?"]
    assert problems(RATE_LIMIT_PER_IPS="1") == [
        "RATE_LIMIT_PER_IPS: is unknown; did you mean RATE_LIMIT_PER_IP?"
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_CONNECTION_PER_POD", "MAX_CONNECTIONS_PER_POD"),
        ("MESSAGE_SIZ_LIMIT", "MESSAGE_SIZE_LIMIT"),
    ],
)
def test_a_letter_away_from_a_setting_is_a_typing_error_too(name: str, meant: str) -> None:
    """Also where the slip is in the part that makes the family."""
    assert problems(**{name: "1"}) == [f"{name}: is unknown; did you mean {meant}?"]


def test_every_fault_has_its_line() -> None:
    """One start shows all that is wrong."""
    assert problems(SMTP_PORT="x", TLS_CRET_PATH="/tls", HTTP_PORT="y") == [
        "HTTP_PORT: must be a whole number",
        "SMTP_PORT: must be a whole number",
        "TLS_CRET_PATH: is unknown; did you mean TLS_CERT_PATH?",
    ]


def test_no_fault_shows_a_value() -> None:
    """A password in a wrong place does not reach a log."""
    lines = problems(CAKEMAIL_AUTH_URL="https://user:hunter2@api.test/token", SMTP_PORT="hunter2")
    assert lines == [
        "CAKEMAIL_AUTH_URL: must not hold a user name or password",
        "SMTP_PORT: must be a whole number",
    ]


def test_kubernetes_service_links_are_left_aside_and_said() -> None:
    """A Service called `smtp` must not stop or change the gateway."""
    made, notes = load(
        REQUIRED
        | {
            "SMTP_PORT": "tcp://10.0.0.1:587",
            "SMTP_SERVICE_HOST": "10.0.0.1",
            "SMTP_PORT_587_TCP_ADDR": "10.0.0.1",
            "OTHER_SERVICE_HOST": "10.0.0.2",
        }
    )
    assert made.smtp_port == 587
    assert notes == [
        "SMTP_PORT comes from a Kubernetes service link and is left aside",
        "SMTP_SERVICE_HOST comes from a Kubernetes service link and is left aside",
        "SMTP_PORT_587_TCP_ADDR comes from a Kubernetes service link and is left aside",
    ]


def test_foreign_variables_are_none_of_ours() -> None:
    """HTTP_PROXY is a convention of many programs; PATH is no family of ours."""
    assert load(REQUIRED | {"HTTP_PROXY": "http://proxy.test", "PATH": "/bin"})[1] == []


def test_an_empty_variable_is_an_absent_one() -> None:
    """Manifests set a variable to nothing to ask for the default."""
    assert settings(SMTPS_PORT="", CAKEMAIL_LIST_ID=" ").smtps_port is None


def test_a_port_named_twice_is_refused() -> None:
    """Two listeners cannot share a port; neither can health."""
    assert problems(SMTPS_PORT="587") == ["port 587 is named twice"]
    assert problems(SMTP_EXTRA_PORTS="8080") == ["port 8080 is named twice"]


def test_a_grace_too_short_for_a_drain_is_refused() -> None:
    """SIGTERM must leave time for the pre-stop wait and one whole submission."""
    assert problems(SMTP_GRACE="60") == [
        "SMTP_GRACE must be at least 65: SMTP_PRE_STOP + SMTP_DEADLINE + 10"
    ]


def test_proxy_ports_must_exist_and_need_peers() -> None:
    """A PROXY rule that protects nothing is a mistake."""
    assert problems(SMTP_PROXY_PORTS="2525") == [
        "SMTP_PROXY_PORTS names 2525, which no listener has",
        "SMTP_PROXY_PORTS needs SMTP_PROXY_PEERS",
    ]


def test_proxy_covers_all_ports_unless_some_are_named() -> None:
    """Naming the balancers is enough; naming ports narrows it."""
    every = settings(SMTP_PROXY_PEERS="10.0.0.0/8", SMTPS_PORT="465")
    assert (every.proxied(587), every.proxied(465)) == (True, True)
    some = settings(SMTP_PROXY_PEERS="10.0.0.1", SMTPS_PORT="465", SMTP_PROXY_PORTS="465")
    assert (some.proxied(587), some.proxied(465)) == (False, True)
    assert settings().proxied(587) is False


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("", "https://api.cakemail.test/token"),
        ("https://auth.test", "https://auth.test/token"),
        ("https://auth.test/oauth/token", "https://auth.test/oauth/token"),
        ("https://auth.test/oauth/", "https://auth.test/oauth/token"),
    ],
)
def test_the_token_endpoint_follows_the_given_address(given: str, endpoint: str) -> None:
    """An address whose path does not end in /token is a base."""
    assert settings(CAKEMAIL_AUTH_URL=given).auth_url == endpoint


@pytest.mark.setting("cakemail_allow_second_sending")
def test_the_policy_holds_what_the_settings_say() -> None:
    """Each setting of the policy arrives there."""
    policy = settings(
        CAKEMAIL_EMAIL_TYPE="marketing",
        CAKEMAIL_LIST_ID="7",
        CAKEMAIL_FALLBACK_SENDER_ID="s1",
        CAKEMAIL_TRACK_OPENS="true",
        CAKEMAIL_TRACK_CLICKS_HTML="1",
        CAKEMAIL_TRACK_CLICKS_TEXT="yes",
        CAKEMAIL_TAGS="a, b",
        CAKEMAIL_INLINE_IMAGES="refuse",
        CAKEMAIL_ALLOW_SECOND_SENDING="on",
        RATE_LIMIT_PER_IP="5",
        MESSAGE_SIZE_LIMIT="70000",
        SMTP_MAX_RECIPIENTS="9",
        SMTP_POSTMASTER="post@x.test",
    ).policy()
    assert policy.email_type is EmailType.MARKETING
    assert (policy.list_id, policy.fallback_sender_id) == (7, "s1")
    assert policy.tracking == Tracking(opens=True, clicks_html=True, clicks_text=True)
    assert (policy.tags, policy.inline_images) == (("a", "b"), InlineImages.REFUSE)
    assert policy.allow_second_sending is True
    assert (policy.rate_limit_per_ip, policy.message_size_limit_bytes) == (5, 70_000)
    assert (policy.max_recipients, policy.postmaster) == (9, "post@x.test")


def test_the_effective_settings_are_shown_one_a_line() -> None:
    """What --check prints can be given back as variables."""
    lines = settings(SMTP_EXTRA_PORTS="25 2525", LOG_LEVEL="debug").lines()
    assert "SMTP_EXTRA_PORTS=25,2525" in lines
    assert "LOG_LEVEL=DEBUG" in lines
    assert "CAKEMAIL_AUTH_URL=https://api.cakemail.test/token" in lines
    again, _ = load(dict(line.split("=", 1) for line in lines))
    assert again.lines() == lines


def test_a_dotenv_file_is_read_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment wins over the file."""
    env_file = tmp_path / ".env"
    env_file.write_text(
        "CAKEMAIL_API_URL=https://file.test\nSMTP_PORT=2525\nHTTP_PORT=1\n", encoding="ascii"
    )
    monkeypatch.setenv("HTTP_PORT", "8081")
    made, _ = load(environment(env_file))
    assert (made.cakemail_api_url, made.smtp_port) == ("https://file.test", 2525)
    assert made.http_port == 8081


def test_every_line_of_the_dotenv_file_counts(tmp_path: Path) -> None:
    """A line that cannot be read is a fault like any other, not a variable silently left out."""
    env_file = tmp_path / ".env"
    env_file.write_text("# ours\nSMTP PORT=25\nexport SMTPS_PORT=465\nHTTP_PORT\n", "ascii")
    with pytest.raises(ConfigurationError) as refused:
        load(environment(env_file))
    assert refused.value.problems == [
        f"{env_file}: line 2 is not NAME=value",
        f"{env_file}: line 4 is not NAME=value",
    ]


def test_a_dotenv_file_that_is_no_text_stops_the_start(tmp_path: Path) -> None:
    """An editor's UTF-16 is told, and not with a stack."""
    env_file = tmp_path / ".env"
    env_file.write_text("SMTP_PORT=25", "utf-16")
    with pytest.raises(ConfigurationError) as refused:
        load(environment(env_file))
    assert refused.value.problems == [f"{env_file}: cannot be read as UTF-8 text"]


def test_a_folder_named_dotenv_holds_no_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some people keep a virtual environment under that name."""
    monkeypatch.setenv("CAKEMAIL_API_URL", "https://api.cakemail.test")
    assert load(environment(tmp_path))[0].cakemail_api_url == "https://api.cakemail.test"


@pytest.mark.parametrize(
    ("setting", "address", "shown"),
    [
        ("full", "192.0.2.7", "192.0.2.7"),
        ("network", "192.0.2.7", "192.0.2.0/24"),
        ("network", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("network", "fe80::1%eth0", "fe80::/64"),
        ("network", "no address", ""),
        ("none", "192.0.2.7", ""),
    ],
)
def test_a_client_address_is_logged_as_far_as_the_setting_says(
    setting: str, address: str, shown: str
) -> None:
    """Where a person's address must not be kept, its network or nothing is."""
    made = settings(LOG_CLIENT_ADDRESS=setting)
    assert made.log_client_address is ClientAddressLog(setting)
    assert made.log_client_address.shown(address) == shown


def live_file(folder: Path, text: str) -> Path:
    """A live file with this text."""
    path = folder / "live.env"
    path.write_text(text, encoding="utf-8")
    return path


def test_live_settings_go_on_top_of_the_environment(tmp_path: Path) -> None:
    """What the file does not name stays as the variables say."""
    path = live_file(tmp_path, "RATE_LIMIT_PER_IP=7\nCAKEMAIL_TAGS=a,b\n")
    made = live(REQUIRED | {"RATE_LIMIT_PER_IP": "5", "SMTP_MAX_RECIPIENTS": "9"}, path)
    assert (made.rate_limit_per_ip, made.cakemail_tags, made.smtp_max_recipients) == (
        7,
        ("a", "b"),
        9,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SMTP_PORT=2525\n", "SMTP_PORT cannot change here"),
        ("RATE_LIMIT=7\n", "RATE_LIMIT cannot change here"),
        ("RATE_LIMIT_PER_IP=many\n", "RATE_LIMIT_PER_IP: must be a whole number"),
        ("no setting\n", "line 1 is not NAME=value"),
    ],
)
def test_a_live_file_is_refused_whole(tmp_path: Path, text: str, problem: str) -> None:
    """One wrong line, and nothing of it counts."""
    path = live_file(tmp_path, "LOG_LEVEL=ERROR\n" + text)
    with pytest.raises(ConfigurationError) as refused:
        live(REQUIRED, path)
    (line,) = refused.value.problems
    assert line.endswith(problem.replace("line 1", "line 2"))


def test_a_missing_live_file_is_named(tmp_path: Path) -> None:
    """Whoever names a file means it."""
    with pytest.raises(ConfigurationError) as refused:
        live(REQUIRED, tmp_path / "none")
    assert refused.value.problems == [f"{tmp_path / 'none'}: there is no such file"]


def test_ports_can_be_off_but_not_all(tmp_path: Path) -> None:
    """Implicit TLS alone is a choice; no port at all is a mistake."""
    made = settings(SMTP_PORT="off", SMTPS_PORT="465", SMTPS_EXTRA_PORTS="2465")
    assert (made.smtp_ports, made.tls_ports) == ((), (465, 2465))
    assert "SMTP_PORT=off" in made.lines()
    assert problems(SMTP_PORT="off") == ["SMTP_PORT is off and no other SMTP port is named"]


def test_mechanisms_are_named_in_any_case_and_offered_once() -> None:
    """In the order in which they are named; both where none is."""
    assert settings().policy().mechanisms == ("PLAIN", "LOGIN")
    assert settings(SMTP_AUTH_MECHANISMS="").policy().mechanisms == ("PLAIN", "LOGIN")
    assert settings(SMTP_AUTH_MECHANISMS="login, Plain LOGIN").policy().mechanisms == (
        "LOGIN",
        "PLAIN",
    )
    assert problems(SMTP_AUTH_MECHANISMS="CRAM-MD5") == [
        "SMTP_AUTH_MECHANISMS: must be 'PLAIN' or 'LOGIN'"
    ]
    assert problems(SMTP_AUTH_MECHANISMS=",") == ["SMTP_AUTH_MECHANISMS: names no mechanism"]


def test_the_rules_about_wrong_logins_reach_the_policy() -> None:
    """Each of the four, and how long a good login is believed."""
    policy = settings(
        SMTP_LOCKOUT_PER_LOGIN="2",
        SMTP_LOCKOUT_PER_ADDRESS="3",
        SMTP_LOCKOUT_WINDOW="60",
        SMTP_LOCKOUT_SECONDS="120",
        CAKEMAIL_LOGIN_CACHE="0",
    ).policy()
    assert policy.lockout == LockoutRules(2, 3, 60, 120)
    assert policy.login_cache_seconds == 0
    assert settings().policy() == Policy()
