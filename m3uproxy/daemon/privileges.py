"""Started as root to take a port: what must be right before the rights are given up.

``twistd --uid --gid`` opens the log and the ports as root and then becomes somebody else, who has to be able to write
to the state folder and to rotate the log.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Identity:
    """Who the daemon will be."""

    uid: int
    gid: int
    #: The log, which root has opened by the time that the ports are taken.
    log: Path | None = None

    def __str__(self) -> str:
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name!r}"
        except KeyError:
            return f"user {self.uid}"


def later_identity(options: Mapping[str, Any]) -> Identity | None:
    """Who ``twistd`` will become; None if it stays who it is.

    :param options: those of ``twistd`` itself.
    """
    uid, gid = options.get("uid"), options.get("gid")
    if os.geteuid() != 0 or (uid is None and gid is None):
        return None
    uid = 0 if uid is None else uid
    log = None if options.get("logfile") == "-" else Path(options.get("logfile") or "twistd.log").absolute()
    return Identity(uid, pwd.getpwuid(uid).pw_gid if gid is None else gid, log)


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Have the block touch files with the rights that the daemon will have, and no others."""
    if identity is None:
        yield
        return
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups([identity.gid])
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def make_folder(folder: Path, identity: Identity | None) -> None:
    """Make a private folder that is the later identity's own; one that is there stays as it is.

    :raises OSError: if that cannot be, or if the later identity could not reach it.
    """
    try:
        with acting_as(identity):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    except PermissionError:
        if identity is None:
            raise
    nearest = next(parent for parent in folder.parents if parent.exists())
    with acting_as(identity):
        os.stat(os.path.join(nearest, "."))
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    os.chown(folder, identity.uid, identity.gid, follow_symlinks=False)


def hand_over_log(identity: Identity | None) -> None:
    """Let the later identity rotate the log. What is not plainly a file of root's is left alone."""
    if identity is None or identity.log is None:
        return
    try:
        descriptor = os.open(identity.log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(descriptor, identity.uid, identity.gid)
    finally:
        os.close(descriptor)
