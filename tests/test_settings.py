"""Constants and flags: found, checked, named. What is refused is one line, exit code 2."""

import importlib.util
import re
import sys
from pathlib import Path

import job
import pytest
from conftest import ROOT

from utils.configurations import RECIPE
from utils.evidence import verdicts
from utils.runtime import provenance, settings

A, B = "exp_a_synthetic", "exp_b_spectrum_evolution"
C, D = "exp_c_robustness", "exp_d_resolution_robustness"

BAD = [  # a row for each rule: script, arguments, what the line must say
    (B, ["--epochs", "0"], "EPOCHS .--epochs. is 0; allowed: a whole number from 1 "),
    (B, ["--epochs", "2.5"], "'2.5'.*a whole number from 1"),
    (B, ["--epochs", "1_0"], "'1_0'.*whole number"),
    (B, ["--epochs", "９"], "'９'.*whole number"),
    (B, ["--epochs", "9" * 5000], "'9+'.*100000"),
    (B, ["--epochs", "3", "4"], "unrecognized.*4; allowed: --scale"),
    (B, ["--epoch", "3"], "--epoch 3; did you mean --epochs.$"),
    (B, ["\u2014Weight_Decay=1"], "did you mean --weight-decay.$"),
    (B, ["a\r\nb"], r"unrecognized.*a\\r\\nb"),
    (B, ["--weight-decay", "nan"], "WEIGHT_DECAY.*nan; allowed: a number from 0"),
    (B, ["--seeds", "1", "-0", "0"], "SEEDS.*'1 0 0'.*distinct"),
    (B, ["--seeds", "1", "-2", "3"], "SEEDS .--seeds. is -2; allowed"),
    (B, ["--seeds", "1", "two"], "'two'.*each a whole number"),
    (B, ["--configurations", "l2=", "l2", "dropout=1"], "is 'l2= dropout=1'; allowed: .*conv-l2"),
    (B, ["--scale", "QUICK"], "SCALE.*'QUICK'.*one of quick, medium, full"),
    (B, ["--device", "cpu "], "DEVICE.*'cpu '.*mps"),
    (B, ["--data-root", "~no-such-user/x"], "DATA_ROOT.*existing folder"),
    (B, ["--results-dir", f"{__file__}/results"], "RESULTS_DIR.*a folder"),
    (B, ["--results-dir", "a" * 300], "RESULTS_DIR.*aaa.*a folder"),
    (B, ["--results-dir", ""], "RESULTS_DIR.*''.*a folder"),
    (B, ["--results-dir", "a\tb"], r"RESULTS_DIR.*'a\\tb'.*a folder"),
    (B, ["--results-dir", "x\udcff"], "RESULTS_DIR.*udcff"),
    (A, ["--amplitudes", "1", "-1", "1"], "-1; allowed: a list of some, each a number from 1e-06"),
    (C, ["--run", ".."], "RUN.*name of a folder"),
    (C, ["--training-flags='--epochs"], "TRAINING_FLAGS.*flags of experiment B"),
    (D, ["--blur-sizes", "3", "4"], "BLUR_SIZES.*4; .*one of 0, 1, 3"),
]
EDITED = {  # constants at the top of B
    "EPOCHS": [(2.5, "2.5; .*a whole number"), (True, "True; .*whole"), ("3", "'3'; .*whole")],
    "SEEDS": [((), r"\[\]; allowed: a list of"), ({0, 1}, "{0, 1}; allowed: a list of")],
    "CONFIGURATIONS": [("l2", "'l2'; allowed: a list of")],
    "WEIGHT_DECAY": [(None, "None; allowed: a number"), ([1, 2], r"\[1, 2\]; allowed: a number")],
    "DATASET": [(7, "7; allowed: one of auto")],
}


@pytest.fixture(scope="module")
def scripts():
    """The constants of every script, by name."""
    modules = {}
    for path in (ROOT / "experiments").glob("*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules[path.stem] = vars(module)
    return {name: module for name, module in modules.items() if "settings" in module}


@pytest.fixture
def assert_refused(capsys):
    """function(constants, arguments, what the line says)."""

    def check(script, line, said):
        with pytest.raises(SystemExit) as end:
            settings.read_settings(script, line)
        printed = capsys.readouterr()
        assert end.value.code == 2 and printed.out == ""
        assert re.fullmatch("error: .*\n", printed.err) and re.search(said, printed.err), printed

    return check


def help_text(script, capsys) -> str:
    with pytest.raises(SystemExit):
        settings.read_settings(script, ["--help"])
    return " ".join(capsys.readouterr().out.split())


def test_bad_settings_end_with_one_line(scripts, assert_refused):
    for script, line, said in BAD:
        assert_refused(scripts[script], line, said)
    for name, values in EDITED.items():
        for value, said in values:
            assert_refused(scripts[B] | {name: value}, [], f"error: {name} .* is {said}")


SCRIPT = '''"""What it does."""
from pathlib import Path

ROOT = Path("somewhere")
from utils.runtime import script, settings
import numpy as np
import torch

SCALE: str = "small"  # small or big
EPOCHS: int = 3
if torch.get_num_threads() > 1000:
    EPOCHS = 4
MOMENTUM = np.float64(0.75)
CONFIGURATIONS = (  # which to train: 90 % of them
    "baseline",
    "L2",
)
SEEDS = np.arange(3)  # one run for each
WIDTH, BATCH_SIZE = np.int64(16), torch.tensor(32)
RESOLUTIONS = range(8, 11)
RESULTS_DIR = ROOT / "\u65b0\u3057\u3044\u3000\u30d5\u30a9\u30eb\u30c0"
RATES = [0.5, 1.5]  # a constant that nobody has heard of
if torch is not None:
    FAST = False
else:
    SLOW = True
HEIGHT = None
LOSS = torch.nn.MSELoss
TEXT = (
    "a"
)  # below it
SCALES: dict = {"height": {"small": 1, "big": 2}}
if __name__ == "__main__":
    script.prepare(globals())
LATER = 1
'''
FOUND = {"scale": "small", "epochs": 3, "momentum": 0.75, "configurations": ["baseline", "L2"]}
FOUND |= {"seeds": [0, 1, 2], "width": 16, "batch_size": 32, "resolutions": [8, 9, 10]}
FOUND |= {"results_dir": str(Path("somewhere", "新しい\u3000フォルダ")), "rates": [0.5, 1.5]}
FOUND |= {"fast": False, "height": 1, "text": "a", "changed": []}


@pytest.mark.parametrize("start", ["", "\ufeff"])  # as some editors write it
def test_constants_in_any_form(tmp_path, capsys, assert_refused, start):
    """Annotated, over several lines, without a comment, of numpy, and new ones."""
    path = tmp_path / "script.py"
    path.write_text(start + SCRIPT, "utf-8")
    script = {"__file__": str(path), "__name__": "x"}
    exec(SCRIPT, script)  # noqa: S102
    found = vars(settings.read_settings(script, []))
    assert found == FOUND | {"loss": script["LOSS"]}
    assert {type(found[name]) for name in ("epochs", "width", "batch_size")} == {int}
    line = "--epochs 5 --rates 3 --fast --height 7 --text b --seeds 0 --scale big"
    found = settings.read_settings(script, line.split())
    assert (found.epochs, found.rates, found.fast, found.height) == (5, [3], True, 7)
    assert (found.text, found.seeds) == ("b", [0])
    assert found.changed == ["epochs", "rates", "fast", "text", "height"]
    assert_refused(script, ["--rates", "1", "nan"], "RATES.*nan.*each a number")
    assert_refused(script, ["--height", "1.5"], "--height.*1.5.*a whole number")
    for flag in ("--root", "--later", "--loss"):
        assert_refused(script, [flag, "2"], "unrecognized")
    text = help_text(script, capsys)
    assert "which to train: 90 % of them (default" in text and "small 1, big 2" in text
    assert "below it (default: a)" in text


def test_every_constant_is_a_flag_that_takes_its_value(scripts, capsys):
    """Has a comment, stands in the help, and None is explained."""
    assert set(scripts) == {A, B, C, D, "analyze_model"}
    for script in scripts.values():
        plain, comments = vars(settings.read_settings(script, [])), settings.find_constants(script)
        assert len(comments) > 9 and all(comments.values()) and "ROOT" not in comments
        text, line = help_text(script, capsys), []
        for name, comment in comments.items():
            flag, value = "--" + name.lower().replace("_", "-"), plain[name.lower()]
            assert f"{flag} " in text and comment in text, name
            assert value is not None or "None: " in comment, name
            if isinstance(value, bool):
                line += [flag if value else flag.replace("--", "--no-")]
            elif isinstance(value, list):
                line += [flag, *map(str, value)]
            elif value is not None:
                line += [f"{flag}={value}"]
        assert vars(settings.read_settings(script, line)) == plain


def test_values_of_flags(scripts, tmp_path):
    """They count more than a constant at the top, and that more than the scale."""
    edited = scripts[B] | {"EPOCHS": 7, "RESULTS_DIR": "~/x"}
    s = settings.read_settings(edited, ["--seeds", "3", "1", "--scale", "full"])
    assert (s.seeds, s.epochs, s.width, s.results_dir) == ([3, 1], 7, 64, str(Path.home() / "x"))
    assert s.changed == ["epochs"]  # seeds are told as n
    assert settings.read_settings(edited, ["--epochs", "8"]).epochs == 8
    s = settings.read_settings(scripts[C], ["--no-clip", "--sigmas", "0", "1e-3"])
    assert s.clip is False and s.sigmas == [0, 0.001] and s.training_flags == ""
    folder = tmp_path / "新しい　フォルダ a\u00a0b 👩\u200d🔬 \ue000 a\u2028b"
    folder.mkdir()
    line = ["--data-root", str(folder), "--results-dir", str(folder / "x")]
    s = settings.read_settings(scripts[B], line)
    assert s.data_root == str(folder) and s.results_dir == str(folder / "x")


def test_what_was_changed_is_named(scripts):
    """As labels of tables and figures say it; the same list is no change, a tuple or not."""
    line = "--scale full --weight-decay 0.05 --learning-rate 0.001 --momentum 0"
    s = settings.read_settings(scripts[B], line.split(" "), recipe=RECIPE)
    label = provenance.scale_label(s)
    assert label == "full, changed: learning_rate, momentum, weight_decay"
    assert not verdicts.is_published_setting({"dataset": "CIFAR-10", "scale": label}, "baseline")
    edited = scripts[B] | {"LEARNING_RATE": 0.01}  # at the top of the script
    s = settings.read_settings(edited, ["--scale", "full"], recipe=RECIPE)
    assert provenance.scale_label(s) == "full, changed: learning_rate"
    s = settings.read_settings(scripts[A], ["--strengths", "0", "0.001", "0.01"])
    assert provenance.scale_label(s) == "demo"
    s = settings.read_settings(scripts[B], ["--figure-format", "pdf", "--precision", "bfloat16"])
    assert s.changed == []  # no result depends on the first, the device's label has the other
    s = settings.read_settings(scripts[C] | {"CLIP": False}, [], recipe=RECIPE)
    s.changed.append("test_images")  # as in experiment B, and changed once more
    label = provenance.scale_label(s, "full, changed: width, test_images")
    assert label == "full, changed: width, test_images, clip"


def test_a_python_without_the_packages(tmp_path):
    """One sentence that names the right one; settings are read before it, and nothing written."""
    python = r"\.venv.Scripts.python" if sys.platform == "win32" else r"\.venv/bin/python"
    for script in (A, B, C, D, "analyze_model"):
        line = [sys.executable, "-S", "-I", ROOT / "experiments" / f"{script}.py"]
        done = job.run(line, tmp_path)
        assert done.returncode == 1 and done.stdout == ""
        assert re.fullmatch(rf"error: .* has no torch, .*{python}.*\n", done.stderr), done.stderr
    bad = job.run([*line, "--results-dir", tmp_path / "x", "--device", "x"], tmp_path)
    assert bad.returncode == 2 and re.fullmatch("error: DEVICE .*\n", bad.stderr)
    assert "--device X" in job.run([*line, "--help"], tmp_path).stdout
    assert not list(tmp_path.iterdir())
