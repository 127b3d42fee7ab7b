"""Certificates: what can serve, what cannot and why, and their reload."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from smtp_gateway.utils.clock import Clock, SystemClock
from smtp_gateway.utils.tls import (
    CertificateStore,
    CertificateUnusable,
    ServerCertificate,
    load_certificate,
)
from tests.support.fakes import GivenClock

ENDS = datetime(2050, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs certificates of this module."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def write_pair(
    folder: Path,
    authority: trustme.CA,
    *,
    name: str = "localhost",
    ends: datetime = ENDS,
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> tuple[Path, Path]:
    """A certificate and its key, as the files of a mounted Secret."""
    folder.mkdir(exist_ok=True, parents=True)
    issued = authority.issue_cert(name, not_after=ends, key_type=key_type)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / "tls.crt").write_bytes(chain)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    return folder / "tls.crt", folder / "tls.key"


def served_name(context: ssl.SSLContext, authority: trustme.CA, version: ssl.TLSVersion) -> str:
    """The name in the certificate that a client gets."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.check_hostname = False
    trusting.minimum_version = trusting.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(down, up)
    server = context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert()
    assert certificate is not None
    names = certificate["subjectAltName"]
    return str(names[0][1])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_serves_both_versions(
    tmp_path: Path, authority: trustme.CA, version: ssl.TLSVersion, key_type: trustme.KeyType
) -> None:
    """TLS 1.2 and 1.3, ECDSA and RSA."""
    loaded = load_certificate(*write_pair(tmp_path, authority, key_type=key_type))
    assert served_name(loaded.context, authority, version) == "localhost"


def test_reads_the_end_of_life(tmp_path: Path, authority: trustme.CA) -> None:
    """The metric and readiness go by the certificate's own dates."""
    loaded = load_certificate(*write_pair(tmp_path, authority))
    assert loaded.not_after == ENDS.timestamp()
    assert loaded.not_before < loaded.not_after


def test_reads_an_end_of_life_in_this_half_of_the_century(
    tmp_path: Path, authority: trustme.CA
) -> None:
    """Dates before 2050 have a form of their own (RFC 5280 4.1.2.5)."""
    ends = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    loaded = load_certificate(*write_pair(tmp_path, authority, ends=ends))
    assert loaded.not_after == ends.timestamp()


def test_holds_to_the_floor(tmp_path: Path, authority: trustme.CA) -> None:
    """TLS 1.2 at least, one ticket, no renegotiation, no compression, no old suite."""
    context = load_certificate(*write_pair(tmp_path, authority)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 1
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert all("GCM" in name or "POLY1305" in name for name in names)


def _other_key(folder: Path, authority: trustme.CA) -> None:
    authority.issue_cert("other", key_type=trustme.KeyType.ECDSA).private_key_pem.write_to_path(
        folder / "tls.key"
    )


def _encrypted_key(folder: Path, _: trustme.CA) -> None:
    key = load_pem_private_key((folder / "tls.key").read_bytes(), None)
    (folder / "tls.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    )


def _foreign_chain(folder: Path, _: trustme.CA) -> None:
    stranger = trustme.CA(key_type=trustme.KeyType.ECDSA)
    with (folder / "tls.crt").open("ab") as chain:
        chain.write(stranger.cert_pem.bytes())


FAULTS: list[tuple[Callable[[Path, trustme.CA], object], str]] = [
    (lambda f, _: (f / "tls.crt").unlink(), "cannot read"),
    (lambda f, _: (f / "tls.key").unlink(), "cannot read"),
    (lambda f, _: (f / "tls.crt").write_text("nothing"), "no certificate"),
    (lambda f, _: (f / "tls.crt").write_bytes(b"\xff\xfe"), "no PEM"),
    (lambda f, _: (f / "tls.key").write_text("nothing"), "no pair"),
    (_other_key, "no pair"),
    (_encrypted_key, "encrypted"),
    (_foreign_chain, "does not verify"),
]


@pytest.mark.parametrize(("damage", "reason"), FAULTS)
def test_says_why_a_pair_cannot_serve(
    tmp_path: Path,
    authority: trustme.CA,
    damage: Callable[[Path, trustme.CA], object],
    reason: str,
) -> None:
    """Each fault has its reason, and no content of a key is in it."""
    certificate, key = write_pair(tmp_path, authority)
    damage(tmp_path, authority)
    with pytest.raises(CertificateUnusable, match=reason) as caught:
        load_certificate(certificate, key)
    assert "PRIVATE" not in str(caught.value)


class Watched:
    """A store and what it said."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.loaded: list[ServerCertificate] = []
        self.refused: list[str] = []
        self.heard = asyncio.Event()
        self.store = CertificateStore(
            folder / "tls.crt",
            folder / "tls.key",
            clock=clock,
            on_loaded=self._on_loaded,
            on_refused=self._on_refused,
        )

    def _on_loaded(self, loaded: ServerCertificate) -> None:
        self.loaded.append(loaded)
        self.heard.set()

    def _on_refused(self, reason: str) -> None:
        self.refused.append(reason)
        self.heard.set()


def name_of(watched: Watched, authority: trustme.CA) -> str:
    """What the next client would see."""
    assert watched.store.context is not None
    return served_name(watched.store.context, authority, ssl.TLSVersion.TLSv1_3)


@pytest.fixture
def clock() -> GivenClock:
    """A moment within the certificates' life."""
    return GivenClock(datetime(2030, 1, 1, tzinfo=UTC).timestamp())


def test_loads_a_changed_pair(tmp_path: Path, authority: trustme.CA, clock: GivenClock) -> None:
    """Plain files: the content decides."""
    write_pair(tmp_path, authority, name="old.test")
    watched = Watched(tmp_path, clock)
    watched.store.load()
    assert not watched.store.poll()

    write_pair(tmp_path, authority, name="new.test")

    assert watched.store.poll()
    assert not watched.store.poll()
    assert name_of(watched, authority) == "new.test"
    assert len(watched.loaded) == 2


def mount(folder: Path, generation: str) -> None:
    """Point ``..data`` at a generation in one step, as kubelet does."""
    swap = folder / "..data_tmp"
    swap.symlink_to(generation)
    swap.replace(folder / "..data")


@pytest.mark.trap(32)
def test_follows_the_swap_of_a_mounted_secret(
    tmp_path: Path, authority: trustme.CA, clock: GivenClock
) -> None:
    """The files are links through ``..data``; a swap of it is seen."""
    write_pair(tmp_path / "..1", authority, name="old.test")
    mount(tmp_path, "..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    watched = Watched(tmp_path, clock)
    watched.store.load()

    write_pair(tmp_path / "..2", authority, name="new.test")
    assert not watched.store.poll()
    mount(tmp_path, "..2")

    assert watched.store.poll()
    assert name_of(watched, authority) == "new.test"


def test_a_swap_without_a_change_builds_nothing(
    tmp_path: Path, authority: trustme.CA, clock: GivenClock
) -> None:
    """Resumption is lost with each new context, so an equal pair is left in place."""
    certificate, key = write_pair(tmp_path / "..1", authority)
    mount(tmp_path, "..1")
    watched = Watched(tmp_path / "..data", clock)
    watched.store.load()
    (tmp_path / "..2").mkdir()
    (tmp_path / "..2/tls.crt").write_bytes(certificate.read_bytes())
    (tmp_path / "..2/tls.key").write_bytes(key.read_bytes())
    mount(tmp_path, "..2")
    assert not watched.store.poll()
    assert len(watched.loaded) == 1


def test_keeps_the_old_pair_when_the_new_one_is_bad(
    tmp_path: Path, authority: trustme.CA, clock: GivenClock
) -> None:
    """It is told once, and a good one later is taken."""
    write_pair(tmp_path, authority, name="old.test")
    watched = Watched(tmp_path, clock)
    watched.store.load()

    _other_key(tmp_path, authority)

    assert not watched.store.poll()
    assert not watched.store.poll()
    assert len(watched.refused) == 1
    assert name_of(watched, authority) == "old.test"
    write_pair(tmp_path, authority, name="new.test")
    assert watched.store.poll()
    assert name_of(watched, authority) == "new.test"


def test_keeps_the_pair_when_the_files_vanish(
    tmp_path: Path, authority: trustme.CA, clock: GivenClock
) -> None:
    """An unmounted volume ends no service."""
    certificate, _ = write_pair(tmp_path, authority)
    watched = Watched(tmp_path, clock)
    watched.store.load()
    certificate.unlink()
    assert not watched.store.poll()
    assert len(watched.refused) == 1
    assert watched.store.usable


def test_an_expired_pair_cannot_be_loaded(tmp_path: Path, authority: trustme.CA) -> None:
    """No client would take it."""
    write_pair(tmp_path, authority)
    watched = Watched(tmp_path, GivenClock(ENDS.timestamp()))
    with pytest.raises(CertificateUnusable, match="expired"):
        watched.store.load()
    assert not watched.store.usable
    assert watched.store.context is None


def test_is_not_usable_once_it_has_expired(
    tmp_path: Path, authority: trustme.CA, clock: GivenClock
) -> None:
    """Readiness turns red by itself; what runs is still served."""
    write_pair(tmp_path, authority)
    watched = Watched(tmp_path, clock)
    watched.store.load()
    before = watched.store.usable
    clock.now = ENDS.timestamp()
    assert (before, watched.store.usable) == (True, False)
    assert watched.store.context is not None


async def test_watches_by_itself(tmp_path: Path, authority: trustme.CA) -> None:
    """Polling needs no event from the file system."""
    write_pair(tmp_path, authority, name="old.test")
    watched = Watched(tmp_path, SystemClock())
    watched.store.load()
    watched.heard.clear()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        watching = group.create_task(watched.store.watch(0.01))
        write_pair(tmp_path / "next", authority, name="new.test")
        (tmp_path / "next/tls.crt").replace(tmp_path / "tls.crt")
        (tmp_path / "next/tls.key").replace(tmp_path / "tls.key")
        while name_of(watched, authority) != "new.test":
            await watched.heard.wait()
            watched.heard.clear()
        watching.cancel()


def test_the_floor_can_be_raised(tmp_path: Path, authority: trustme.CA) -> None:
    """Who asks for TLS 1.3 gets nothing less."""
    pair = write_pair(tmp_path, authority)
    assert load_certificate(*pair, ssl.TLSVersion.TLSv1_3).context.minimum_version == (
        ssl.TLSVersion.TLSv1_3
    )
