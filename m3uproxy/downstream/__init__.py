"""Writing bodies to the sockets of players."""
