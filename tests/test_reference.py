"""The page of reference results, against numbers computed again from the tables."""

import json
import shutil

import job
import pandas as pd
import pytest
from conftest import ROOT
from test_exp_b import L2, LINE

from utils.evidence import reference
from utils.runtime import results


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two reference folders of tiny jobs."""
    folder = tmp_path_factory.mktemp("reference") / "results"
    for name, more in (("quick", []), ("dose", ["l2=0.01", "l2=0.001"])):
        names = ["--configurations", "baseline", "l2", *more]
        assert job.finish(folder, *names, "--save-reference", name, line=LINE) == 0
    return folder / "reference"


def test_page(saved):
    text = (saved / "README.md").read_text()
    assert text == reference.page(saved)
    ssr = pd.read_csv(saved / "dose" / "exp_b_ssr.csv")
    rows = ssr[(ssr.weights == "raw") & (ssr.layer == "hidden (mean)")]
    corner = rows.pivot(index="seed", columns="configuration", values="corner_final")
    difference = (corner[L2] - corner["baseline"]).mean()
    assert f"| {difference:.3f} ± " in text and f"| {corner['l2=0.01'].mean():.3f} ± " in text
    settings = json.loads((saved / "dose" / "exp_b_settings.json").read_text())
    assert len(settings["starts"]) == 8
    assert f"{settings['seconds'] / 3600:.2f}" in text and "| 18 |" in text
    commit = settings["starts"][0]["commit"]
    assert commit is None or commit[:8] in text
    assert "Not run yet: medium, full, weights" in text
    assert text.count("`dose/`") == 2 and text.count("`quick/`") == 2


def test_every_figure_and_what_to_see_in_it(saved, tmp_path):
    """Each once, from the largest scale; of experiment A all; scales.png over two scales."""
    text = (saved / "README.md").read_text()
    for path in saved.glob("quick/exp_*.[pg][ni]*"):
        assert f"![quick/{path.name}](quick/{path.name})" in text
    assert text.count("![dose/") == 1 and "![dose/exp_b_dose_response.png]" in text
    assert "What falls is the diagonal" in text  # the docstring of its function
    assert "](scales.png)" in text and (saved / "scales.png").exists()
    both = shutil.copytree(saved, tmp_path / "reference")
    shutil.copytree(both / "quick", both / "full")
    (spectrum,) = (both / "full").glob("exp_b_spectrum.csv*")
    assert spectrum.suffix == ".gz"  # a compressed table is read as a plain one
    for place, file in (("quick", "exp_a_spectral_bias.png"), ("dose", "exp_a_spectral_bias.png")):
        (both / place / file).touch()
    for file in ("exp_c_band_noise.png", "exp_d_examples.png"):
        (both / "quick" / file).touch()
    reference.write_page(both)
    text = (both / "README.md").read_text()
    assert "![full/exp_b_response.png]" in text and "![quick/exp_b" not in text
    assert "![quick/exp_a_spec" in text and "![dose/exp_a_spec" in text
    assert "![quick/exp_c_band" in text and "What the corruptions do" in text
    assert (both / "scales.png").read_bytes() != (saved / "scales.png").read_bytes()


def test_folders_of_another_version_are_passed_over(saved, tmp_path):
    both = shutil.copytree(saved, tmp_path / "reference")
    path = both / "dose" / "exp_b_settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    (both / "dose" / "exp_b_ssr.csv").write_text("layer\nconv1\n")
    text = reference.page(both)
    assert "`dose/`" not in text and "`quick/`" in text
    assert "Not run yet: medium, full, dose" in text


def test_experiment_b_says_what_was_run(saved, tmp_path):
    """Also where others have been saved to the same folder."""
    both = shutil.copytree(saved, tmp_path / "reference")
    written = json.loads((both / "dose" / "exp_b_settings.json").read_text())
    others = {"dataset": "sum of 3 sinusoids", "setting": "demo", "scale": None}
    (both / "dose" / "exp_a_settings.json").write_text(json.dumps(written | others))
    (row,) = (line for line in reference.page(both).splitlines() if "| `dose/`" in line)
    assert "| A, B |" in row and written["dataset"] in row and "sinusoids" not in row


def test_experiment_a_and_models_of_others(tmp_path):
    for folder, script in (("slower", "exp_a"), ("others", "analyze")):
        (tmp_path / folder).mkdir()
        written = {"format": 3, "setting": "demo", "model": "resnet", "commit": "a" * 40}
        written |= {"settings": {}, "device": "cpu", "processor": "one"}
        (tmp_path / folder / f"{script}_settings.json").write_text(json.dumps(written))
        for end in ("x", "x_features"):
            (tmp_path / folder / f"{script}_{end}.png").touch()
    learned = {"frequency": 5, "strength": 0.01, "step": 2000, "seed": [0, 1]}
    table = pd.DataFrame(learned | {"explained_variance": [0.4, 0.6]})
    table.to_csv(tmp_path / "slower" / "exp_a_learned.csv", index=False)
    text = reference.page(tmp_path)
    assert "each frequency in 2,000 steps (`slower/`, n = 2)" in text
    assert "| frequency | penalty 0.01 |" in text
    assert "| 5 | 0.500 ± 1.271 |" in text  # 12.706 x 0.1, Student's t of one degree of freedom
    assert "| `others/` | analyze | resnet |" in text
    assert "![others/analyze_x_features.png](others/analyze_x_features.png)" in text
    assert "Power of all feature maps by radius" in text


def test_claims_stand_side_by_side(saved, tmp_path):
    """The published strength at two scales; other strengths are no claims."""
    for scale, mean in (("quick", -0.01), ("full", -0.02)):
        place = shutil.copytree(saved / "quick", tmp_path / scale)
        claims = pd.read_csv(place / "exp_b_claims.csv")
        claims = claims[claims.quantity == "corner share, minus baseline"]
        claims = claims.assign(configuration="l2=0.001", mean=mean, low=mean - 0.5, high=0.5, n=3)
        claims.to_csv(place / "exp_b_claims.csv", index=False)
    (row,) = reference.claims_table({path.name: path for path in tmp_path.iterdir()}).itertuples(
        index=False
    )
    assert row.quick == "-0.01 [-0.51, 0.5], n = 3; undecided"
    assert row.full.startswith("-0.02 [") and row.medium == "" and row.published == ""


def test_the_committed_page_is_what_the_committed_tables_give():
    folder = ROOT / "results" / "reference"
    page = folder / "README.md"
    if page.exists():
        assert page.read_text("utf-8") == reference.page(folder)


def test_large_tables_are_compressed_and_always_alike(tmp_path):
    table = pd.DataFrame({"value": range(200_000)})
    for name in ("large", "small"):
        table[: 200_000 if name == "large" else 5].to_csv(tmp_path / f"{name}.csv", index=False)
    places = [results.copy(tmp_path / "large.csv", tmp_path / "copy") for _ in range(2)]
    places.append(results.copy(tmp_path / "small.csv", tmp_path / "copy"))
    assert [place.name for place in places] == ["large.csv.gz", "large.csv.gz", "small.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(places[0]), table)
    again = results.copy(tmp_path / "large.csv", tmp_path / "again")
    assert again.read_bytes() == places[0].read_bytes()
    other = results.copy(tmp_path / "large.csv", tmp_path / "copy")
    (tmp_path / "large.csv").write_text("value\n1\n")
    small = results.copy(tmp_path / "large.csv", tmp_path / "copy")
    assert small.exists() and not other.exists()  # one of an earlier job would be read too
