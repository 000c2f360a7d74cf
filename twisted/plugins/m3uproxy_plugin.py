"""Makes ``twistd m3uproxy`` known. Nothing else may be imported here: every ``twistd`` loads this file."""

from twisted.application.service import ServiceMaker

m3uproxy = ServiceMaker(
    "m3uproxy",
    "m3uproxy.tap",
    "IPTV stream-sharing proxy",
    "m3uproxy",
)
