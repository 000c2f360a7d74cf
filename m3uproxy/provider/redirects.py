"""Targets of redirects: the same channel with the same faults, the next ``hop``, and possibly a token."""

from __future__ import annotations

from urllib.parse import urlsplit

from m3uproxy.provider.faults import Faults
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import Station
from m3uproxy.provider.tokens import TOKEN

#: Kinds of redirects in ``redirect=chain``. The relative one tests that a client stays on the other host.
CHAIN = ("other", "relative", "same", "path")
#: Kinds that never reach the stream, whatever ``hops`` is.
ENDLESS = ("loop", "none", "empty", "https", "ftp")


def redirect_count(request: Request) -> int:
    """Return the number of redirects that led to this request."""
    text = next((value for name, value in request.query if name == "hop"), "0")
    return int(text) if text.isdecimal() else 0


def redirects_done(request: Request, faults: Faults) -> bool:
    """Return whether this request has had all its redirects."""
    if faults.redirect in ENDLESS:
        return False
    usual = len(CHAIN) if faults.redirect == "chain" else 1
    return redirect_count(request) >= (usual if faults.hops is None else faults.hops)


def next_target(request: Request, token: str | None = None) -> str:
    """Return path and query of the next redirect."""
    path, _, query = request.target.partition("?")
    pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in ("hop", TOKEN)]
    pairs += [f"hop={redirect_count(request) + 1}", *([] if token is None else [f"{TOKEN}={token}"])]
    return f"{path}?{'&'.join(pairs)}"


def has_expired(station: Station, request: Request, faults: Faults) -> bool:
    """Return whether this request is the target of a redirect and its token is missing or expired."""
    if faults.expire is None or not redirect_count(request):
        return False
    token = next((value for name, value in request.query if name == TOKEN), "")
    lifetime = None if faults.expire == "once" else float(faults.expire)
    return not station.tokens.accept(token, station.uptime(), lifetime)


def other_authority(authority: str, other_host: str) -> str:
    """Return the same port on the other host name of this machine."""
    parts = urlsplit(f"//{authority}")
    host = "127.0.0.1" if parts.hostname == other_host else other_host
    return host if parts.port is None else f"{host}:{parts.port}"


def location(station: Station, request: Request, faults: Faults) -> str | None:
    """Return the Location of the redirect, or None: no redirect, or a redirect without Location."""
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
