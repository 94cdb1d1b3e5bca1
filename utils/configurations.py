"""Configurations of experiment B by name: which regularisation, how strong.

A name is "baseline", or terms joined by "+": "l2", "conv-l2", "dropout" and "fixed-norm", each with
its strength: "l2=0.001+dropout=0.5". On the command line a term without a strength takes that of
the constant, and "L2" is "l2"; in files and tables every name is canonical.
"""

CONSTANTS = {  # term -> the setting that gives its strength, where the name gives none
    "l2": "weight_decay",  # on every parameter
    "conv-l2": "weight_decay",  # on convolution and linear weights, not BatchNorm and biases
    "dropout": "dropout",
    "fixed-norm": None,  # of each filter before a BatchNorm, times that at initialisation: 1
}
DECAYS = {"l2", "conv-l2"}  # of weights whose norm cannot be fixed at the same time
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
    lower = str(name).lower()
    if lower == "baseline":
        return lower
    found = {}
    for part in lower.split("+"):
        term, _, text = part.partition("=")
        if term not in CONSTANTS or term in found or (settings is None and not text):
            raise ValueError(name)
        strength = float(text) if "=" in part else getattr(settings, CONSTANTS[term] or "", 1.0)
        if not 0 <= strength < (1 if term == "dropout" else 1e6):
            raise ValueError(name)
        if term == "fixed-norm" and strength == 0:
            raise ValueError(name)
        found[term] = f"{strength:.12g}"
    if "fixed-norm" in found and DECAYS & set(found):
        raise ValueError(name)
    return "+".join(f"{term}={found[term]}" for term in CONSTANTS if term in found)


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
    ranks = [list(CONSTANTS).index(term) for term in terms]
    return len(ranks), ranks, list(terms.values())


def label(configuration: str) -> str:
    """For figures and text: "baseline", "L2 1e-3", "L2 1e-3 + dropout 0.5"."""
    parts = []
    for term, strength in strengths(configuration).items():
        text = f"{strength:g}"
        if 0 < strength < 0.01:
            digits, exponent = f"{strength:e}".split("e")
            text = f"{float(digits):g}e{int(exponent)}"
        parts.append(f"{term.replace('l2', 'L2').replace('fixed-', 'fixed ')} {text}")
    return " + ".join(parts) or configuration
