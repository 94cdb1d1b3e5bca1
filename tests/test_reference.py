"""The page of reference results, against numbers computed again from the tables."""

import json
import lzma
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from conftest import ROOT

from experiments import reference_page as script

L2, RUN = "l2=0.001", ["configuration", "seed"]
REFERENCE = ROOT / "results" / "reference"


def table(folder: str, name: str) -> pd.DataFrame:
    return pd.read_csv(*(REFERENCE / folder).glob(f"{name}.csv*"))


def parts(text: str, number: int, folder: str = "") -> list[str]:
    """The parts of a section that are about a folder."""
    found = text.split(f"\n## {number}. ")[1].split("\n## ")[0].split("\n### ")
    return [part for part in found if part.startswith(f"`{folder}/`")]


def cells(text: str, words: str) -> list[str]:
    """Of the only line of a table with these words."""
    (line,) = re.findall(rf"^\|.*{re.escape(words)}.*\|$", text, re.MULTILINE)
    return line[2:-2].split(" | ")


def paired(values: pd.Series, one: str, other: str, seeds=slice(None)) -> tuple[str, str]:
    """Mean and interval, and p, as the page writes them, by scipy."""
    wide = values.unstack("configuration")[[one, other]].dropna().loc[seeds]
    test = scipy.stats.ttest_rel(wide[one], wide[other])
    ends, mean = test.confidence_interval(0.95), (wide[one] - wide[other]).mean()
    return f"{mean:.3g} [{ends.low:.3g}, {ends.high:.3g}]", f"{test.pvalue:.2g}"


@pytest.fixture(scope="module")
def text() -> str:
    return script.page(REFERENCE)


def test_the_committed_page(text):
    """What the committed tables give; every control with its figure, and small."""
    page = (REFERENCE / "README.md").read_text("utf-8")
    assert page == text
    places = [page.index(f"\n## {number}. ") for number in range(1, 7)]
    assert places == sorted(places)
    assert sum(p.stat().st_size for p in REFERENCE.rglob("*") if p.is_file()) < 11.5 * 2**20
    for folder in REFERENCE.iterdir():
        names = [path.name for path in folder.glob("*")]
        assert not [name for name in names if "examples" in name or "claims" in name]
        if folder.name in script.CONTROLS:
            assert sum(f"]({folder.name}/{name})" in page for name in names) == 1


def test_claims_and_tests_of_the_conclusion(text):
    """Largest job: noise, resolution against 6, all six tests; from the tables by scipy."""
    c, d = table("full", "exp_c_robustness"), table("full", "exp_d_resolution_robustness")
    accuracy = pd.concat([c, d[d.epoch == d.epoch.max()]])
    at = accuracy.groupby(["corruption", "level", *RUN]).accuracy.first()
    (claims,), (tests,) = parts(text, 1, "full"), parts(text, 2, "full")
    noise, ssr = at["Gaussian noise", 0.05], table("full", "exp_b_ssr")
    summary = table("full", "exp_c_sensitivity_summary")
    raw = ssr[(ssr.weights == "raw") & ssr.layer.str.startswith("blocks.")]
    block = raw.layer.str.split(".").str[1].astype(int)
    for words, values in {
        "is more sensitive to noise |": noise,
        "is more sensitive to noise, beyond": noise - at["none", 0.0],
        "bears noise of the highest": at["band noise", 0.65],
        "bears noise of low": at["band noise", 0.15],
        "loses more without low": at["ideal high-pass", 0.2],
        "depends less on high": summary[summary.epoch > 0].set_index(RUN).high_share,
        "in its first blocks": raw[block <= 3].groupby(RUN).corner_final.mean(),
        "in its last blocks": raw[block >= 6].groupby(RUN).corner_final.mean(),
    }.items():
        found, p = paired(values, L2, "baseline")
        if words.startswith("is"):
            assert cells(claims, words)[5:7] == [found, p]
        else:
            assert cells(tests, words)[4].startswith(f"{found}; p = {p}, adjusted ")
    wide = at["low resolution, bilinear", 24].unstack("configuration")
    difference = wide[L2] - wide["baseline"]
    half = scipy.stats.t.ppf(0.975, 2) * difference.std() * np.sqrt(1 + 1 / 3)
    low, high = difference.mean() - half, difference.mean() + half
    found = cells(claims, "by more than 6 points")
    assert found[6] == f"{scipy.stats.ttest_1samp(difference, 6).pvalue:.2g}"
    assert low < 6.31 < high and found[9] == f"compatible ({low:.3g} to {high:.3g})"


def test_new_seeds_and_the_norm(text):
    folder = "medium"
    ssr = table(folder, "exp_b_ssr")
    rows = ssr[(ssr.weights == "raw") & ssr.layer.str.match(r"blocks\.[67]\.")]
    corner = rows.groupby(RUN).corner_final.mean()
    for part, name in zip(parts(text, 2, folder), (L2, "fixed-norm=1"), strict=True):
        found = cells(part, "in its last blocks")
        assert found[4].startswith(paired(corner, name, "baseline", [3, 4, 5])[0])
        assert found[5].startswith(paired(corner, name, "baseline")[0])
        assert found[3] == f"{corner.xs('baseline').mean():.4g}"
    expected = [("fixed-norm=1", "baseline"), ("fixed-norm=1", L2), (L2, "baseline")]
    found = cells(*parts(text, 3, folder), "raw, blocks 6 and 7")
    assert found[4:] == [paired(corner, *pair)[0] for pair in expected]


def test_precision_and_times(text):
    part = text.split("\n## 6. ")[1].split("\n## ")[0]
    tables = [table(name, "exp_b_training") for name in re.findall(r"`([\w-]+)` \(", part)[:2]]
    last = [t[t.epoch == 10].set_index(RUN).test_accuracy for t in tables]
    difference = (last[1] - last[0]).dropna()
    found = cells(part, "clean accuracy (%)")
    assert found[1] == str(len(difference)) and found[4].startswith(f"{difference.mean():.3g} [")
    ends = re.findall(r"\| -?[\d.e-]+ \[(-?[\d.e-]+), (-?[\d.e-]+)\] \|", part)
    beyond = sum(float(low) * float(high) > 0 for low, high in ends)
    assert len(ends) > 9 and f"{beyond} of {len(ends)} intervals leave out 0" in part
    assert "6 of 24 runs are those of `quick/`" in text  # dose: baseline and L2 1e-3, 3 seeds each
    written = {p.parent.name: json.loads(p.read_text()) for p in REFERENCE.glob("*/exp_b_s*.json")}
    hours = {name: settings["seconds"] / 3600 for name, settings in written.items()}
    for name, part in (("dose", 6 / 24), ("dropout", 6 / 12), ("weights", 6 / 9)):
        hours[name] *= 1 - part
    assert f"{sum(hours.values()):.2f} hours of training in all" in text


@pytest.fixture
def source(tmp_path) -> Path:
    """A results folder of experiment B, of committed tables and of figures that are only names."""
    data, figures = tmp_path / "results" / "data", tmp_path / "results" / "figures"
    data.mkdir(parents=True)
    figures.mkdir()
    for path in (REFERENCE / "whitened").glob("exp_b_*"):
        if path.suffix == ".xz":
            (data / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
        elif path.suffix != ".png":
            shutil.copy(path, data)
    for name in ("layers", "training", "examples"):
        (figures / f"exp_b_{name}.png").touch()
    return tmp_path / "results"


def test_results_are_copied(source, tmp_path):
    """Large tables compressed, always alike; what the same script left there before goes."""
    for name in ("exp_b_claims", "exp_b_examples", "analyze_x"):
        (source / "data" / f"{name}.csv").write_text("1")
    place = tmp_path / "reference" / "quick"
    place.mkdir(parents=True)
    for name in ("exp_b_old.csv", "exp_b_training.csv.xz", "exp_c_kept.csv"):
        (place / name).touch()
    script.copy_results(source, place, "exp_b")
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    tables = ["exp_b_training.csv", "exp_b_ssr.csv.xz", "exp_b_spectrum.csv.xz"]
    tables += ["exp_b_autocorrelation.csv.xz", "exp_b_settings.json", "exp_c_kept.csv"]
    assert set(kept) == {*tables, "exp_b_layers.png", "exp_b_training.png"}
    large = (source / "data" / "exp_b_spectrum.csv").read_bytes()
    assert lzma.decompress(kept["exp_b_spectrum.csv.xz"]) == large
    script.copy_results(source, place, "exp_b")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == kept
    # Nothing there, or of two jobs: said, and nothing is copied.
    with pytest.raises(OSError, match="no tables exp_a"):
        script.copy_results(source, place, "exp_a")
    (source / "data" / "exp_c_settings.json").write_text('{"dataset": "x", "scale": "full"}')
    with pytest.raises(OSError, match=r"several jobs, .*'exp_c': \('x', 'full'\)"):
        script.copy_results(source, place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == kept


def test_a_page_of_few_folders(source, tmp_path):
    """What is missing is said; a figure is shown once; what is not shown goes."""
    folder = tmp_path / "reference"
    for name in ("medium", "quick", "dose"):
        script.copy_results(source, folder / name, "exp_b")
    page = script.write_page(folder).read_text("utf-8")
    assert "Not run, or not here yet: full, wide, narrow, medium-float32, whitened" in page
    assert "experiment C on `medium`, experiment D on `medium`" in page
    shown = {p.relative_to(folder).as_posix() for p in folder.rglob("*.[pg][ni][gf]")}
    layers = {f"medium/exp_b_{name}.png" for name in ("layers", "training")}
    assert shown == layers | {"scales.png"} and all(f"]({name})" in page for name in shown)
    assert script.write_page(folder).read_text("utf-8") == page
