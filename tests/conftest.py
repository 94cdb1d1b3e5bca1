import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.runtime import script

script.set_environment()  # before torch
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist keeps the other cores busy
# Ignored where pytest runs in the background of a shell script; what tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=10, help="of test_robustness.py")


@pytest.fixture
def kills(request):
    """How often a job is killed at a random moment."""
    return request.config.getoption("--kills")


@pytest.fixture(autouse=True)
def seed():
    """Random inputs are the same in every run."""
    torch.manual_seed(0)


def tables(results):
    """Every table of results by name, as bytes."""
    return {path.name: path.read_bytes() for path in (results / "data").glob("*.csv")}


@pytest.fixture(scope="session")
def finished_b(tmp_path_factory):
    """Results of a finished tiny job of experiment B with two seeds, and what it printed."""
    import job
    from test_exp_b import LINE

    results = tmp_path_factory.mktemp("job") / "results"
    log = results.parent / "log"
    assert job.finish(results, line=LINE, log=log, pictures=True) == 0, log.read_text()
    return results, log.read_text()


@pytest.fixture
def cifar10_root():
    """Parent of the official CIFAR-10 files; skips where they are not on this machine."""
    for root in (os.environ.get("CIFAR10_ROOT"), ROOT / "data"):
        if root and (Path(root) / "cifar-10-batches-py" / "test_batch").exists():
            return Path(root)
    pytest.skip("CIFAR-10 is not on this machine")
