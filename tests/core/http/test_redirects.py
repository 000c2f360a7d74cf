import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.redirects import MAX_REDIRECTS, RequestHop, first_hop, next_hop, playlist_hop
from m3uproxy.errors import Reason, SourceError


def start(url: str = "http://a.example/b/c/d;p?q", **headers: str) -> RequestHop:
    return first_hop(url, "VLC/3", tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def url_after(base: str, location: str) -> str:
    return next_hop(start(base), location.encode()).location.url


# RFC 3986 section 5.4, without the references that are not for http
@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/../x", "http://a/b/c/g"),
    ],
)
def test_reference_examples_of_the_rfc(reference: str, target: str) -> None:
    assert url_after("http://a/b/c/d;p?q", reference) == target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://b/x?s=%2B%2b+%3D&e=~%7E;|", "http://b/x?s=%2B%2b+%3D&e=~%7E;|"),
        ("http://b//live//1.ts?", "http://b//live//1.ts?"),
        ("http://b/a;?x", "http://b/a;?x"),
        ("http://b/./a/../c", "http://b/./a/../c"),
        ("HTTP://B:80/x", "http://b/x"),
        ("http://b:8080/x", "http://b:8080/x"),
        ("https://b:443/x", "https://b/x"),
        ("http://b/a b\tc", "http://b/a%20b%09c"),
        ("http://b/\u00e9?\u00fc", "http://b/%C3%A9?%C3%BC"),
        ("http://m\u00fcnchen.example:81/x", "http://xn--mnchen-3ya.example:81/x"),
        ("http://[2001:DB8::1]:81/x", "http://[2001:db8::1]:81/x"),
        ("http://my_host/x", "http://my_host/x"),
        ("  http://b/x \r\n", "http://b/x"),
        ("1234:x", "http://a/1234:x"),
    ],
)
def test_urls_are_not_changed(location: str, target: str) -> None:
    assert url_after("http://a/", location) == target
    assert start(target).location.url == target


def test_invalid_utf8_is_percent_encoded_unchanged() -> None:
    assert next_hop(start("http://a/"), b"/\xff\xe9").location.target == "/%FF%E9"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), min_size=1))
def test_printable_target_is_not_changed(target: str) -> None:
    for url in ("http://a/" + target, "http://a/?" + target):
        assert start(url).location.url == url
        assert url_after("https://b/x", url) == url


@given(st.binary())
def test_any_location_gives_a_valid_request_or_an_error(location: bytes) -> None:
    for prefix in (b"", b"http://", b"http://a/", b"//"):
        with contextlib.suppress(SourceError):
            hop = next_hop(start("http://a/b"), prefix + location)
            assert all(0x21 <= ord(char) <= 0x7E for char in hop.location.url)


@pytest.mark.parametrize(
    "location",
    [
        None,
        b"",
        b"  ",
        b"ftp://b/",
        b"file:///etc/passwd",
        b"javascript:x",
        b"http:///x",
        b"http://",
        b"http://b:0/",
        b"http://b:70000/",
        b"http://b:x/",
        b"http://a b/",
        b"http://[::1/",
        b"http://b\\@c/",
        b"http://b" + b"\xff",
        b"http://" + b"9" * 5000 + b":" + b"9" * 5000,
    ],
)
def test_invalid_redirect_is_refused(location: "bytes | None") -> None:
    with pytest.raises(SourceError) as caught:
        next_hop(start(), location)
    assert caught.value.reason is Reason.BAD_REDIRECT


@pytest.mark.parametrize("url", ["ftp://a/", "a", "", "http://", "rtmp://a/b", "http://a:99999/"])
def test_invalid_entry_url_is_refused(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        start(url)
    assert caught.value.reason is Reason.UNREACHABLE


def test_details_contain_no_url() -> None:
    for location in (b"ftp://s3cret/", b"http://s3cret:x/", b"http://u:s3cret@:1/"):
        with pytest.raises(SourceError) as caught:
            next_hop(start(), location)
        assert "s3cret" not in str(caught.value)


class TestChain:
    def test_relative_redirect_is_resolved_against_its_hop(self) -> None:
        second = next_hop(start("http://a/x"), b"http://b/y")
        assert next_hop(second, b"/live").location.url == "http://b/live"

    def test_same_url_again_is_a_loop(self) -> None:
        with pytest.raises(SourceError) as caught:
            next_hop(start("http://a/x"), b"/x")
        assert caught.value.reason is Reason.REDIRECT_LOOP

    def test_longer_loop_is_found(self) -> None:
        hop = next_hop(next_hop(start("http://a/x"), b"/y"), b"/z")
        with pytest.raises(SourceError) as caught:
            next_hop(hop, b"/y")
        assert caught.value.reason is Reason.REDIRECT_LOOP

    def test_new_cookie_allows_the_same_url_once(self) -> None:
        cookie = frozenset({("a", "/", "sid", "1")})
        hop = next_hop(start("http://a/x"), b"/x", cookie)
        assert hop.location.url == "http://a/x"
        with pytest.raises(SourceError):
            next_hop(hop, b"/x", cookie)

    def test_number_of_redirects_is_limited(self) -> None:
        hop = start("http://a/0")
        for number in range(MAX_REDIRECTS):
            hop = next_hop(hop, b"/%d" % (number + 1))
        with pytest.raises(SourceError) as caught:
            next_hop(hop, b"/last")
        assert caught.value.reason is Reason.REDIRECT_LOOP


class TestHeaders:
    SECRETS = {"Authorization": "Bearer t", "Cookie": "s=1", "X_Token": "t", "X_Any": "1", "Proxy_Authorization": "p"}

    def test_default_headers(self) -> None:
        assert dict(start("http://u:p@a.example:81/x").headers) == {
            "User-Agent": "VLC/3",
            "Accept": "*/*",
            "Referer": "http://a.example:81/",
            "Origin": "http://a.example:81",
            "Authorization": "Basic " + base64.b64encode(b"u:p").decode(),
        }

    def test_headers_of_the_stream_replace_defaults_in_any_case(self) -> None:
        headers = start(user_AGENT="Mine", REFERER="http://r/", X_a="1").headers
        assert ("user-AGENT", "Mine") in headers
        assert [name.lower() for name, _ in headers].count("user-agent") == 1
        assert ("REFERER", "http://r/") in headers
        assert ("X-a", "1") in headers

    def test_hop_by_hop_headers_are_left_out(self) -> None:
        names = {name.lower() for name, _ in start(Connection="keep-alive", Transfer_Encoding="chunked").headers}
        assert not names & {"connection", "transfer-encoding"}

    def test_invalid_header_name_is_refused(self) -> None:
        with pytest.raises(SourceError):
            first_hop("http://a/", "VLC", (("X y", "1"),))

    def test_secrets_stay_on_their_host(self) -> None:
        hop = start("http://a/x", **self.SECRETS, Accept_Language="de")
        other = next_hop(hop, b"http://b/y")
        assert {name for name, _ in other.headers} == {"User-Agent", "Accept", "Referer", "Origin", "Accept-Language"}
        assert dict(other.headers)["Referer"] == "http://a/"
        assert {"Authorization", "Cookie", "X-Token"} <= {name for name, _ in next_hop(hop, b"/y").headers}

    def test_secrets_return_to_their_host(self) -> None:
        hop = next_hop(next_hop(start("http://a/x", **self.SECRETS), b"http://b/y"), b"http://a/z")
        assert dict(hop.headers)["Cookie"] == "s=1"

    @pytest.mark.parametrize(
        ("entry", "location", "kept"),
        [
            ("https://a/", b"http://a/x", False),
            ("http://a/", b"https://a/x", True),
            ("http://a/", b"http://a:8080/x", True),
            ("http://a/", b"http://A/x", True),
            ("http://a/", b"http://a.b/x", False),
            ("http://b.a/", b"http://a/x", False),
        ],
    )
    def test_hosts_that_keep_secrets(self, entry: str, location: bytes, kept: bool) -> None:
        hop = next_hop(start(entry, X_Token="t"), location)
        assert ("X-Token" in dict(hop.headers)) is kept

    def test_userinfo_belongs_to_its_host(self) -> None:
        hop = start("http://u:p@a/x")
        assert hop.location.url == "http://a/x"
        assert "Authorization" in dict(next_hop(hop, b"/y").headers)
        assert "Authorization" not in dict(next_hop(hop, b"http://b/y").headers)
        third = next_hop(next_hop(hop, b"http://v:q%40@b/y"), b"/z")
        assert dict(third.headers)["Authorization"] == "Basic " + base64.b64encode(b"v:q@").decode()
        assert "Authorization" not in dict(next_hop(third, b"http://c/z").headers)

    #: A header of a stream, and whether other hosts receive it.
    OWN = (
        ("User-Agent", "TV/1", True),
        ("REFERER", "http://page.example/", True),
        ("Origin", "http://page.example", True),
        ("Accept-Language", "de", True),
        ("Authorization", "Bearer t", False),
        ("Cookie", "s=1", False),
        ("Proxy-Authorization", "p", False),
        ("X-Token", "t", False),
        ("X-Forwarded-For", "192.0.2.1", False),
    )

    @pytest.mark.parametrize(("name", "value", "everywhere"), OWN)
    @pytest.mark.parametrize("url", ["http://cdn.example/seg.ts", "http://panel.example:81/seg.ts"])
    @pytest.mark.parametrize("led", [True, False], ids=["named by a playlist", "redirected"])
    def test_identifying_headers_go_everywhere_and_secrets_do_not(
        self, led: bool, url: str, name: str, value: str, everywhere: bool
    ) -> None:
        """CDNs check Referer and User-Agent. Redirects and playlists lead to the same headers."""
        entry, own = "http://panel.example/index.m3u8", tuple((name, value) for name, value, _ in self.OWN)
        hop = playlist_hop(url, entry, "VLC/3", own) if led else next_hop(first_hop(entry, "VLC/3", own), url.encode())
        sent = {name: value for name, value in hop.headers if name != "Accept"}
        assert sent.get(name) == (value if everywhere or "panel" in url else None)
        assert sent.keys() <= {name for name, _, _ in self.OWN}

    def test_playlist_hop_has_no_default_referer_and_origin(self) -> None:
        hop = playlist_hop("http://cdn.example/seg.ts", "http://u:p@panel.example/index.m3u8", "VLC/3", ())
        assert dict(hop.headers) == {"User-Agent": "VLC/3", "Accept": "*/*"}
        back = playlist_hop("http://panel.example/seg.ts", "http://u:p@panel.example/index.m3u8", "VLC/3", ())
        assert dict(back.headers)["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()

    def test_repr_shows_no_secrets(self) -> None:
        hop = next_hop(start("http://u:s3cret@a/s3cret", X_Token="s3cret"), b"/s3cret2")
        assert "s3cret" not in repr(hop)


def test_range_headers_follow_redirects():
    hop = first_hop("http://a.example/1.mkv", "VLC/3", (("Range", "bytes=5-"), ("If-Range", '"x"'), ("X-Key", "k")))
    headers = dict(next_hop(hop, b"http://cdn.example/1.mkv").headers)
    assert (headers["Range"], headers["If-Range"]) == ("bytes=5-", '"x"')
    assert "X-Key" not in headers


@pytest.mark.parametrize("userinfo", ["us:p[w", "u[s:p]w", "us:p\u2100w", "us:\udcff", "%zz:%", "a:b@c", ":", "\x01:"])
def test_any_userinfo_is_kept(userinfo: str) -> None:
    hop = playlist_hop(f"http://{userinfo}@host.example/a.ts", "http://host.example/", "agent", ())
    assert (hop.location.netloc, hop.location.target) == ("host.example", "/a.ts")


@given(st.text(st.sampled_from("ht:/[]@?#\\.%0a9\u0663\uff18\xe9\u2100\udcff\x00\t \u3002\uff0f")))
def test_any_url_is_refused_or_kept(text: str) -> None:
    for url in (text, f"http://{text}", f"http://host.example/{text}"):
        with contextlib.suppress(SourceError):
            assert playlist_hop(url, "http://host.example/", "agent", ()).location.url.isascii()


def test_a_long_host_name_takes_no_time() -> None:
    for host in ("\xe9" * 100_000, "a." * 100_000, "1." * 100_000):
        with pytest.raises(SourceError, match="no usable host"):
            first_hop(f"http://{host}/", "agent", ())


def test_the_request_for_titles_goes_to_every_host() -> None:
    hop = start("http://a.example/1", Icy_MetaData="1", X_Key="secret")
    assert ("Icy-MetaData", "1") in hop.headers
    elsewhere = next_hop(hop, b"http://b.example/1").headers
    assert ("Icy-MetaData", "1") in elsewhere
    assert not any(name == "X-Key" for name, _ in elsewhere)


def test_hosts_of_source_and_playlist_are_no_other_hosts() -> None:
    hop = playlist_hop("https://b.example/1.ts", "https://a.example/1.m3u8", "VLC/3", ())
    assert hop.is_on_own_host
    assert next_hop(hop, b"https://b.example:8443/2.ts").is_on_own_host
    assert next_hop(hop, b"https://a.example/2.ts").is_on_own_host
    assert not next_hop(hop, b"https://c.example/2.ts").is_on_own_host
    assert next_hop(next_hop(start(), b"http://c.example/"), b"http://a.example/").is_on_own_host
