"""The state folder, the only folder that the daemon writes to."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .privileges import Identity, acting_as, make_folder

KEY_BYTES = 32
_KEY_FILE = "stream-id.key"


class StateError(Exception):
    """The state folder cannot be used. The text is one line."""


def stream_key(state_dir: Path, identity: Identity | None = None) -> bytes:
    """Return the secret key of the stream ids. It is made at the first start and kept, so that ids survive a restart.

    :param identity: user that the daemon will change to, if it is root now; that user must be able to use the folder.
    :raises StateError: if the folder cannot be made or written, or the key file is invalid.
    """
    path = state_dir / _KEY_FILE
    try:
        make_folder(state_dir, identity)
        with acting_as(identity):
            if not path.exists():
                _create(path, secrets.token_bytes(KEY_BYTES))
            key = path.read_bytes()
            if not os.access(state_dir, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise PermissionError(0, "Permission denied")
    except OSError as error:
        by = "" if identity is None else f" by {identity}"
        raise StateError(f"STATE_DIR: {str(state_dir)!r} cannot be used{by}: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise StateError(f"STATE_DIR: {str(path)!r} is not a key of {KEY_BYTES} bytes; remove it to get a new one")
    return key


def _create(path: Path, content: bytes) -> None:
    """Create a private file atomically. An existing file is kept."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike rename, link never replaces a file: two daemons that start at once use the same key.
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink()
