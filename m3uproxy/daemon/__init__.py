"""The daemon process: ports, signals, reload, root rights, state folder."""
