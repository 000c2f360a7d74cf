import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from m3uproxy.core.hls.uri_rewriter import ResourceKind, ResourceRole
from m3uproxy.core.hls.url_tokens import RUNGS, BadToken, TokenTarget, UrlTokens, rung_of, source_name

KEY = b"k" * 32
URL = "http://tv.example/live/joe/s3cret/42.ts?sig=a%2Bb%3D"
SOURCE = source_name("http://tv.example/live/joe/s3cret/index.m3u8")
NAMES = st.text("0123456789abcdef", min_size=1, max_size=32)
URLS = st.binary(max_size=200).map(lambda raw: "http://a/" + raw.decode("utf-8", "surrogateescape"))


TARGETS = st.builds(
    TokenTarget,
    URLS,
    st.just(SOURCE),
    st.sampled_from(ResourceKind),
    st.booleans(),
    st.sampled_from(ResourceRole),
    st.integers(0, RUNGS),
)


@given(NAMES, TARGETS)
def test_read_returns_the_target(stream_id: str, target: TokenTarget) -> None:
    tokens = UrlTokens(KEY)
    token = tokens.make(stream_id, target)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert tokens.read(stream_id, token) == target


@pytest.mark.parametrize(
    ("kind", "public", "token"),
    [
        (ResourceKind.SEGMENT, False, "Cd_3rTCB886zdi4TY52LftNuV-g9cWS8h1xDSOmROy-a"),
        (ResourceKind.PLAYLIST, True, "PRIArzD_hWr4375ocWNV91NQBr32umr7CL_Rc_YducMp"),
        (ResourceKind.ASSETS, False, "hr5u8Qq1ylo2ZFjJDoF7F_RDJ5AVsXwu_el_Is9fvvCz"),
    ],
)
def test_token_of_an_earlier_release_stays(kind: ResourceKind, public: bool, token: str) -> None:
    target = TokenTarget("http://a/1", SOURCE, kind, public)
    assert UrlTokens(KEY).read("1", token) == target
    assert UrlTokens(KEY).make("1", target) == token


def test_rungs_differ() -> None:
    rungs = {rung_of(f"http://a.example/{n}.m3u8") for n in range(5000)}
    assert rungs == set(range(1, RUNGS + 1))


def test_token_is_valid_after_restart() -> None:
    assert UrlTokens(KEY).make("1", TokenTarget(URL)) == UrlTokens(KEY).make("1", TokenTarget(URL))


def test_url_is_not_readable() -> None:
    one, other = (UrlTokens(KEY).make("1", TokenTarget(URL + end)) for end in "12")
    assert "s3cret" not in one
    assert one[:20] != other[:20]


@given(NAMES, NAMES)
def test_token_of_another_stream_is_refused(stream_id: str, other: str) -> None:
    assume(stream_id != other)
    tokens = UrlTokens(KEY)
    with pytest.raises(BadToken):
        tokens.read(other, tokens.make(stream_id, TokenTarget(URL)))


@given(st.data())
def test_altered_token_is_refused(data: st.DataObject) -> None:
    tokens = UrlTokens(KEY)
    token = tokens.make("1", TokenTarget(URL + data.draw(st.sampled_from(["", "1", "12"]))))
    at = data.draw(st.integers(0, len(token) - 1))
    letters = data.draw(st.text("ABCDabcd0123-_", max_size=3))
    altered = token[:at] + letters + token[at + data.draw(st.integers(0, 2)) :]
    assume(altered != token)
    with pytest.raises(BadToken):
        tokens.read("1", altered)


@pytest.mark.parametrize("more", ["", "1", "12"])
def test_last_character_is_significant(more: str) -> None:
    tokens = UrlTokens(KEY)
    token = tokens.make("1", TokenTarget(URL + more))
    for letter in set(string.ascii_letters + string.digits + "-_") - {token[-1]}:
        with pytest.raises(BadToken):
            tokens.read("1", token[:-1] + letter)


@given(st.text() | st.text("ABCabc012-_=", max_size=200))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        UrlTokens(KEY).read("1", text)


@pytest.mark.parametrize("token", ["", "A", "AAAA", "A" * 22, "A" * 23, "ä" * 40, "A" * 40 + "=", "A" * 20_000, URL])
def test_forged_token_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        UrlTokens(KEY).read("1", token)


def test_token_of_another_key_is_refused() -> None:
    with pytest.raises(BadToken):
        UrlTokens(b"x" * 32).read("1", UrlTokens(KEY).make("1", TokenTarget(URL)))


def test_any_stream_id_is_accepted() -> None:
    with pytest.raises(BadToken):
        UrlTokens(KEY).read("\udcff/ä", UrlTokens(KEY).make("1", TokenTarget(URL)))


def test_repr_of_target_hides_its_url() -> None:
    assert "s3cret" not in repr(TokenTarget(URL))
