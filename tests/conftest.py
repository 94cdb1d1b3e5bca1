import json
import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import utils  # noqa: F401 (before all else)

# isort: split
import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=20, help="of test_robustness.py")


HALF = ["test_robustness.py", "test_exp_a.py", "test_exp_b.py", "test_exp_cd.py"]
HALF += ["test_reference.py"]  # files that take half of the time


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    """The whole suite runs in two processes at once, each with its files, and reports as one."""
    config = session.config
    theirs = [item for item in session.items if item.path.name in HALF]
    ours = [item for item in session.items if item not in theirs]
    one = config.option.usepdb or config.option.capture == "no" or config.option.collectonly
    if one or not (ours and theirs and hasattr(os, "fork") and (os.cpu_count() or 1) > 1):
        return (yield)
    with tempfile.TemporaryFile("w+") as reports:
        child = os.fork()
        session.items = ours if child else theirs
        if not child:
            config.pluginmanager.unregister(name="terminalreporter")
            config.pluginmanager.register(Sender(config, reports))
        try:
            result = yield
        except BaseException:  # stopped at a failure, or by hand
            os.kill(child or os.getpid(), signal.SIGTERM)
            raise
        if not child:
            reports.flush()
            os._exit(0)
        os.waitpid(child, 0)
        reports.seek(0)
        for line in reports:
            data = {"config": config, "data": json.loads(line)}
            report = config.hook.pytest_report_from_serializable(**data)
            theirs = [item for item in theirs if item.nodeid != report.nodeid]
            config.hook.pytest_runtest_logreport(report=report)
    if theirs and not session.shouldfail:
        raise pytest.UsageError(f"the process of {', '.join(HALF)} died before {theirs[0].nodeid}")
    return result


class Sender:
    """Reports of tests, a line each."""

    def __init__(self, config, file):
        self.config, self.file = config, file

    def pytest_runtest_logreport(self, report):
        data = {"config": self.config, "report": report}
        print(json.dumps(self.config.hook.pytest_report_to_serializable(**data)), file=self.file)


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


@pytest.fixture
def cifar10_root():
    """Parent of the official CIFAR-10 files; skips where they are not on this machine."""
    for root in (os.environ.get("CIFAR10_ROOT"), ROOT / "data"):
        if root and (Path(root) / "cifar-10-batches-py" / "test_batch").exists():
            return Path(root)
    pytest.skip("CIFAR-10 is not on this machine")
