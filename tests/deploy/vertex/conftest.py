"""A Vertex AI on loopback, and credentials of the tests where Google's packages look for them."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from deploy import smoke
from deploy.releases import Deployer
from deploy.vertex import client
from deploy.vertex.target import TARGET
from deploy.vertex.values import VertexValues
from switchyard.state import State

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

IMAGE = "europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0"
GIVEN: dict[str, Any] = {"project": "my-project-1", "region": "europe-west4", "image": IMAGE}


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, bytes]]:
    """Key and certificate of the server; gRPC reads which ones to trust once in a process."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("vertex")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "roots.pem").write_bytes(certificate)
    (folder / "account.json").write_text(json.dumps(_account()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(folder / "roots.pem"))
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "account.json"))
        patch.setenv("NO_GCE_CHECK", "true")
        yield _pem(key), certificate


@pytest.fixture
def vertex(trusted: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Vertex]:
    """The fake, on its address `host`."""
    from vertex.vertex_fake import Vertex
    from vertex.vertex_server import Server

    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.01)
    fake = Vertex()
    server = Server(fake, *trusted)
    fake.host = server.host
    yield fake
    server.stop()


@pytest.fixture
def deployer(records: State, vertex: Vertex, said: list[str]) -> Callable[..., Deployer]:
    """Makes deployers to one place, each as a process of its own would."""

    def make(
        environ: dict[str, str] | None = None, state: State = records, **values: Any
    ) -> Deployer:
        given = GIVEN | {"api": vertex.host, "smoke": {"within": 0.05}} | values
        return Deployer(
            TARGET,
            VertexValues.model_validate(given),
            state,
            environ=environ or {},
            who="tests",
            say=said.append,
        )

    return make


def _account() -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return {
        "type": "service_account",
        "project_id": "my-project-1",
        "private_key_id": "1",
        "private_key": _pem(rsa.generate_private_key(65537, 2048)).decode(),
        "client_email": "tests@my-project-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://127.0.0.1:1/token",
    }


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    found: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return found
