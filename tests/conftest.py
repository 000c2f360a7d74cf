"""What tests share: their own modules (``wire``, fakes) are found from any folder under ``tests``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
