"""README.md and its companions: every command runs, every number has its source, in both languages."""

import csv
import lzma
import re

import job
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

FOLDERS = ["", "experiments", "results", "tests", "results/reference"]
PAGES = {folder: (ROOT / folder / "README.md").read_text("utf-8") for folder in FOLDERS}
ENGLISH, CHINESE = PAGES[""].split("\n# 中文\n")

B = "--dataset planted --device cpu --width 4 --epochs 1 --train-images 32 --test-images 20 "
B += "--batch-size 16 --seeds 0"
SMALL = {  # what makes a script's job small
    "exp_a_synthetic.py": "--steps 20 --seeds 0 --width 8",
    "exp_b_spectrum_evolution.py": B,
    "exp_c_robustness.py": "--device cpu --heatmap-images 2 --sensitivity-images 2",
    "exp_d_resolution_robustness.py": "--device cpu",
    "analyze_model.py": "--device cpu --image-count 2",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("readme") / "results"


@pytest.mark.parametrize("script", SMALL)
def test_commands(script, results, request):
    """All lines in blocks or in backticks that start it, as they stand, made small.

    Of torchrun's lines one process, as test_exp_b.py has several.
    """
    text = "\n".join(PAGES.values())
    assert set(re.findall(r" experiments/(\w+\.py)", text)) == {*SMALL, "reference_page.py"}
    pattern = rf"^\|? ?`?([^\n`]*) experiments/{script}([^\n`]*)"
    lines = [line for line in re.findall(pattern, text, re.MULTILINE) if "FOLDER" not in line[1]]
    for program, _ in lines:
        assert re.search(r"\.venv/bin/(python|torchrun [-=.:\w ]*)$", program)
    if script[:5] in ("exp_c", "exp_d") and not (results / "checkpoints").exists():
        assert job.finish(results, *B.split(), line="exp_b_spectrum_evolution.py") == 0
    for given in sorted({given for _, given in lines}):
        if "cifar10" in given:
            request.getfixturevalue("cifar10_root")
        assert job.finish(results, line=f"{script} {given} {SMALL[script]}") == 0, given
    assert lines and list(results.glob(f"figures/{script[:5]}*.png"))


def test_both_languages_have_the_same():
    """Blocks, formulas, code, links and numbers."""
    for pattern in (
        r"(?s)```.*?```",
        r"(?m)^    .*",
        r"`[^`\n]+`",
        r"\]\(([^#)].*?)\)",
        r"\d+(?:[.,]\d+)*",
    ):
        english, chinese = (sorted(re.findall(pattern, part)) for part in (ENGLISH, CHINESE))
        assert english == chinese and english


def test_claims_stand_on_the_page_of_results():
    (text,) = re.findall(r"\n## The claims\n(.*?)\n## ", ENGLISH, re.DOTALL)
    numbers = re.findall(r"-?\d+\.\d+|\[-?[\d.]+, -?[\d.]+\]", text)
    assert numbers and not [x for x in numbers if x not in PAGES["results/reference"]]


def test_numbers_of_the_answer():
    """Computed from the tables at full scale, and of noise at medium scale, to two digits."""
    folder = ROOT / "results" / "reference" / "full"
    noise = pd.read_csv(*folder.glob("exp_c_robustness.csv*"))
    filtered = pd.read_csv(*folder.glob("exp_d_resolution_robustness.csv*"))
    ssr = pd.read_csv(*folder.glob("exp_b_ssr.csv*")).query("weights == 'raw'")
    accuracy = pd.concat([noise, filtered[filtered.epoch == filtered.epoch.max()]])
    accuracy = accuracy.groupby(["corruption", "level", "configuration", "seed"]).accuracy.mean()
    ends = ssr[ssr.layer.str.fullmatch(r"blocks\.[012367]\.conv[12]")]
    ends = ends.groupby([ends.layer.str[7] < "4", "configuration"]).corner_final.mean()
    expected = []
    for name in ("baseline", "l2=0.001"):
        values = [accuracy["band noise", 0.65, name].mean(), 100 * ends[True, name]]
        values += [accuracy["ideal high-pass", 0.2, name].mean(), 100 * ends[False, name]]
        expected += [f"{value:.0f} %" for value in values]
    noise = pd.read_csv(*(folder.parent / "medium").glob("exp_c_robustness.csv*"))
    noise = noise[(noise.corruption == "band noise") & (noise.level == 0.65)]
    noise = noise.groupby("configuration").accuracy.mean()
    expected += [f"{noise[name]:.0f} %" for name in ("baseline", "l2=0.001", "fixed-norm=1")]
    published = ssr[(ssr.layer == "conv1") & (ssr.configuration == "l2=0.001")].published_ratio
    low = accuracy["low resolution, bilinear", 24]
    for values, back in (np.log(published), np.exp), (low["l2=0.001"] - low["baseline"], float):
        half = stats.t.ppf(0.975, 2) * values.std() / 3**0.5
        mean, *interval = (back(values.mean() + x) for x in (0, -half, half))
        expected.append(f"{mean:.2g} [{interval[0]:.2g}, {interval[1]:.2g}]")
    (text,) = re.findall(r"\n## The answer\n(.*?)\n## ", ENGLISH, re.DOTALL)
    found = re.findall(r"\d+ %(?! intervals)|[\d.]+ \[[\d., ]+\]", " ".join(text.split()))
    assert sorted(found) == sorted(expected)


def test_links_lead_somewhere():
    for folder, page in PAGES.items():
        headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        headings = ["", *(heading.lower().replace(" ", "-") for heading in headings)]
        for target in re.findall(r"\]\((?!http)(.*?)\)", page):
            path, _, heading = target.partition("#")
            assert (ROOT / folder / path).exists() and heading in headings, target


def test_every_table_and_column_is_explained():
    text = PAGES["experiments"]
    for path in ROOT.glob("results/reference/*/*.csv*"):
        with lzma.open(path, "rt") if path.suffix == ".xz" else open(path) as file:
            columns = next(csv.reader(file))
        missing = [name for name in columns if f"`{name}`" not in text and name[:3] != "db_"]
        name = path.name.removesuffix(".xz")
        name = "exp_?_claims.csv" if name.endswith("_claims.csv") else name
        known = name.startswith("analyze_") or f"`{name}`" in text
        assert known and not missing, (path, missing)


def test_every_room_is_in_the_structure_and_english_is_short():
    assert len(ENGLISH.split()) < 1_100
    structure = ENGLISH.split("\n## Structure\n")[1].split("\n## ")[0]
    rooms = ["experiments/", "data/", "models/", "results/reference/", "tests/"]
    for path in (ROOT / "utils").glob("[!_.]*"):
        rooms.append(f"utils/{path.name}" + "/" * path.is_dir())
    assert not [room for room in rooms if room not in structure]
    assert not [line for line in structure.splitlines() if len(line) > 100]
