"""Bad settings: one line that names the constant and what is allowed, exit code 2, no trace."""

import importlib.util
import re
from pathlib import Path

import job
import pytest
from conftest import ROOT

from utils import settings

A, B = "exp_a_synthetic", "exp_b_spectrum_evolution"
C, D = "exp_c_robustness", "exp_d_resolution_robustness"

BAD = [  # script, command line, what the line must say
    (B, "--epochs 0", "EPOCHS.*0.*from 1"),
    (B, "--epochs ten", "epochs.*'ten'.*whole number"),
    (B, "--epochs 2.5", "EPOCHS.*2.5.*whole number"),
    (B, "--epochs 1e3", "EPOCHS.*1000.0.*whole number"),
    (B, "--epochs", "epochs.*expected one argument"),
    (B, "--epochs 99999999999999999999999", "EPOCHS.*100000"),
    (B, "--epochs 3 4", "unrecognized.*4"),
    (B, "--scale big", "SCALE.*big.*auto, quick, full"),
    (B, "--scale ", "expected one argument"),
    (B, "--scale QUICK", "SCALE.*QUICK"),
    (B, "--colour red", "--colour red.*--epochs"),
    (B, "--epoch 3", "--epoch 3"),
    (B, "extra", "extra"),
    (B, "--weight-decay -0.1", "WEIGHT_DECAY.*-0.1.*at least 0"),
    (B, "--weight-decay nan", "WEIGHT_DECAY.*nan"),
    (B, "--weight-decay inf", "WEIGHT_DECAY.*inf"),
    (B, "--weight-decay 1e400", "WEIGHT_DECAY.*inf"),
    (B, "--weight-decay 1,5", "'1,5'.*number"),
    (B, "--learning-rate 0", "LEARNING_RATE.*above 0"),
    (B, "--learning-rate -1", "LEARNING_RATE.*-1"),
    (B, "--learning-rate ½", "'½'.*number"),
    (B, "--momentum 1", "MOMENTUM.*below 1"),
    (B, "--dropout 1", "DROPOUT.*1.0.*below 1"),
    (B, "--dropout -1e-9", "dropout"),
    (B, "--seeds 1 1", "SEEDS.*1 1.*distinct"),
    (B, "--seeds", "seeds.*expected at least one"),
    (B, "--seeds -1", "SEEDS.*-1"),
    (B, "--seeds 1 two", "'two'.*whole numbers"),
    (B, "--seeds 99999999999", "SEEDS.*1000000"),
    (B, "--configurations l3", "CONFIGURATIONS.*l3.*baseline, l2, dropout"),
    (B, "--configurations l2 l2", "CONFIGURATIONS.*l2 l2"),
    (B, "--configurations Baseline", "CONFIGURATIONS.*Baseline"),
    (B, "--width 0", "WIDTH.*from 1 to 1024"),
    (B, "--width 2048", "WIDTH.*2048"),
    (B, "--batch-size 0", "BATCH_SIZE"),
    (B, "--batch-size -32", "BATCH_SIZE.*-32"),
    (B, "--train-images 1", "TRAIN_IMAGES"),
    (B, "--test-images 0", "TEST_IMAGES"),
    (B, "--checkpoint-every 0", "CHECKPOINT_EVERY"),
    (B, "--cutoff 0.5", "CUTOFF.*0.5"),
    (B, "--cutoff -0.1", "CUTOFF"),
    (B, "--device tpu", "DEVICE.*tpu.*cuda"),
    (B, "--dataset imagenet", "DATASET.*imagenet.*planted"),
    (B, "--dataset Σ⚡", "DATASET.*Σ⚡"),
    (B, "--data-root /no/such/place", "DATA_ROOT.*/no/such/place.*existing folder"),
    (B, f"--data-root {__file__}", "DATA_ROOT.*existing folder"),
    (B, f"--results-dir {__file__}", "RESULTS_DIR.*a folder"),
    (B, "--save-reference yes", "yes"),
    (A, "--steps 0", "STEPS.*0.*from 1"),
    (A, "--strengths -0.001", "STRENGTHS.*-0.001.*from 0"),
    (A, "--strengths 0 nan", "STRENGTHS.*nan"),
    (A, "--frequencies 5 5", "FREQUENCIES.*5 5.*distinct"),
    (A, "--frequencies 2.5", "FREQUENCIES.*2.5"),
    (A, "--setting other", "SETTING.*other.*demo, rahaman"),
    (A, "--amplitudes 1 -1 1", "AMPLITUDES.*above 0"),
    (A, "--learning-rate inf", "LEARNING_RATE.*inf"),
    (C, "--sigmas -0.1", "SIGMAS.*-0.1.*from 0 to 10"),
    (C, "--sigmas nan", "SIGMAS.*nan"),
    (C, "--sigmas 0.1 0.1", "SIGMAS.*distinct"),
    (C, "--centres 0.9", "CENTRES.*0.9.*0.7"),
    (C, "--band-width 0", "BAND_WIDTH.*0.05"),
    (C, "--mode-norm -4", "MODE_NORM.*-4"),
    (C, "--heatmap-images 0", "HEATMAP_IMAGES"),
    (C, "--noise-seed 0.5", "NOISE_SEED.*0.5"),
    (C, "--run ..", "RUN.*name of a folder"),
    (D, "--resolutions 0", "RESOLUTIONS.*0.*from 1 to 32"),
    (D, "--resolutions 33", "RESOLUTIONS.*33"),
    (D, "--blur-sizes 3 4", "BLUR_SIZES.*3 4.*odd"),
    (D, "--blur-sizes -3", "BLUR_SIZES"),
    (D, "--low-pass-cutoffs -1", "LOW_PASS_CUTOFFS.*-1"),
    (D, "--high-pass-cutoffs 0.2 x", "'x'"),
]


ODD = [  # script, arguments that hold spaces, line breaks or nothing, what the line must say
    (B, ["--epochs", ""], "epochs.*''.*whole number"),
    (B, ["--epochs", "９"], "'９'.*whole number"),
    (B, ["--epochs", "1_0"], "'1_0'.*whole number"),
    (B, ["--epochs", "0x10"], "'0x10'.*whole number"),
    (B, ["--epochs", "9" * 5000], "EPOCHS.*inf.*100000"),
    (B, ["--seeds", "1", "１"], "'１'.*whole numbers"),
    (B, ["--seeds", "0", "-0"], "SEEDS.*0 0.*distinct"),
    (B, ["--dropout", "٠.٥"], "'٠.٥'.*probability"),
    (B, ["--learning-rate", "1e-400"], "LEARNING_RATE.*0.0.*above 0"),
    (B, ["--dataset", ""], "DATASET.*''.*planted"),
    (B, ["--dataset", "a\nb"], r"DATASET.*'a\\nb'.*planted"),
    (B, ["--device", "cpu "], "DEVICE.*'cpu '.*mps"),
    (B, ["--scale", "\ud800"], "SCALE.*ud800"),
    (B, ["a\nb"], r"unrecognized.*a\\nb.*--epochs"),
    (B, ["--colour=a\r\nb"], r"unrecognized.*a\\r\\nb.*--epochs"),
    (B, ["--results-dir", ""], "RESULTS_DIR.*''.*a folder"),
    (B, ["--results-dir", "a" * 300], "RESULTS_DIR.*aaa.*a folder"),
    (B, ["--results-dir", "a/" * 5000], "RESULTS_DIR.*a/a.*a folder"),
    (B, ["--results-dir", f"{__file__}/results"], "RESULTS_DIR.*a folder"),
    (B, ["--results-dir", "x\udcff"], "RESULTS_DIR.*udcff"),
    (B, ["--results-dir", "\0"], "RESULTS_DIR.*x00"),
    (B, ["--data-root", ""], "DATA_ROOT.*existing folder"),
    (B, ["--data-root", "~no-such-user/x"], "DATA_ROOT.*existing folder"),
    (B, ["--data-root", "a" * 5000], "DATA_ROOT.*existing folder"),
]


@pytest.fixture(scope="module")
def scripts():
    """The constants of every script, by name."""
    modules = {}
    for path in (ROOT / "experiments").glob("exp_*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules[path.stem] = vars(module)
    return modules


@pytest.mark.parametrize(
    "script, line, named", [(s, line.split(), named) for s, line, named in BAD] + ODD
)
def test_bad_settings_end_with_one_line(scripts, capsys, script, line, named):
    with pytest.raises(SystemExit) as end:
        settings.read_settings(scripts[script], line)
    printed = capsys.readouterr()
    assert end.value.code == 2 and printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert re.search(named, printed.err), printed.err


@pytest.mark.parametrize(
    "script, line",
    [(A, "--steps 0"), (B, "--epochs 0"), (C, "--sigmas -1"), (D, "--resolutions 0")],
)
def test_through_the_command_line(tmp_path, script, line):
    results = tmp_path / "results"
    (results / "data").mkdir(parents=True)
    (results / "data" / "exp_b_ssr.csv").write_text("precious")
    process = job.as_a_user(f"{script}.py {line}", results)
    assert process.returncode == 2
    assert process.stdout == "" and process.stderr.count("\n") == 1
    assert [p.name for p in results.rglob("*")] == ["data", "exp_b_ssr.csv"]
    assert (results / "data" / "exp_b_ssr.csv").read_text() == "precious"


def test_constants_edited_at_the_top_are_checked_too(scripts, capsys):
    for name, value in (
        ("EPOCHS", 2.5),
        ("EPOCHS", True),
        ("EPOCHS", "3"),
        ("SEEDS", 3),
        ("SEEDS", ()),
        ("WEIGHT_DECAY", None),
        ("CONFIGURATIONS", "l2"),
        ("DATASET", 7),
        ("RESULTS_DIR", None),
    ):
        with pytest.raises(SystemExit) as end:
            settings.read_settings(scripts[B] | {name: value}, [])
        assert end.value.code == 2
        printed = capsys.readouterr().err
        assert name in printed and printed.count("\n") == 1, printed


def test_good_settings(scripts, tmp_path):
    s = settings.read_settings(
        scripts[B], ["--scale", "quick", "--seeds", "3", "1", "--epochs", "4"]
    )
    assert s.seeds == [3, 1] and s.epochs == 4 and s.width == 16
    assert set(s.changed) == {"seeds", "epochs"}
    assert settings.read_settings(scripts[B], ["--scale", "full"]).width == 64
    edited = scripts[B] | {"EPOCHS": 7, "SCALE": "quick"}
    assert settings.read_settings(edited, []).epochs == 7
    assert settings.read_settings(edited, ["--epochs", "8"]).epochs == 8
    s = settings.read_settings(scripts[C], ["--no-clip", "--sigmas", "0", "1e-3"])
    assert s.clip is False and s.sigmas == [0, 0.001]


def test_help_shows_every_constant(scripts, capsys):
    for script in scripts.values():
        with pytest.raises(SystemExit):
            settings.read_settings(script, ["--help"])
        text = capsys.readouterr().out
        source = Path(script["__file__"]).read_text("utf-8")
        for name, comment in settings.CONSTANT.findall(source):
            assert "--" + name.lower().replace("_", "-") in text
            assert comment.split()[0] in text
