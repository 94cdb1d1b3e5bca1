"""Who may import whom: the rooms of the house, and the rooms that each may use."""

import ast

from conftest import ROOT

GROUND = "utils.frequency utils.configurations "
ROOMS = {
    "data": "",
    "models": "",
    "utils.frequency": "",
    "utils.configurations": "",
    "utils.spectra": "utils.frequency",
    "utils.evidence": GROUND,
    "utils.runtime": "utils.configurations",
    "utils.visualizer": GROUND + "utils.evidence",
    "utils.figures": GROUND + "utils.evidence utils.visualizer",
    "utils.recorder": GROUND + "utils.spectra utils.figures utils.visualizer",
    "utils.training": GROUND + "data models utils.spectra utils.recorder utils.runtime",
}
ROOMS["experiments"] = " ".join(ROOMS)  # all, and never each other
RELATIVE = ("utils.frequency", "utils.spectra")  # may be copied into any package


def imports(path):
    """Absolute dotted names of what a file imports, anywhere in it, and whether by a relative one."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            for alias in node.names:
                yield ".".join(filter(None, (*above, node.module, alias.name))), node.level > 0


def test_who_imports_whom():
    found, scripts = set(), {path.stem for path in (ROOT / "experiments").glob("*.py")}
    for room, allowed in ROOMS.items():
        place = ROOT / room.replace(".", "/")
        allowed = {room, *allowed.split()} - {"experiments"}
        for path in [*place.glob("**/*.py"), *place.parent.glob(f"{place.name}.py")]:
            file = path.relative_to(ROOT).as_posix()
            for name, relative in imports(path):
                used = ".".join(name.split(".")[: 2 if name.startswith("utils.") else 1])
                if used in {*ROOMS, *scripts, "experiments"} - allowed:
                    found.add((file, used))
                if name.startswith("utils.") and not relative and room in RELATIVE:
                    found.add((file, "not relative"))
    assert not found
