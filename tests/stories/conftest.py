"""A running service for each story: own folder, own ports, own end."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from house import House  # noqa: E402


@pytest.fixture
def house():
    """The service on a clock that stands at a Monday morning, with one station, one team and a sink for its messages."""
    with House() as running:
        yield running
