"""Rules and data formats without I/O: no Twisted, no clock. Imports only :mod:`m3uproxy.errors`."""
