"""Names of configurations, and runs that are found again."""

from types import SimpleNamespace

import pytest
import torch

from utils import configurations
from utils.training import runs

SETTINGS = SimpleNamespace(weight_decay=1e-3, dropout=0.5)


@pytest.mark.parametrize(
    "name, complete, label",
    [
        ("Baseline", "baseline", "baseline"),
        ("l2", "l2=0.001", "L2 1e-3"),
        ("l2=2.5e-5", "l2=2.5e-05", "L2 2.5e-5"),
        ("l2=1e-10", "l2=1e-10", "L2 1e-10"),
        ("l2=0.05", "l2=0.05", "L2 0.05"),
        ("l2=0", "l2=0", "L2 0"),
        ("conv-l2", "conv-l2=0.001", "conv-L2 1e-3"),
        ("Dropout+L2=5E-4", "l2=0.0005+dropout=0.5", "L2 5e-4 + dropout 0.5"),
        ("fixed-norm", "fixed-norm=1", "fixed norm 1"),
        ("fixed-norm=0.5+dropout", "dropout=0.5+fixed-norm=0.5", "dropout 0.5 + fixed norm 0.5"),
    ],
)
def test_names(name, complete, label):
    assert configurations.canonical_name(name, SETTINGS) == complete
    assert configurations.canonical_name(complete) == complete
    assert configurations.label(complete) == label
    assert runs.parse_run(f"{complete}-seed12") == runs.Run(complete, 12)


def test_no_names():
    wrong = "l3,l2=,l2=-1,l2=1e6,l2=nan,dropout=1,l2+l2,l2+,baseline=1,fixed-norm=0,fixed-norm=-1"
    for name in ("", *wrong.split(","), "fixed-norm+l2", "conv-l2+fixed-norm=2"):
        with pytest.raises(ValueError):
            print(name, configurations.canonical_name(name, SETTINGS))
    for name in ("notes", "l2-seed0", "l2=0.001-seedx", "l2=0.0010-seed1", "-seed1", "backup"):
        assert runs.parse_run(name) is None, name  # stray folders


def test_strengths_family_order():
    assert configurations.strengths("l2=0.0005+dropout=0.3") == {"l2": 5e-4, "dropout": 0.3}
    assert configurations.strengths("baseline") == {}
    assert configurations.family("l2=0.0005+dropout=0.3") == "l2+dropout"
    names = ["baseline", "l2=0.0001", "l2=0.01", "conv-l2=1", "dropout=0.5", "l2=0.01+dropout=0.5"]
    assert sorted(sorted(names, key=len), key=configurations.order) == names


def test_a_run_depends_on_its_own_strengths_alone(tmp_path):
    """WEIGHT_DECAY and DROPOUT are in a run's name and move no other run; all else moves all."""
    shared = dict.fromkeys(runs.HASHED_SETTINGS, 1) | {"scale": "quick", "results_dir": tmp_path}

    def folder(dataset="CIFAR-10", device="cpu", **changed):
        return runs.job_folder(SimpleNamespace(**shared | changed), dataset, torch.device(device))

    assert folder().name.startswith("cifar10-quick-")
    assert folder(weight_decay=2, dropout=2, configurations=["l2=3"]) == folder(weight_decay=1)
    others = {folder(), folder("CIFAR-10, whitened"), folder(device="cuda:1")}
    others |= {folder(**{name: 2}) for name in runs.HASHED_SETTINGS}
    assert len(others) == 3 + len(runs.HASHED_SETTINGS)
