"""The spectrum of any network's kernels while it is trained, in three lines of the training script.

    recorder = SpectrumRecorder(model)              # any nn.Module, before or after wrapping
    for epoch in range(epochs):
        train(...)
        recorder.record(epoch)                      # or, at every step, record(step, every="log")
    recorder.table.to_csv("spectrum.csv"); recorder.draw("spectrum.png")

The model is not changed, nor are random numbers drawn. A training that goes on after a stop hands
its table back: SpectrumRecorder(model, table=pd.read_csv("spectrum.csv")). In distributed training
rank 0 records and writes; the same lines do nothing on the others.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import distributed, nn

from utils.frequency import spectrum_from_autocorrelation
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.spectra.external_models import load_weights
from utils.spectra.kernels import raw_and_folded
from utils.spectra.modules import is_kernel, unwrap

VALUES = ["radius", "multiplicity", "energy", "share", "white_db"]
COLUMNS = ["step", "layer", "weights", *VALUES]


def spectrum_rows(model: nn.Module | Mapping, batchnorms: dict[str, str]) -> list[dict]:
    """Radial spectra of all convolutions larger than 1x1: a row per layer, weights and radius.

    Columns: layer, weights (raw, or folded: with the BatchNorm that follows by `batchnorms`, from
    `batchnorm_after_convolution(model)`), radius (cycles per kernel tap), multiplicity, energy,
    share and white_db (dB against white kernels).
    """
    rows = []
    for layer, correlations in raw_and_folded(model, batchnorms).items():
        for weights, correlation in zip(("raw", "folded"), correlations):
            spectrum = spectrum_from_autocorrelation(correlation)
            columns = (getattr(spectrum, name).tolist() for name in VALUES)
            rows += [(layer, weights, *values) for values in zip(*columns)]
    return [dict(zip(COLUMNS[1:], row)) for row in rows]


class SpectrumRecorder:
    """Spectra of a model's kernels by step: `record` during training, then `table` and `draw`."""

    def __init__(self, model: nn.Module, table: pd.DataFrame | None = None):
        """
        Args:
            model: any nn.Module; also compiled, or inside DataParallel or DistributedDataParallel.
            table: `table` of an earlier start, to go on with.

        Raises:
            TypeError: the model is no nn.Module.
            ValueError: the table lacks columns, or is of another network.
        """
        self.model, self.batchnorms = unwrap(model), None
        self.records: dict[float, pd.DataFrame] = {}  # by step
        self.elsewhere = False  # rank 0 is another process
        if table is not None and not self._is_elsewhere():
            self._take_over(table)

    def record(self, step: float, every: str | None = None) -> None:
        """Add the spectra of now. Records of this step and later ones, of a start that got further
        than the checkpoint from which training goes on, are dropped.

        Args:
            step: number of an epoch or a step, ascending.
            every: None records at each call, "log" at 0, 1, 2, 4, 8 and so on only.

        Raises:
            ValueError: the model has no convolution to measure, or `every` is another one.
        """
        if every not in (None, "log"):
            raise ValueError(f'every is {every!r}; allowed: None, "log"')
        if every == "log" and (whole := operator.index(step)) & (whole - 1):
            return
        if not self._is_elsewhere():
            rows = self._measure()
            self.records = {at: kept for at, kept in self.records.items() if at < step}
            self.records[step] = rows.assign(step=step)[COLUMNS]

    @property
    def table(self) -> pd.DataFrame:
        """All records: rows of step, and those of `spectrum_rows`."""
        if self.elsewhere:
            return _NotWritten(columns=COLUMNS)
        tables = [*self.records.values()] or [pd.DataFrame(columns=COLUMNS)]
        return pd.concat(tables, ignore_index=True)

    def draw(self, path: str | Path, reference: str = "white") -> None:
        """Write a figure, PNG or what else the name ends with: layers by time, mean by radius,
        relative to "white" kernels or to the "first" record."""
        if self.elsewhere:
            return
        from utils.figures.analyze_model import evolution  # training alone needs no matplotlib

        about = f"{type(self.model).__name__}, raw weights"
        evolution(self.table.assign(model=about), reference).savefig(path, dpi=120)

    def _is_elsewhere(self) -> bool:
        if distributed.is_available() and distributed.is_initialized():
            self.elsewhere = distributed.get_rank() > 0  # known also after the processes part
        return self.elsewhere

    def _measure(self) -> pd.DataFrame:
        if self.batchnorms is None:
            gpus = [weight.device for weight in [*self.model.parameters()][:1] if weight.is_cuda]
            with torch.random.fork_rng(gpus):  # to trace a model its code is run
                try:
                    self.batchnorms = batchnorm_after_convolution(self.model)
                except ValueError:  # it can be traced in no way: nothing is folded
                    self.batchnorms = {}
        return pd.DataFrame(spectrum_rows(self.model, self.batchnorms))

    def _take_over(self, table: pd.DataFrame) -> None:
        if missing := [name for name in COLUMNS if name not in table]:
            raise ValueError(f"table lacks the columns {', '.join(missing)}")
        now = self._measure()
        for step, rows in table[COLUMNS].groupby("step"):
            same = len(rows) == len(now) and np.allclose(rows.radius, now.radius, rtol=0, atol=1e-9)
            if same and rows.layer.dtype.kind in "if":  # names such as 0.10, read as numbers
                rows = rows.assign(layer=now.layer.to_numpy())
            if not same or [*rows.layer] != [*now.layer]:
                raise ValueError(f"table is of another network than {type(self.model).__name__}")
            self.records[step] = rows


class _NotWritten(pd.DataFrame):
    """The empty table of a process whose rank 0 is another: it replaces no file of that one."""

    def to_csv(self, *args, **options) -> None:
        pass

    to_json = to_pickle = to_parquet = to_feather = to_excel = to_csv


def checkpoint_table(
    files: Iterable[Path], part: str | None, steps: dict[Path, int]
) -> tuple[pd.DataFrame, dict[Path, str]]:
    """The same table after training, from files of weights: raw, as they do not say what follows.

    `part` tells which of several networks in the files, `steps` the number of each file.

    Returns the table with a column `file`, and the reason for each file that is left out: not to
    be read, or without the convolutions that most of the files have.
    """
    records, shapes, out = {}, {}, {}
    for path in files:
        try:
            weights = load_weights(path, part)
            rows = pd.DataFrame(spectrum_rows(weights, {})).query("weights == 'raw'")
        except (OSError, ValueError) as error:
            out[path] = str(error)
            continue
        records[path] = rows.assign(step=steps[path], file=path.name)[["file", *COLUMNS]]
        shapes[path] = tuple((name, w.shape) for name, w in weights.items() if is_kernel(name, w))
    usual = Counter(shapes.values()).most_common(1)
    others = [path for path, found in shapes.items() if found != usual[0][0]]
    out |= dict.fromkeys(others, "it is of another network than most of the files")
    kept = [record for path, record in records.items() if path not in out]
    return pd.concat(kept or [pd.DataFrame(columns=["file", *COLUMNS])], ignore_index=True), out
