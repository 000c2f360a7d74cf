"""The plugin of ``twistd m3uproxy``. Every ``twistd`` loads this file, so it must not import the package."""

from twisted.application.service import ServiceMaker

m3uproxy = ServiceMaker(
    "m3uproxy",
    "m3uproxy.tap",
    "IPTV stream-sharing proxy",
    "m3uproxy",
)
