import datetime

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from naming import FakeNameServer
from scripted_provider import DialBench
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from twisted.logger import globalLogPublisher


@pytest_twisted.async_yield_fixture
async def bench():
    """Return a bench, and check after the test that no socket, delayed call or reader is left."""
    from twisted.internet import reactor

    calls, readers = set(reactor.getDelayedCalls()), set(reactor.getReaders())
    bench = DialBench(reactor)
    yield bench
    await bench.stop()
    assert bench.sockets.open == 0
    left = set(reactor.getDelayedCalls()) - calls
    assert not left, left
    assert set(reactor.getReaders()) <= readers


@pytest.fixture
def names():
    """Return a fake name server. Connections to other machines are refused."""
    from twisted.internet import reactor

    names = FakeNameServer(reactor)
    names.install()
    yield names
    names.remove()


@pytest.fixture
def errors():
    """Return the log events that have a traceback."""
    seen = []

    def observe(event):
        if "log_failure" in event:
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(scope="session")
def pem() -> bytes:
    """Return a key and a self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    names = [x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret + certificate.public_bytes(encoding)


@pytest.fixture
def tls(pem):
    """Return the options of a TLS server, which note the names that clients send (SNI)."""
    options = PrivateCertificate.fromCertificateAndKeyPair(Certificate.loadPEM(pem), KeyPair.load(pem, 1)).options()
    options.names = []
    options.getContext().set_tlsext_servername_callback(lambda c: options.names.append(c.get_servername()))
    return options
