"""HTTP Live Streaming (RFC 8216 and its second edition, draft-pantos-hls-rfc8216bis), as text and numbers."""
