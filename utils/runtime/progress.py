"""What a person sees of a long job: a bar on a terminal, a line per epoch in a file."""

import sys
import time

from tqdm import tqdm

WARM_UP, TIMED = 10, 40  # steps before those that are timed for the estimate, and those


class Progress(tqdm):
    """The training steps that are left of a job; silent in all processes of torchrun but one."""

    def __init__(self, steps: int, silent: bool = False):
        super().__init__(total=steps, unit="step", disable=True if silent else None)
        self.steps, self.silent, self.done = steps, silent, 0

    def step(self, **numbers: str) -> None:
        """One step is done; `numbers` are shown beside the bar."""
        self.update()
        if numbers:
            self.set_postfix(numbers)
        self.done += 1
        if self.done == WARM_UP:
            self.timed_from = time.perf_counter()
        if self.done == WARM_UP + TIMED and not self.silent:
            seconds = (time.perf_counter() - self.timed_from) / TIMED
            left = self.format_interval(seconds * (self.steps - self.done))
            text = f"Time     {left} for the training steps left ({1000 * seconds:.0f} ms each), "
            self.write(text + "plus the evaluation after each epoch", file=sys.stdout)

    def epoch(self, text: str) -> None:
        """An epoch is on the disk."""
        if self.disable and not self.silent:
            print(text, flush=True)
