"""Keys and certificates of one cluster, and the kubeconfigs that carry them.

They live as long as the cluster.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.settings import API_ADDRESS, API_PORT, API_SERVICE_ADDRESS, CLUSTER_DOMAIN

_LIFETIME = dt.timedelta(days=30)
_CLOCK_SKEW = dt.timedelta(minutes=5)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def save(self, folder: Path, name: str) -> None:
        """As NAME.crt and NAME.key, the key for its owner only."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.crt").write_bytes(self.certificate)
        _write_private(folder / f"{name}.key", self.key)


class Authority:
    """A certificate authority."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._name = certificate.subject
        self._key = key
        self.pair = Pair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))

    @classmethod
    def create(cls, common_name: str) -> Authority:
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            _builder(name, name, key.public_key(), key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """One that was saved.

        Raises:
            TypeError: the key is of another kind than `create` makes.
        """
        key = serialization.load_pem_private_key(
            (folder / f"{name}.key").read_bytes(), password=None
        )
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{folder / name}.key is not an elliptic curve key")
        return cls(x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()), key)

    def issue(self, user: str, groups: Sequence[str] = (), names: Sequence[str] = ()) -> Pair:
        """A certificate for a client, and for a server too when it has names.

        Args:
            user: who it is to Kubernetes.
            groups: what that user is a member of.
            names: DNS names and addresses alike.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        usages = [
            ExtendedKeyUsageOID.CLIENT_AUTH,
            *([ExtendedKeyUsageOID.SERVER_AUTH] if names else []),
        ]
        builder = (
            _builder(x509.Name(subject), self._name, key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            alternatives = [_general_name(name) for name in names]
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class ClusterKeys:
    """Everything that the control plane and the nodes authenticate with, as files in one folder.

    The list follows https://kubernetes.io/docs/setup/best-practices/certificates/.
    """

    def __init__(self, folder: Path, cluster: Authority) -> None:
        self.folder = folder
        self._cluster = cluster

    @classmethod
    def load(cls, folder: Path) -> ClusterKeys:
        """Those of a cluster that exists."""
        return cls(folder, Authority.load(folder, "ca"))

    @classmethod
    def create(cls, folder: Path) -> ClusterKeys:
        """Those of a new cluster, control plane included."""
        keys = cls(folder, Authority.create("kubernetes"))
        keys._save_control_plane()
        return keys

    def _save_control_plane(self) -> None:
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        api_names = [*service, f"{service[-1]}.{CLUSTER_DOMAIN}", "localhost"]
        api_names += ["127.0.0.1", API_ADDRESS, API_SERVICE_ADDRESS]
        front_proxy = Authority.create("front-proxy")
        self._cluster.pair.save(self.folder, "ca")
        front_proxy.pair.save(self.folder, "front-proxy-ca")
        front_proxy.issue("front-proxy-client").save(self.folder, "front-proxy-client")
        self._cluster.issue("kube-apiserver", names=api_names).save(self.folder, "apiserver")
        # In this group it needs no role binding first; the kubelet remembers a refusal for 30 s.
        kubelet_client = self._cluster.issue("kube-apiserver-kubelet-client", ["system:masters"])
        kubelet_client.save(self.folder, "apiserver-kubelet-client")
        self._save_service_account_keys()
        self.save_kubeconfig("admin", "kubernetes-admin", ["system:masters"])
        for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self.save_kubeconfig(component, f"system:{component}")

    def save_node(self, node: str, address: str) -> None:
        """What a node serves with and speaks to the API with."""
        self._cluster.issue(f"system:node:{node}", ["system:nodes"], [node, address]).save(
            self.folder, node
        )
        self.save_kubeconfig(node, f"system:node:{node}", ["system:nodes"])

    def save_server(self, name: str, names: Sequence[str]) -> None:
        """For an aggregated API or a webhook, trusted by whoever trusts the cluster's authority."""
        self._cluster.issue(name, names=names).save(self.folder, name)

    def save_kubeconfig(self, file: str, user: str, groups: Sequence[str] = ()) -> None:
        """A kubeconfig with a client certificate of its own, for use in the cluster."""
        pair = self._cluster.issue(user, groups)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "local",
                    "cluster": {
                        "server": f"https://{API_ADDRESS}:{API_PORT}",
                        "certificate-authority-data": _base64(self._cluster.pair.certificate),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": _base64(pair.certificate),
                        "client-key-data": _base64(pair.key),
                    },
                }
            ],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        _write_private(self.folder / f"{file}.kubeconfig", yaml.safe_dump(config).encode())

    def _save_service_account_keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _write_private(self.folder / "sa.key", _private_pem(key))
        (self.folder / "sa.pub").write_bytes(public)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def rewrite_server(source: Path, target: Path, server: str) -> None:
    """The same kubeconfig for the same API server, reached at another URL."""
    config = yaml.safe_load(source.read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = server
    _write_private(target, yaml.safe_dump(config).encode())
