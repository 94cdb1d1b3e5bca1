"""README.md and its companions: every command runs, every number has its source, in both languages."""

import csv
import gzip
import re
import shlex

import job
import pytest
from conftest import ROOT

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


def commands() -> list[str]:
    """All lines in blocks or in backticks that start a script."""
    found = re.findall(
        r"^(?:\| )?`?([^\n`]* experiments/\w+\.py[^\n`]*)", "\n".join(PAGES.values()), re.MULTILINE
    )
    return sorted({line for line in found if "FOLDER" not in line})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("readme") / "results"


@pytest.mark.parametrize("command", commands())
def test_commands(command, results, request):
    """As they stand, made small; of torchrun's lines one process, as test_exp_b.py has several."""
    program, line = command.split(" experiments/")
    assert re.search(r"\.venv/bin/(python|torchrun [-=.:\w ]*)$", program)
    script, *given = shlex.split(line)
    if "cifar10" in given:
        request.getfixturevalue("cifar10_root")
    if script[:5] in ("exp_c", "exp_d") and not (results / "checkpoints").exists():
        assert job.finish(results, *B.split(), line="exp_b_spectrum_evolution.py") == 0
    assert job.finish(results, *given, *SMALL[script].split(), line=script) == 0
    assert list(results.glob(f"figures/{script[:5]}*.png"))


@pytest.mark.parametrize(
    "pattern",
    [r"(?s)```.*?```", r"(?m)^    .*", r"`[^`\n]+`", r"\]\(([^#)].*?)\)", r"\d+(?:[.,]\d+)*"],
    ids=["blocks", "formulas", "code", "links", "numbers"],
)
def test_both_languages_have_the_same(pattern):
    english, chinese = (sorted(re.findall(pattern, part)) for part in (ENGLISH, CHINESE))
    assert english == chinese and english


@pytest.mark.parametrize(
    ("section", "pattern", "source"),
    [
        ("The answer", r"-?\d+\.\d+(?: ± \d+\.\d+)?|\[-?[\d.]+, -?[\d.]+\]", "results/reference"),
        ("The claims", r"-?\d+\.\d+|\[-?[\d.]+, -?[\d.]+\]", "results/reference"),
        ("Speed", r"\d[\d,.]*(?<=\d)", "tests"),
    ],
    ids=["answer", "claims", "speed"],
)
def test_numbers_of_results_stand_on_the_page_they_come_from(section, pattern, source):
    (text,) = re.findall(rf"\n## {section}\n(.*?)\n## ", ENGLISH, re.DOTALL)
    numbers = re.findall(pattern, text)
    assert numbers and not [number for number in numbers if number not in PAGES[source]]


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_lead_somewhere(folder):
    for target in re.findall(r"\]\((?!http)(.*?)\)", PAGES[folder]):
        path, _, heading = target.partition("#")
        assert (ROOT / folder / path).exists()
        headings = re.findall(r"^#+ (.*)$", PAGES[folder], re.MULTILINE)
        assert not heading or heading in [h.lower().replace(" ", "-") for h in headings]


def test_every_table_and_column_is_explained():
    text = PAGES["experiments"]
    for path in ROOT.glob("results/reference/*/*.csv*"):
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
            columns = next(csv.reader(file))
        missing = [name for name in columns if f"`{name}`" not in text and name[:3] != "db_"]
        name = path.name.removesuffix(".gz")
        name = "exp_?_claims.csv" if name.endswith("_claims.csv") else name
        known = name.startswith("analyze_") or f"`{name}`" in text
        assert known and not missing, (path, missing)


def test_every_file_is_in_the_structure():
    structure = ENGLISH.split("\n## Structure\n")[1].split("\n## ")[0]
    files = [
        path.name
        for folder in ("utils", "data", "models")
        for path in (ROOT / folder).rglob("*.py")
    ]
    missing = [name for name in files if name not in structure and name != "__init__.py"]
    assert not [name for name in missing if not re.match(r"(corruptions|signals).py", name)]
    assert structure.count("\n") <= 60


def test_english_is_short():
    assert len(ENGLISH.split()) < 1_300
