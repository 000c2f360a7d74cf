"""What tests share: their own modules (``wire``, fakes) are found from any folder under ``tests``."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# CI uses the same examples in each run, so that a failure can be reproduced; elsewhere examples are random.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("default", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session", autouse=True)
def secret_log():
    """Check that the log of the whole run holds no secret."""
    from secret_log_check import SecretLogCheck
    from twisted.logger import globalLogPublisher

    check = SecretLogCheck()
    globalLogPublisher.addObserver(check)
    yield check
    globalLogPublisher.removeObserver(check)
    assert check.leaks == []
