"""Preparations of a daemon that starts as root and then changes its user.

``twistd --uid --gid`` opens the log and the ports as root and then changes to another user. That user must be able to
write to the state folder and to rotate the log.
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
    """User and group that the daemon will change to."""

    uid: int
    gid: int
    #: The log file, which root has opened before the ports are opened.
    log: Path | None = None

    def __str__(self) -> str:
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name!r}"
        except KeyError:
            return f"user {self.uid}"


def later_identity(options: Mapping[str, Any]) -> Identity | None:
    """Return the identity that ``twistd`` will change to; None if it will not change.

    :param options: the options of ``twistd`` itself.
    """
    uid, gid = options.get("uid"), options.get("gid")
    if os.geteuid() != 0 or (uid is None and gid is None):
        return None
    uid = 0 if uid is None else uid
    log = None if options.get("logfile") == "-" else Path(options.get("logfile") or "twistd.log").absolute()
    return Identity(uid, pwd.getpwuid(uid).pw_gid if gid is None else gid, log)


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Run the block with the file rights that the daemon will have."""
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
    """Make a private folder that belongs to the later identity. An existing folder is not changed.

    :raises OSError: if the folder cannot be made, or the later identity cannot reach it.
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
    """Let the later identity rotate the log. Anything but a regular file of root is left alone."""
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
