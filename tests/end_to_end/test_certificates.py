"""The certificate that clients see: swapped while sessions live, and none at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Dialers, Gateways
from tests.support.gateway import Certificates, GatewayProcess, make_certificates
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, letter
from tests.support.wire import eventually


class MountedSecret:
    """A folder as the kubelet mounts a Secret: names lead through ``..data`` to a version."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.folder = folder
        self._certificates = certificates
        self._versions = 0
        folder.mkdir()
        self.swap()
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    def swap(self) -> None:
        """Write a new pair beside the old one, then turn ``..data`` in one step."""
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        pair = Certificates(version, self._certificates.authority)
        pair.renew()
        turned = self.folder / "..data_tmp"
        turned.symlink_to(version.name)
        turned.rename(self.folder / "..data")


@pytest.mark.trap(32)
def test_trap_32_a_swapped_certificate_is_served_and_no_session_is_cut(
    gateways: Gateways,
    dial_to: Dialers,
    certificates: Certificates,
    tenant: Tenant,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """The next handshake after the swap of ``..data`` has the new one; the old session sends."""
    secret = MountedSecret(tmp_path / "tls", certificates)
    variables = {
        "TLS_CERT_PATH": str(secret.folder / "tls.crt"),
        "TLS_KEY_PATH": str(secret.folder / "tls.key"),
    }
    with gateways(variables) as gateway:
        dial = dial_to(gateway)
        session = dial.as_tenant(tenant)
        before = session.certificate
        session.begin(tenant.sender, ["during@example.org"])
        secret.swap()

        def served() -> bool:
            with dial(implicit=True) as wire:
                return wire.certificate != before

        eventually(served, "the new certificate was served")
        with dial() as wire:
            assert wire.secure().certificate != before
        session.send(letter(tenant) + b".\r\n")
        assert session.reply().startswith("250 Ok ")
        assert session.mail(tenant.sender, ["after@example.org"], letter(tenant))[:3] == "250"
    assert len(sandbox.accepted()) == 2
    assert len(gateway.log_lines("certificate loaded")) == 2


@pytest.mark.trap(29)
@pytest.mark.trap(41)
def test_trap_41_without_a_certificate_nothing_listens_and_the_reason_is_said(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Exit status 2 and one line that names the settings; none is made in silence."""
    gateway = GatewayProcess("http://127.0.0.1:1", certificates, tmp_path)
    missing = {"TLS_CERT_PATH": str(tmp_path / "no.crt")}
    passed = {"PATH": os.defpath}

    ended = subprocess.run(
        [sys.executable, "-m", "smtp_gateway"],
        env=passed | gateway.variables | missing,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("TLS_CERT_PATH, TLS_KEY_PATH: ")
    assert ended.stderr.count("\n") == 1
    assert "gateway started" not in ended.stdout
    assert sorted(tmp_path.iterdir()) == []


@pytest.mark.trap(41)
@pytest.mark.setting("tls_cert_path", "tls_key_path")
def test_trap_41_the_certificate_served_is_the_one_that_was_given(
    gateways: Gateways, dial_to: Dialers, tmp_path: Path
) -> None:
    """Another authority's pair is served as it stands, so a client of ours refuses it."""
    foreign = make_certificates(tmp_path)
    variables = {
        "TLS_CERT_PATH": str(foreign.chain_path),
        "TLS_KEY_PATH": str(foreign.key_path),
    }
    with gateways(variables) as gateway:
        gateway.ca_path = foreign.ca_path
        assert dial_to(gateway)(implicit=True).reply().startswith("220 ")
