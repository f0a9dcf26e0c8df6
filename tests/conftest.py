"""Settings of every test: one thread, and hypothesis the same on every run. Options for the table of hazards."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.hazard_table import HazardTable, mark_reports

settings.register_profile(
    "vared", max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.load_profile("vared")
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--hazards", type=Path, help="write the table of hazards here (with -m hazard, on all tests)")
    parser.addoption("--soak", type=int, default=4, help="trainings to kill again and again (default: 4)")


def pytest_configure(config):
    if config.option.hazards and not hasattr(config, "workerinput"):
        config.pluginmanager.register(HazardTable(config))


def pytest_collection_modifyitems(items):
    mark_reports(items)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
