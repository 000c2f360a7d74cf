"""Access rules: the management gate, tokens, CORS, client addresses, and the proxy's own URL."""
