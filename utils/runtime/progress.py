"""What a person sees of a long job: a bar on a terminal, a line per epoch in a file."""

import sys
import time

from tqdm import tqdm

WARM_UP, TIMED = 10, 40  # steps before those that are timed for the estimate, and those


class Progress:
    """Of the training steps of a job.

    Args:
        steps: how many are left.
        silent: show nothing, as in all processes of torchrun but one.
    """

    def __init__(self, steps: int, silent: bool = False):
        self.bar = tqdm(total=steps, unit="step", disable=True if silent else None)
        self.steps, self.done, self.silent = steps, 0, silent

    def describe(self, text: str) -> None:
        self.bar.set_description(text)

    def step(self, **numbers: str) -> None:
        """One step is done; `numbers` are shown beside the bar."""
        self.bar.update()
        if numbers:
            self.bar.set_postfix(numbers)
        self.done += 1
        if self.done == WARM_UP:
            self.timed_from = time.perf_counter()
        if self.done == WARM_UP + TIMED and not self.silent:
            per_step = (time.perf_counter() - self.timed_from) / TIMED
            left = tqdm.format_interval(per_step * (self.steps - self.done))
            text = f"Time     {left} for the training steps left ({1000 * per_step:.0f} ms each), "
            self.bar.write(text + "plus the evaluation after each epoch", file=sys.stdout)

    def epoch(self, text: str, seconds: float) -> None:
        """An epoch is on the disk."""
        if self.bar.disable and not self.silent:
            print(f"{text}, {seconds:.1f} s", flush=True)
