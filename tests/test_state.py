"""The state folder and its key."""

from __future__ import annotations

import os

import pytest

from m3uproxy.daemon.state import KEY_BYTES, StateError, stream_key


def test_key_is_made_once_and_is_private(tmp_path):
    folder = tmp_path / "a" / "state"
    key = stream_key(folder)
    assert len(key) == KEY_BYTES
    assert stream_key(folder) == key
    assert os.listdir(folder) == ["stream-id.key"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "stream-id.key").stat().st_mode & 0o777 == 0o600


def test_two_folders_have_two_keys(tmp_path):
    assert stream_key(tmp_path / "a") != stream_key(tmp_path / "b")


def test_key_of_a_concurrent_start_is_kept(tmp_path, monkeypatch):
    """Of two daemons that start at once, the second finds no key and then fails to create one."""
    real = os.link

    def link(source, target):
        target.write_bytes(b"x" * KEY_BYTES)
        real(source, target)

    monkeypatch.setattr("m3uproxy.daemon.state.os.link", link)
    assert stream_key(tmp_path) == b"x" * KEY_BYTES
    assert os.listdir(tmp_path) == ["stream-id.key"]


def test_unusable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateError, match=r"^STATE_DIR: '.*' cannot be used: [^\n]+$"):
            stream_key(folder)


def test_invalid_key_is_not_overwritten(tmp_path):
    (tmp_path / "stream-id.key").write_bytes(b"short")
    with pytest.raises(StateError, match="is not a key of 32 bytes"):
        stream_key(tmp_path)
    assert (tmp_path / "stream-id.key").read_bytes() == b"short"
