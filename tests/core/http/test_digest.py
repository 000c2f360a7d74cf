"""Digest authentication: test vectors of the RFCs, challenges as servers write them, and nonces in use."""

import hashlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.digest import MAX_SESSIONS, DigestChallenge, DigestExchange, DigestSessions, read_challenges
from m3uproxy.core.http.redirects import Credentials, RequestHop, first_hop, next_hop

RFC7616 = ("http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v")
RFC2617 = ("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def respond(challenge: DigestChallenge, password: str, cnonce: str = "", target: str = "/dir/index.html") -> str:
    return challenge.authorization(Credentials(b"Mufasa", password.encode()), "GET", target, cnonce, 1)


def test_vectors_of_the_rfcs() -> None:
    md5 = respond(DigestChallenge(*RFC7616, "MD5"), "Circle of Life", CNONCE)
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in md5
    sha = respond(DigestChallenge(*RFC7616, "SHA-256"), "Circle of Life", CNONCE)
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in sha
    older = respond(DigestChallenge(*RFC2617, opaque="5ccc069c403ebaf9f0171e9517f40e41"), "Circle Of Life", "0a4f113b")
    assert older == (
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="/dir/index.html", response="6629fae49393a05397450978507c4ef1", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41", '
        'qop=auth, nc=00000001, cnonce="0a4f113b"'
    )
    # RFC 2069, with the correction of its erratum 749
    oldest = respond(DigestChallenge(*RFC2617, has_qop=False), "CircleOfLife")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in oldest
    assert "qop" not in oldest


@pytest.mark.parametrize(("name", "algorithm"), [("MD5-sess", hashlib.md5), ("sha-256-SESS", hashlib.sha256)])
def test_session_variants_hash_the_nonces(name: str, algorithm: type) -> None:
    def digest(text: str) -> str:
        return str(algorithm(text.encode()).hexdigest())

    secret = digest(digest("Mufasa:r:pw") + ":n:c")
    response = digest(f"{secret}:n:00000001:c:auth:{digest('GET:/x?y')}")
    sent = respond(DigestChallenge("r", "n", name), "pw", "c", "/x?y")
    assert f'response="{response}"' in sent
    assert f"algorithm={name}" in sent


@pytest.mark.parametrize(
    ("values", "challenge"),
    [
        (['Digest realm="a", nonce="b"'], DigestChallenge("a", "b", has_qop=False)),
        (['digest REALM = "a, b" , Nonce=b==,qop=auth'], DigestChallenge("a, b", "b==")),
        (['Basic realm="x", Digest realm="a\\"b", nonce="n", qop="auth-int, auth"'], DigestChallenge('a"b', "n")),
        (['Digest realm="a", nonce="n", qop="auth"', "Basic"], DigestChallenge("a", "n")),
        (["Negotiate abc==, Digest nonce=n, qop=auth, stale=TRUE"], DigestChallenge("", "n", is_stale=True)),
        (
            ['Digest realm="a", nonce="1", qop="auth"', 'Digest realm="a", nonce="2", qop="auth", algorithm=SHA-256'],
            DigestChallenge("a", "2", "SHA-256"),
        ),
        (['Digest nonce="1", algorithm=SHA-512-256, Digest nonce="2", qop=auth'], DigestChallenge("", "2")),
        (['Digest nonce="n", qop="auth", opaque=""'], DigestChallenge("", "n", opaque="")),
        (['Digest nonce="n", qop="auth-int"'], None),
        (['Digest realm="a"'], None),
        (['Basic realm="Digest nonce=n"'], None),
        (["nonce=n", "", ",,", 'Digest nonce="'], DigestChallenge("", '"', has_qop=False)),
        ([], None),
    ],
)
def test_challenges_as_servers_write_them(values: list[str], challenge: DigestChallenge | None) -> None:
    assert read_challenges(values) == challenge


@given(st.lists(st.text(st.sampled_from('abDigest =,"\\\t=nonce'))))
def test_any_challenge_is_read(values: list[str]) -> None:
    challenge = read_challenges(values)
    if challenge is not None:
        assert "\n" not in respond(challenge, "pw", "c")


@pytest.mark.parametrize(
    "value", ["a" * 60_000 + '"', 'Digest a="' + "\\" * 60_000, "a, " * 20_000, " " * 60_000 + "="]
)
def test_long_challenges_cost_linear_time(value: str) -> None:
    assert read_challenges([value]) is None


def entry(url: str = "http://tv:pw@a.example/1.ts", **headers: str) -> RequestHop:
    return first_hop(url, "VLC/3", tuple(headers.items()))


CHALLENGE = ['Digest realm="r", nonce="1", qop="auth"']
STALE = ['Digest realm="r", nonce="2", qop="auth", stale=true']


def authorization(exchange: DigestExchange, hop: RequestHop) -> str:
    return dict(exchange.authorized(hop, "GET").headers)["Authorization"]


def test_a_nonce_is_used_again_and_counted() -> None:
    sessions = DigestSessions(lambda: "c")
    exchange, hop = DigestExchange(sessions), entry()
    assert authorization(exchange, hop).startswith("Basic ")
    assert exchange.accepts(hop, CHALLENGE)
    sent = [authorization(exchange, hop), authorization(DigestExchange(sessions), hop)]
    assert ["nc=00000001" in sent[0], "nc=00000002" in sent[1]] == [True, True]


def test_a_stale_nonce_is_replaced_and_a_wrong_password_is_not_repeated() -> None:
    exchange, hop = DigestExchange(DigestSessions(lambda: "c")), entry()
    assert exchange.accepts(hop, CHALLENGE)
    assert exchange.accepts(hop, STALE)
    assert 'nonce="2"' in authorization(exchange, hop)
    assert not exchange.accepts(hop, STALE), "a server that calls every nonce stale"
    assert authorization(exchange, hop).startswith("Basic "), "the nonce is forgotten"
    refused = DigestExchange(DigestSessions(lambda: "c"))
    assert refused.accepts(hop, CHALLENGE)
    assert not refused.accepts(hop, CHALLENGE)


def test_credentials_stay_on_their_host() -> None:
    exchange, hop = DigestExchange(DigestSessions(lambda: "c")), entry()
    assert exchange.accepts(hop, CHALLENGE)
    same, other = next_hop(hop, b"http://a.example/2.ts"), next_hop(hop, b"http://b.example/2.ts")
    assert authorization(exchange, same).startswith("Digest ")
    assert "Authorization" not in dict(exchange.authorized(other, "GET").headers)
    assert not exchange.accepts(other, CHALLENGE)
    secure = next_hop(entry("https://tv:pw@a.example/"), b"http://a.example/")
    assert not exchange.accepts(secure, CHALLENGE)


def test_each_hop_is_challenged_by_itself() -> None:
    exchange, hop = DigestExchange(DigestSessions(lambda: "c")), entry()
    assert exchange.accepts(hop, CHALLENGE)
    assert exchange.accepts(next_hop(hop, b"/2.ts"), CHALLENGE)


@pytest.mark.parametrize(
    "hop", [entry("http://a.example/"), entry(Authorization="Bearer x"), entry("http://a%0D%0AX:b@a.example/")]
)
def test_no_answer_without_usable_credentials(hop: RequestHop) -> None:
    exchange = DigestExchange(DigestSessions(lambda: "c"))
    assert not exchange.accepts(hop, CHALLENGE)
    assert "Digest" not in str(exchange.authorized(hop, "GET").headers)


def test_nonces_are_bounded() -> None:
    sessions = DigestSessions(lambda: "c")
    challenge = DigestChallenge("r", "n")
    hops = [entry(f"http://tv:pw@h{number}.example/") for number in range(MAX_SESSIONS + 1)]
    for hop in hops:
        assert hop.credentials is not None
        sessions.begin(hop.location.origin, hop.credentials, challenge)
    assert sessions.authorization(hops[0], "GET") is None
    assert sessions.authorization(hops[-1], "GET") is not None


def test_secrets_are_not_shown() -> None:
    hop = attrs.evolve(entry("http://tv:s3cret@a.example/1"), digest="s3cret")
    assert "s3cret" not in repr(hop)
    assert "s3cret" not in repr(hop.credentials)
