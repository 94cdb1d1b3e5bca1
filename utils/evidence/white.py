"""Somebody's network in sentences: what differs from white kernels by more than chance."""

import numpy as np
import pandas as pd

from utils.frequency import radial_orbits

SURE = 3  # standard errors: what differs less from white kernels is called white


def with_white(table: pd.DataFrame, cutoff: float) -> pd.DataFrame:
    """The table of `analyze_model` with what white kernels have: white_high_share, white_corner_share,
    and white_error, the standard error of ssr for as many Gaussian kernels.

    The share of m of the k coefficients of N such kernels has a beta distribution with the mean m/k
    and the relative variance 2 (k - m) / (m (N k + 2)); of uniform ones it varies less.
    """
    rows = []
    for size, count in zip(table.kernel_size, table.kernels):
        radii, multiplicities, orbit = radial_orbits(*map(int, size.split("x")))
        m, k = multiplicities[radii > cutoff].sum(), orbit.size
        error = (2 * (k - m) / (m * (count * k + 2))) ** 0.5 if m else np.nan
        rows.append((m / k, multiplicities[-1] / k, error))
    names = ["white_high_share", "white_corner_share", "white_error"]
    return table.assign(**pd.DataFrame(rows, table.index, names))


def is_white(table: pd.DataFrame) -> pd.Series:
    """Whether each layer's ssr is less than its sampling error; against white kernels only."""
    return table.ssr.abs() <= SURE * table.white_error


def last_letters(text: str, count: int = 60) -> str:
    """The end of a long text, which tells more of a path than its start."""
    return text if len(text) <= count else f"...{text[3 - count :]}"


def print_kernels(table: pd.DataFrame, reference: str, folded: bool, cutoff: float) -> None:
    """The table by layer, what was left out, and three sentences."""
    levels = table.filter(like="db_").ffill(axis=1)
    names = ["layer", "kernel_size", "kernels", "ssr", "high_share", "white_high_share"]
    shown = table[[*names, "corner_share", "white_corner_share"]]
    shown = shown.rename(columns={"white_high_share": "(white)", "white_corner_share": "(white) "})
    ends = {"DC, dB": levels.iloc[:, 0], "corner, dB": levels.iloc[:, -1]}
    shown = shown.assign(layer=shown.layer.map(last_letters), **ends)
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    print_left_out(table.attrs["skipped"], "Skipped")
    if folded:
        print_left_out({n: t for n, t in zip(table.layer, table.note) if t}, "Not folded")
    known = table[table.ssr.notna()].sort_values("ssr", ascending=False)
    if not len(known):
        print(f"\nNo radius of these kernels lies above {cutoff:g} cycles/pixel: no SSR.")
        return
    mean, error = known.ssr.mean(), (known.white_error**2).sum() ** 0.5 / len(known)
    against_white = reference == "white kernels"
    others = known[~is_white(known)] if against_white else known
    lower = (others.ssr > 0).sum()
    about = f"\nThe kernels' share of energy above {cutoff:g} cycles/pixel is"
    over = f"(mean SSR over {len(known)} layers:"
    if against_white and abs(mean) <= SURE * error:
        number = f"{over} {mean:.4f}; standard error {error:.4f})"
        print(f"{about} that of white kernels, but for chance {number}.")
    else:
        percent = f"{100 * abs(mean):.1f} % {'lower' if mean > 0 else 'higher'}"
        count = f"it is lower in {lower} of them"
        print(f"{about} {percent} than in {reference} {over} {mean:.3f}); {count}.")
    if len(others) < len(known):
        text = f"by less than {SURE} standard errors of their sampling"
        print(f"White, {text}: {len(known) - len(others)} of {len(known)} layers.")
    names = [f"{last_letters(row.layer)} ({row.ssr:.3f})" for row in others.itertuples()]
    if lower:
        print(f"Most low-pass, by SSR: {', '.join(names[: min(3, lower)])}.")
    if names:
        print(f"Least low-pass: {', '.join(names[:-4:-1])}.")


def print_left_out(reasons: dict[str, str], title: str) -> None:
    """A line per reason: how many layers, and the first of them."""
    for reason in dict.fromkeys(reasons.values()):
        layers = [last_letters(layer) for layer, why in reasons.items() if why == reason]
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        print(f"{title}: {', '.join(layers[:3])}{more}: {reason}")


def print_first_and_last(table: pd.DataFrame) -> None:
    """Highest frequency of every layer, in the first and the last of several files."""
    ends = table[table.step.isin([table.step.min(), table.step.max()])]
    ends = ends[ends.radius == ends.groupby("layer").radius.transform("max")]
    wide = ends.pivot(index="layer", columns="file", values="white_db")
    wide = wide.reindex(index=ends.layer.unique(), columns=ends.file.unique())
    print("\nHighest frequency against white kernels, dB, first and last:\n")
    print(wide.to_string(float_format="{:+.2f}".format))


def print_sensitivity(table: pd.DataFrame, cutoff: float) -> None:
    """How much of the input sensitivity lies above the cutoff, from its radial spectrum."""
    high = table.radius > cutoff
    white = table.multiplicity[high].sum() / table.multiplicity.sum()
    print(
        f"{table.share[high].sum():.3f} of the sensitivity lies above {cutoff:g} cycles/pixel "
        f"(white: {white:.3f}; from {table.directions[0]}); mean radius "
        f"{(table.share * table.radius).sum():.3f}; total {table.energy.sum():.4g} per image, "
        "squared logits per squared pixel unit"
    )


def print_errors(modes: pd.DataFrame) -> None:
    """At which Fourier modes a network errs most and least."""
    one, radius = modes.iloc[0], np.hypot(modes.fy, modes.fx)
    print(
        f"Error {one.clean_error:.1f} % on {modes.n_images[0]} clean images; with one Fourier mode of "
        f"norm {one.norm:g} mean {modes.error.mean():.1f} %, most {modes.error.max():.1f} % at "
        f"{radius[modes.error.idxmax()]:.2f} cycles/pixel; standard error up to "
        f"{modes.standard_error.max():.1f} points"
    )
