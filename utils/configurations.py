"""Configurations of experiment B by name: which regularisation, how strong.

A name is "baseline", or terms joined by "+": "l2", "conv-l2", "dropout" and "fixed-norm", each with
its strength: "l2=0.001+dropout=0.5". On the command line a term without a strength takes that of
the constant, and "L2" is "l2"; in files and tables every name is canonical.
"""

import re

TERMS = {  # the setting with the strength where the name has none (else 1); from; below
    "l2": ("weight_decay", 0, 1e6),  # on every parameter
    "conv-l2": ("weight_decay", 0, 1e6),  # on convolution and linear weights, not BatchNorm, biases
    "dropout": ("dropout", 0, 1),
    "fixed-norm": ("", 5e-324, 1e6),  # of each filter before a BatchNorm, times the initial one
}
# The publication's settings that are the same at every scale: labels name those that differ.
RECIPE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.5}
RECIPE |= {"image_spectrum": "natural", "clip": True}
ALLOWED = (
    "baseline, or terms joined by +: l2, conv-l2 (strength of at least 0), dropout (from 0 to "
    "below 1), fixed-norm (above 0; not with l2 or conv-l2, which would decay the same weights), "
    "with a strength where wanted: l2=5e-4, l2+dropout=0.3, fixed-norm=2"
)


def canonical_name(name: str, settings=None) -> str:
    """The name with all strengths, terms in one order: "Dropout+L2" -> "l2=0.001+dropout=0.5".

    Args:
        settings: where strengths that the name does not give are found.

    Raises:
        ValueError: no such configuration.
    """
    name = str(name).lower()
    if name == "baseline":
        return name
    found = {}
    for part in name.split("+"):
        term, equals, text = part.partition("=")
        if term not in TERMS or term in found or not (equals or settings):
            raise ValueError(name)
        constant, low, high = TERMS[term]
        strength = float(text) if equals else getattr(settings, constant, 1.0)
        if not low <= strength < high:
            raise ValueError(name)
        found[term] = f"{term}={strength:.12g}"
    if "fixed-norm" in found and {"l2", "conv-l2"} & found.keys():
        raise ValueError(name)
    return "+".join(found[term] for term in TERMS if term in found)


def strengths(configuration: str) -> dict[str, float]:
    """Strength by term of a complete name; {} for the baseline."""
    parts = [part.split("=") for part in configuration.split("+") if "=" in part]
    return {term: float(strength) for term, strength in parts}


def family(configuration: str) -> str:
    """The name without strengths: "l2", "l2+dropout"."""
    return "+".join(strengths(configuration)) or "baseline"


def order(configuration: str) -> tuple:
    """To sort by: baseline, then family by family, weak before strong."""
    terms = strengths(configuration)
    return len(terms), [list(TERMS).index(term) for term in terms], list(terms.values())


def label(configuration: str) -> str:
    """For figures and text: "baseline", "L2 1e-3", "L2 1e-3 + dropout 0.5"."""
    parts = []
    for term, strength in strengths(configuration).items():
        small = 0 < strength < 0.01
        text = re.sub(r"\.?0*e-0?", "e-", f"{strength:.5e}") if small else f"{strength:g}"
        parts.append(f"{term.replace('l2', 'L2').replace('fixed-', 'fixed ')} {text}")
    return " + ".join(parts) or configuration
