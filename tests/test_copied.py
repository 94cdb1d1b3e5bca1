"""frequency.py, alone or with spectra/, copied into an empty package of another name elsewhere."""

import shutil
import subprocess
import sys

from conftest import ROOT

CODE = """
import sys
import torch
from torch import nn
import frequency
from mine.tools.frequency import spectrum_from_power
from mine.tools.spectra.feature_maps import feature_spectra
from mine.tools.spectra.input_sensitivity import input_sensitivity
from mine.tools.spectra.kernels import analyze_model
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
images = torch.rand(2, 3, 8, 8)
print(analyze_model(model, folded=True).batchnorm[0], frequency.radial_spectrum(torch.eye(3)).total)
print(*feature_spectra(model, images).layer.unique())
print(spectrum_from_power(input_sensitivity(model, images)).total > 0)
print(*[name for name in sys.modules if name.split(".")[0] in ("utils", "data", "models")])
"""


def test_the_core_works_elsewhere(tmp_path):
    tools = tmp_path / "mine" / "tools"
    chosen = shutil.ignore_patterns("external_models.py", "__pycache__")
    shutil.copytree(ROOT / "utils" / "spectra", tools / "spectra", ignore=chosen)
    for place in (tmp_path, tools):
        shutil.copy(ROOT / "utils" / "frequency.py", place)
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1 3.0", "0 1", "True", ""]
