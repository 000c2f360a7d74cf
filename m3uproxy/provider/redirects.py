"""Where a redirect leads: to the same channel with the same faults, one ``hop`` further, perhaps with a token."""

from __future__ import annotations

from urllib.parse import urlsplit

from m3uproxy.provider.faults import Faults
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import Station
from m3uproxy.provider.tokens import TOKEN

#: Kinds of the hops of ``redirect=chain``: a relative one after a cross-host one must stay on the other host.
CHAIN = ("other", "relative", "same", "path")
#: Kinds that lead nowhere, whatever the number of hops.
ENDLESS = ("loop", "none", "empty", "https", "ftp")


def redirect_count(request: Request) -> int:
    """How many redirects led to this request."""
    text = next((value for name, value in request.query if name == "hop"), "0")
    return int(text) if text.isdecimal() else 0


def redirects_done(request: Request, faults: Faults) -> bool:
    """Whether this request has been redirected often enough."""
    if faults.redirect in ENDLESS:
        return False
    usual = len(CHAIN) if faults.redirect == "chain" else 1
    return redirect_count(request) >= (usual if faults.hops is None else faults.hops)


def next_target(request: Request, token: str | None = None) -> str:
    """Path and query of the next hop."""
    path, _, query = request.target.partition("?")
    pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in ("hop", TOKEN)]
    pairs += [f"hop={redirect_count(request) + 1}", *([] if token is None else [f"{TOKEN}={token}"])]
    return f"{path}?{'&'.join(pairs)}"


def has_expired(station: Station, request: Request, faults: Faults) -> bool:
    """Whether this is a redirect's target, and its token is not good (any more)."""
    if faults.expire is None or not redirect_count(request):
        return False
    token = next((value for name, value in request.query if name == TOKEN), "")
    lifetime = None if faults.expire == "once" else float(faults.expire)
    return not station.tokens.accept(token, station.uptime(), lifetime)


def other_authority(authority: str, other_host: str) -> str:
    """The same port under another name of this machine."""
    parts = urlsplit(f"//{authority}")
    host = "127.0.0.1" if parts.hostname == other_host else other_host
    return host if parts.port is None else f"{host}:{parts.port}"


def location(station: Station, request: Request, faults: Faults) -> str | None:
    """The Location of the redirect, None for no redirect or one without Location."""
    kind = faults.redirect
    if kind is None or kind == "none" or redirects_done(request, faults):
        return None
    if kind == "chain":
        kind = CHAIN[redirect_count(request) % len(CHAIN)]
    token = None if faults.expire is None else station.tokens.issue(station.uptime())
    here, target = request.header("Host") or "127.0.0.1", next_target(request, token)
    places = {
        "same": f"http://{here}{target}",
        "other": f"http://{other_authority(here, station.other_host)}{target}",
        "relative": target.rsplit("?", 1)[0].rsplit("/", 1)[1] + "?" + target.partition("?")[2],
        "path": target,
        "loop": f"http://{here}{request.target}",
        "empty": "",
        "https": f"https://{here}{target}",
        "ftp": f"ftp://{here}{target}",
    }
    return places[kind]
