"""HLS: playlists and segments, fetched from the provider once for all players."""
