"""Training: images/s of this project's loop and of the usual one, in both precisions.

    python tests/benchmarks/bench_training.py            ten minutes on two cores
    python tests/benchmarks/bench_training.py 3          a trial with 3 steps

Both loops train the same ResNet-18. The usual one is that of most CIFAR-10 repositories: torchvision
transforms, DataLoader with 2 workers, NCHW, loss and accuracy read after every step. The share is
of the float32 rate of a large matrix product on the quiet machine. Each line is a process of its
own, with all threads or one, alone or beside a process that keeps one core busy.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from utils.runtime import script

script.set_environment()  # before torch

# isort: split
import torch
from bench_batches import Images
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data.images import ImageSet, crop_windows
from models.resnet import ResNet18
from utils.runtime import devices, provenance
from utils.training import loop as training
from utils.training import runs

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = [(16, 32, 60), (16, 128, 20), (64, 128, 6)]  # width, batch, steps on a CPU


class Clock:
    """Stands for the progress of a job, and notes when each step of the latest epoch ended."""

    def set_description(self, _) -> None:
        self.ends = []

    def step(self, **_) -> None:
        self.ends.append(time.perf_counter())

    def epoch(self, *_) -> None:
        pass

    def rate(self, batch: int) -> float:
        return batch * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def ours(width: int, batch: int, steps: int, precision: str) -> float:
    """Images/s in the second epoch; what comes before and after an epoch's steps does not count."""
    count = batch * steps
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    images = ImageSet(images, torch.randint(10, (count,)), "noise").to(DEVICE)
    settings = {"width": width, "batch_size": batch, "train_images": count, "epochs": 2}
    settings |= {"learning_rate": 0.01, "momentum": 0.9, "checkpoint_every": 2}
    settings = SimpleNamespace(**settings, precision=precision)
    start = dict.fromkeys(["device", "processor", "torch"], "")
    run, windows, clock = runs.Run("baseline", 0), crop_windows(images.images), Clock()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        state, sets = training.load_state(run, folder), {"test": images.first(batch)}
        for _ in training.train(run, state, settings, images, windows, sets, folder, start, clock):
            pass
    return clock.rate(batch)


def usual(width: int, batch: int, steps: int, precision: str) -> float:
    """The same of the usual loop."""
    images = torch.randint(256, (batch * steps, 32, 32, 3), dtype=torch.uint8).numpy()
    loader = torch.utils.data.DataLoader(Images(images), batch, shuffle=True, num_workers=2)
    torch.backends.cudnn.benchmark = True
    model, criterion, clock = ResNet18(width).to(DEVICE), nn.CrossEntropyLoss(), Clock()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loss_sum, correct = 0.0, 0
    for _ in range(2):
        clock.set_description("")
        for inputs, labels in loader:
            inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
            optimizer.zero_grad()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
                outputs = model(inputs)
                loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            correct += outputs.argmax(1).eq(labels).sum().item()
            clock.step()
    return clock.rate(batch)


def operations(width: int) -> int:
    """Floating-point operations of a training step, per image."""
    with FlopCounterMode(display=False) as counter:
        ResNet18(width)(torch.zeros(2, 3, 32, 32)).sum().backward()
    return counter.get_total_flops() // 2


def matrix_rate(size: int) -> float:
    """Operations/s of the fastest of several products of float32 matrices."""
    a, b, seconds = *torch.rand(2, size, size, device=DEVICE), []
    for _ in range(8):
        start = time.perf_counter()
        float((a @ b)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def measure(neighbour: bool, threads: int, *job) -> list[float]:
    """Images/s of both loops, in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen([sys.executable, "-c", "while True: pass" if neighbour else ""]) as busy:
        line = [sys.executable, __file__, *map(str, job)]
        found = subprocess.check_output(line, env=environment)
        busy.kill()
    return json.loads(found)


def main(steps: int | None) -> None:
    """A line for each size, precision, neighbour and number of threads."""
    on_cpu, threads = DEVICE.type == "cpu", torch.get_num_threads()
    rate = matrix_rate(3000 if on_cpu else 8000)
    print(devices.describe_device(DEVICE, "both precisions"), provenance.versions(), sep="\n")
    print(f"float32 matrix product: {rate / 1e9:,.0f} GFLOP/s\n")
    print("width batch  precision  neighbour  threads  images/s   share   usual  share  ratio")
    surroundings = [(False, threads), (True, threads), (True, 1)][: None if on_cpu else 1]
    for (width, batch, number), (busy, count), precision in itertools.product(
        SIZES, surroundings, ("float32", "bfloat16")
    ):
        job = (width, batch, steps or (number if on_cpu else 300), precision)
        here, there = measure(busy, count, *job)
        share = 100 * operations(width) / rate
        print(
            f"{width:5} {batch:5}  {precision:9}  {'busy' if busy else 'none':9}  "
            f"{count:7}{here:10,.1f}{share * here:7.1f}%{there:8,.1f}{share * there:6.1f}%"
            f"{here / there:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 5:  # a process of `measure`
        job = (*map(int, sys.argv[1:4]), sys.argv[4])
        print(json.dumps([ours(*job), usual(*job)]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
