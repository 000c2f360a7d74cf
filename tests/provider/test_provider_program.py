"""``python -m m3uproxy.provider`` as a process."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest


def start(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "m3uproxy.provider", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_prints_its_url_and_ends_on_a_signal(number):
    with start("--port", "0") as program:
        try:
            line = program.stdout.readline()
            url = re.search(r"play (http://127\.0\.0\.1:(\d+)/live/demo\.ts)", line)
            assert url, line
            with urllib.request.urlopen(url[1], timeout=5) as stream:
                assert stream.read(376)[::188] == b"GG"
                program.send_signal(number)
                assert program.wait(5) == 0
        finally:
            program.kill()
        assert program.stderr.read() == ""
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", int(url[2]))) != 0


def test_port_in_use_is_reported_in_a_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with start("--port", port) as program:
            out, complaint = program.communicate(timeout=20)
    assert program.returncode == 1
    assert out == ""
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{port}: .*in use\n", complaint)


def test_program_imports_nothing_else_of_the_package():
    code = (
        "import sys, m3uproxy.provider.__main__ as _;"
        "print([n for n in sys.modules if n.startswith(('m3uproxy.', 'klein', 'treq'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = [name for name in re.findall(r"'([^']+)'", result.stdout) if not name.startswith("m3uproxy.provider")]
    assert others in ([], ["m3uproxy._version"])
    assert "m3uproxy.provider.site" in result.stdout
