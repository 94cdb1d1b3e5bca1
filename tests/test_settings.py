"""Bad settings: one line that names the constant and what is allowed, exit code 2, no trace."""

import importlib.util
import re
from pathlib import Path

import job
import pytest
from conftest import ROOT

from utils.evidence import paper, verdicts
from utils.runtime import devices, provenance, settings

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
    (B, "--scale big", "SCALE.*big.*quick, medium, full"),
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
    (B, "--dropout 1", "DROPOUT.*1.*below 1"),
    (B, "--dropout -1e-9", "dropout"),
    (B, "--seeds 1 1", "SEEDS.*1 1.*distinct"),
    (B, "--seeds", "seeds.*expected at least one"),
    (B, "--seeds -1", "SEEDS.*-1"),
    (B, "--seeds 1 two", "'two'.*whole numbers"),
    (B, "--seeds 99999999999", "SEEDS.*1000000"),
    (B, "--configurations l3", "CONFIGURATIONS.*l3.*baseline.*l2, conv-l2.*dropout"),
    (B, "--configurations l2=-1", "CONFIGURATIONS.*l2=-1.*at least 0"),
    (B, "--configurations l2=", "CONFIGURATIONS.*l2=.*l2=5e-4"),
    (B, "--configurations l2=x dropout", "CONFIGURATIONS.*l2=x dropout"),
    (B, "--configurations dropout=1", "CONFIGURATIONS.*dropout=1.*below 1"),
    (B, "--configurations l2+l2=0.1", "CONFIGURATIONS.*l2"),
    (B, "--configurations l2+baseline", "CONFIGURATIONS.*l2.baseline"),
    (B, "--configurations l2=nan", "CONFIGURATIONS.*l2=nan"),
    (B, "--image-spectrum pink", "IMAGE_SPECTRUM.*pink.*natural, whitened, inverted"),
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
    (B, "--save-reference ../x", "SAVE_REFERENCE.*x.*name of a folder"),
    (B, "--redraw /nowhere", "REDRAW.*nowhere.*existing folder"),
    (B, "--device cuda:x", "DEVICE.*cuda:x"),
    (C, "--configurations l3", "CONFIGURATIONS.*l3"),
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
    (C, "--training-flags='--epochs", "TRAINING_FLAGS.*flags of experiment B"),
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
    (B, ["--dropout", "٠.٥"], "'٠.٥'.*number from 0"),
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
    log = tmp_path / "log"
    assert job.finish(results, line=f"{script}.py {line}", log=log) == 2
    assert re.fullmatch("error: .*\n", log.read_text())
    assert [p.name for p in results.rglob("*")] == ["data", "exp_b_ssr.csv"]
    assert (results / "data" / "exp_b_ssr.csv").read_text() == "precious"


def interrupt():
    """As Ctrl-C while the script chooses its device."""

    def choose_device(_):
        raise KeyboardInterrupt

    devices.choose_device = choose_device


@pytest.mark.parametrize("script", [A, B, C, D])
def test_what_ctrl_c_says(tmp_path, script):
    """Only experiment B goes on where it was."""
    log = tmp_path / "log"
    assert job.finish(tmp_path, line=f"{script}.py", before=interrupt, log=log) == 1
    goes_on = "goes on from the last finished epoch" in log.read_text()
    assert goes_on == (script == B)
    assert ("starts over" in log.read_text()) == (script != B)


def test_constants_edited_at_the_top_are_checked_too(scripts, capsys):
    for name, value in (
        ("EPOCHS", 2.5),
        ("EPOCHS", True),
        ("EPOCHS", "3"),
        ("SEEDS", 3),
        ("SEEDS", ()),
        ("WEIGHT_DECAY", None),
        ("CONFIGURATIONS", "l2"),
        ("CONFIGURATIONS", None),
        ("CONFIGURATIONS", ()),
        ("SCALE", "big"),
        ("SCALE", None),
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
    assert s.changed == ["epochs"]  # seeds are told as n
    assert settings.read_settings(scripts[B], ["--scale", "full"]).width == 64
    edited = scripts[B] | {"EPOCHS": 7, "SCALE": "quick"}
    assert settings.read_settings(edited, []).epochs == 7
    assert settings.read_settings(edited, ["--epochs", "8"]).epochs == 8
    s = settings.read_settings(scripts[C], ["--no-clip", "--sigmas", "0", "1e-3"])
    assert s.clip is False and s.sigmas == [0, 0.001]


def test_home_folder(scripts):
    """Where the shell leaves ~ as it is, and in constants at the top."""
    for constants, line in (({}, ["--results-dir=~/x"]), ({"RESULTS_DIR": "~/x"}, [])):
        s = settings.read_settings(scripts[B] | constants, line)
        assert s.results_dir == str(Path.home() / "x")


def test_none_is_explained(scripts, capsys):
    """At the top of the list, and in the help by its values."""
    for path in (ROOT / "experiments").glob("*.py"):
        source, constants = path.read_text("utf-8"), scripts.get(path.stem, {})
        table = "SETTINGS" if path.stem == A else "SCALES"
        if path.stem in (A, B):
            assert re.search(rf"\n\n# None: .*{table}.*\n[A-Z]+ = ", source), path
        assert not re.search(r"\n[A-Z_]+ = \(\n", source), path  # over lines it is no flag
        for name, comment in settings.CONSTANT.findall(source):
            known = name.lower() in constants.get(table, {}) or "; None: " in comment
            assert known or f"\n{name} = None " not in source, name
    with pytest.raises(SystemExit):
        settings.read_settings(scripts[B], ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: quick 10, medium 10, full 50)" in text
    with pytest.raises(SystemExit):
        settings.read_settings(scripts[C], ["--help"])
    assert "--training-flags=--epochs=5 (default: none)" in " ".join(
        capsys.readouterr().out.split()
    )


SECOND = {  # another valid value of every constant
    "SCALE": ["medium"],
    "DATASET": ["planted"],
    "IMAGE_SPECTRUM": ["inverted"],
    "CONFIGURATIONS": ["baseline", "l2=1e-4", "conv-l2", "l2=5e-4+dropout=0.3"],
    "SEEDS": ["7"],
    "EPOCHS": ["5"],
    "WIDTH": ["8"],
    "TRAIN_IMAGES": ["64"],
    "TEST_IMAGES": ["16"],
    "BATCH_SIZE": ["16"],
    "LEARNING_RATE": ["1"],
    "MOMENTUM": ["0"],
    "WEIGHT_DECAY": ["0"],
    "DROPOUT": ["0.25"],
    "CUTOFF": ["0.4"],
    "CHECKPOINT_EVERY": ["3"],
    "DEVICE": ["cuda:1"],
    "DATA_ROOT": ["/tmp"],
    "RESULTS_DIR": ["/tmp/elsewhere"],
    "SAVE_REFERENCE": ["mine"],
    "REDRAW": ["/tmp"],
    "SETTING": ["rahaman"],
    "FREQUENCIES": ["3", "7"],
    "AMPLITUDES": ["1", "0.5"],
    "RANDOM_PHASES": [],
    "INTERVAL": ["1"],
    "GRID_POINTS": ["64"],
    "TRAIN_POINTS": ["32"],
    "STRENGTHS": ["0", "1e-4"],
    "STEPS": ["10"],
    "HIDDEN_LAYERS": ["2"],
    "RECORDS": ["5"],
    "RUN": ["2024"],
    "TRAINING_FLAGS": ["=--epochs=5"],
    "SIGMAS": ["0", "1"],
    "CENTRES": ["0.1"],
    "BAND_WIDTH": ["0.2"],
    "BAND_NORM": ["5"],
    "MODE_NORM": ["0.5"],
    "HEATMAP_IMAGES": ["8"],
    "SENSITIVITY_IMAGES": ["8"],
    "CLIP": [],
    "NOISE_SEED": ["3"],
    "RESOLUTIONS": ["32", "7"],
    "BLUR_SIZES": ["0", "31"],
    "LOW_PASS_CUTOFFS": ["0.75", "0"],
    "HIGH_PASS_CUTOFFS": ["0"],
}


@pytest.mark.parametrize("script", [A, B, C, D])
def test_every_flag_takes_its_default_and_another_value(scripts, script):
    constants = scripts[script]
    source = Path(constants["__file__"]).read_text("utf-8")
    plain = vars(settings.read_settings(constants, []))
    for name, _ in settings.CONSTANT.findall(source):
        flag, value = "--" + name.lower().replace("_", "-"), plain[name.lower()]
        if value is not None:
            if isinstance(value, bool):
                line = [flag if value else flag.replace("--", "--no-")]
            elif isinstance(value, (list, tuple)):
                line = [flag, *map(str, value)]
            else:
                line = [f"{flag}={value}"]
            again = vars(settings.read_settings(constants, line))
            assert again["changed"] == [], (name, again["changed"])
            found = again[name.lower()]
            assert found == value or tuple(found) == tuple(value), name
        line = [flag, *SECOND[name]]
        if name == "TRAINING_FLAGS":
            line = [flag + SECOND[name][0]]
        if SECOND[name] == []:
            line = [flag.replace("--", "--no-") if value else flag]
        other = vars(settings.read_settings(constants, line))
        assert other[name.lower()] != value, name
        told = name not in settings.NOT_NAMED and value is not None
        assert (name.lower() in other["changed"]) == told, name


def test_what_was_changed_is_named(scripts):
    """As labels of tables and figures say it; the same list is no change, a tuple or not."""
    line = "--scale full --weight-decay 0.05 --learning-rate 0.001 --momentum 0"
    s = settings.read_settings(scripts[B], line.split(" "), recipe=paper.RECIPE)
    label = provenance.scale_label(s)
    assert label == "full, changed: learning_rate, momentum, weight_decay"
    assert not verdicts.is_published_setting({"dataset": "CIFAR-10", "scale": label}, "baseline")
    edited = scripts[B] | {"LEARNING_RATE": 0.01}  # at the top of the script
    s = settings.read_settings(edited, ["--scale", "full"], recipe=paper.RECIPE)
    assert provenance.scale_label(s) == "full, changed: learning_rate"
    s = settings.read_settings(scripts[A], ["--strengths", "0", "0.001", "0.01"])
    assert s.changed == []
    s = settings.read_settings(scripts[C], ["--no-clip"])
    assert provenance.scale_label(s, "full") == "full, changed: clip"
    assert provenance.scale_label(s, "full, changed: width") == "full, changed: width, clip"
    s = settings.read_settings(scripts[C], [], recipe=paper.RECIPE)
    assert provenance.scale_label(s, "full") == "full"
    s = settings.read_settings(scripts[C] | {"CLIP": False}, [], recipe=paper.RECIPE)
    assert provenance.scale_label(s, "full") == "full, changed: clip"
    s.changed.append("test_images")  # as in experiment B, and changed once more
    label = provenance.scale_label(s, "full, changed: width, test_images")
    assert label == "full, changed: width, test_images, clip"


def test_the_first_command_is_the_same_job_everywhere(scripts, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert settings.read_settings(scripts[B], []).scale == "quick"


def test_help_shows_every_constant(scripts, capsys):
    for script in scripts.values():
        with pytest.raises(SystemExit):
            settings.read_settings(script, ["--help"])
        text = capsys.readouterr().out
        source = Path(script["__file__"]).read_text("utf-8")
        for name, comment in settings.CONSTANT.findall(source):
            assert "--" + name.lower().replace("_", "-") in text
            assert comment.split()[0] in text
