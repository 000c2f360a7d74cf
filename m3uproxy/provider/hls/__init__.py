"""HLS (RFC 8216, and its second edition for low latency) from the same clip: playlists, segments, keys, subtitles."""
