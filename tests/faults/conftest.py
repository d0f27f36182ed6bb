"""The servers of the lake's tests, and its made-up readings, for tests that break things."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parent.parent / "lake" / "conftest.py"
_spec = importlib.util.spec_from_file_location("lake_fixtures", _FILE)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

weed_settings = _fixtures.weed_settings
weed_lake = _fixtures.weed_lake
