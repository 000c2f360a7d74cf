"""HLS: what is fetched from a provider once for all players."""
