"""The account for which the connections to a URL count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.slots.accounts import Account, ProviderEntry, account_of, account_queue, implicit_account

ACME = ProviderEntry("acme", ("*.acme.tv", "acme.example"), max_connections=2)
ANN = ProviderEntry("ann at beta", ("cdn?.beta.tv", "cdn*.beta.tv"), "ann", 1)
ANYWHERE = ProviderEntry("bob", account="bob", max_connections=3)
FREE = ProviderEntry("free", ("FREE.tv",), max_connections=0)
ALL = (ACME, ANN, ANYWHERE, FREE)


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("http://line.acme.tv/live/x/y/1.ts", Account("acme", 2)),
        ("HTTP://LINE.ACME.TV:8080/live/x/y/1.ts", Account("acme", 2)),
        ("http://acme.tv/1.ts", None),
        ("http://acme.example/1.ts", Account("acme", 2)),
        ("http://notacme.example/1.ts", None),
        ("http://acme.example.evil.tv/1.ts", None),
        ("http://cdn3.beta.tv/live/ann/secret/1.ts", Account("ann at beta", 1)),
        ("http://cdn3.beta.tv/live/an%6E/secret/1.ts", Account("ann at beta", 1)),
        ("http://cdn3.beta.tv/get.php?username=ann&password=secret", Account("ann at beta", 1)),
        ("http://ann:secret@cdn3.beta.tv/1.ts", Account("ann at beta", 1)),
        ("http://cdn3.beta.tv/live/eve/ann.ts", None),
        ("http://cdn3.beta.tv/live/eve/ann", None),
        ("http://cdn3.beta.tv/live/bob/secret/1.ts", Account("bob", 3)),
        ("http://free.tv/1.ts", Account("free")),
        ("http://[::1]:8080/1.ts", None),
        ("http://[broken/1.ts", None),
        ("nonsense", None),
    ],
)
def test_account_of_a_url(url: str, account: Account | None) -> None:
    assert account_of(url, ALL) == account


@pytest.mark.parametrize(
    ("named", "limit", "account"),
    [
        ("acme", None, Account("acme", 2)),
        ("acme", 1, Account("acme", 1)),
        ("acme", 5, Account("acme", 2)),
        ("acme", 0, Account("acme", 2)),
        ("free", 4, Account("free", 4)),
        ("mine", 1, Account("mine", 1)),
        ("mine", None, Account("mine")),
        (None, 1, Account("bob", 1)),
        ("", 1, Account("bob", 1)),
    ],
)
def test_account_named_by_the_stream(named: str | None, limit: int | None, account: Account) -> None:
    assert account_of("http://anything/live/bob/secret/1.ts", ALL, named, limit) == account


@pytest.mark.parametrize(
    ("url", "name"), [("http://[::1]:8080/1.ts", "::1"), ("http://[broken/1.ts", "unknown"), ("nonsense", "unknown")]
)
def test_limit_without_a_name_counts_by_host(url: str, name: str) -> None:
    assert account_of(url, ALL, None, 2) == Account(name, 2)


def test_first_matching_entry_counts_and_empty_entry_matches_nothing() -> None:
    assert account_of("http://a.acme.tv/x", (ProviderEntry("empty"), ProviderEntry("one", ("*",)), ACME)) == Account(
        "one"
    )


def test_repr_shows_no_user_name() -> None:
    assert "ann'" not in repr(attr_free := ProviderEntry("p", ("h",), "ann")), attr_free


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_url_and_pattern_are_accepted(url: str, pattern: str) -> None:
    account_of(url, [ProviderEntry("p", (pattern,)), ProviderEntry("q", account=pattern)])


def test_account_of_a_playlist_is_intermittent() -> None:
    account = account_of("http://p/live/a.m3u8?x", (), "home", 1)
    assert account == Account("home", 1, intermittent=True)
    assert account_of("http://p/live/a.ts", (), "home", 1) == Account("home", 1)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://h.tv/live/ann/pw/1.ts", True),
        ("http://H.tv:80/ann/pw/2", True),
        ("http://h.tv/ann/pw/2.m3u8", True),
        ("http://h.tv/movie/ann/pw/7.mkv", True),
        ("http://h.tv/timeshift/ann/pw/60/2026-01-02:10-00/7.ts", True),
        ("http://h.tv/streaming/timeshift.php?username=ann&password=pw&stream=7", True),
        ("http://ann:pw@h.tv/x.ts", True),
        ("http://h.tv:8080/live/ann/pw/1.ts", False),
        ("https://h.tv/live/ann/pw/1.ts", False),
        ("http://h.tv/live/bob/pw/1.ts", False),
        ("http://h.tv/live/ann/other/1.ts", False),
        ("http://h.tv/1.ts", False),
    ],
)
def test_implicit_account(url: str, same: bool) -> None:
    assert (implicit_account(url) == implicit_account("http://h.tv/live/ann/pw/9.ts")) is same


def test_urls_of_one_host_without_credentials_share_an_account() -> None:
    assert implicit_account("http://h.tv/a.ts") == implicit_account("http://h.tv/b/c.ts?x=1")


def test_urls_without_credentials_wait_for_themselves_only() -> None:
    assert account_queue("http://h.tv/a.ts") != account_queue("http://h.tv/b.ts")
    assert account_queue("http://h.tv/live/ann/pw/1.ts") == account_queue("http://h.tv/live/ann/pw/2.ts")
    assert account_queue("http://h.tv/live/ann/pw/1.ts") != account_queue("http://h.tv/live/bob/pw/1.ts")


@given(st.text())
def test_implicit_account_of_any_text(url: str) -> None:
    implicit_account(url)
    account_queue(url)
