"""Training: images/s of this project's loop and of the usual one, quiet and on a busy machine.

    python tests/benchmarks/bench_training.py            a quarter of an hour on two cores
    python tests/benchmarks/bench_training.py 3          a trial with 3 steps

Both loops train the same ResNet-18. The usual one is that of most CIFAR-10 repositories: torchvision
transforms, DataLoader with 2 workers, NCHW, float32, loss and accuracy read after every step. The
share is of the float32 rate of a large matrix product on the quiet machine. Each line is a process
of its own, as how OpenMP's threads wait is fixed once; the neighbour keeps one core busy.
"""

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
SIZES = {16: (32, 60), 64: (128, 6)}  # width: batch as at quick and full scale, steps on a CPU
WAYS = {  # how OpenMP's threads wait for each other
    "as the scripts do": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}


class Clock:
    """Stands for the progress of a job, and notes when each step of the latest epoch ended."""

    def describe(self, _) -> None:
        self.ends = []

    def step(self, **_) -> None:
        self.ends.append(time.perf_counter())

    def epoch(self, *_) -> None:
        pass

    def rate(self, batch: int) -> float:
        return batch * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def ours(width: int, batch: int, steps: int) -> float:
    """Images/s in the second epoch; what comes before and after an epoch's steps does not count."""
    count = batch * steps
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    images = ImageSet(images, torch.randint(10, (count,)), "noise").to(DEVICE)
    settings = SimpleNamespace(width=width, batch_size=batch, train_images=count, epochs=2)
    settings.learning_rate, settings.momentum, settings.checkpoint_every = 0.01, 0.9, 2
    settings.precision = devices.choose_precision("auto", DEVICE)
    start = dict.fromkeys(["device", "processor", "torch"], "")
    run, windows, clock = runs.Run("baseline", 0), crop_windows(images.images), Clock()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        state, sets = training.load_state(run, folder), {"test": images.first(batch)}
        for _ in training.train(run, state, settings, images, windows, sets, folder, start, clock):
            pass
    return clock.rate(batch)


def usual(width: int, batch: int, steps: int) -> float:
    images = torch.randint(256, (batch * steps, 32, 32, 3), dtype=torch.uint8).numpy()
    loader = torch.utils.data.DataLoader(Images(images), batch, shuffle=True, num_workers=2)
    torch.backends.cudnn.benchmark = True
    model, criterion, clock = ResNet18(width).to(DEVICE), nn.CrossEntropyLoss(), Clock()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loss_sum, correct = 0.0, 0
    for _ in range(2):
        clock.describe("")
        for inputs, labels in loader:
            inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
            optimizer.zero_grad()
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


def measure(width: int, batch: int, steps: int) -> None:
    print(json.dumps([ours(width, batch, steps), usual(width, batch, steps)]))


def main(steps: int | None) -> None:
    rate = matrix_rate(3000 if DEVICE.type == "cpu" else 8000)
    print(devices.describe_device(DEVICE, "float32"), provenance.versions(), sep="\n")
    print(f"float32 matrix product: {rate / 1e9:,.0f} GFLOP/s\n")
    print("width  neighbour  threads wait          images/s  share    usual  share  ratio")
    for width, (batch, steps_on_cpu) in SIZES.items():
        number = steps or (steps_on_cpu if DEVICE.type == "cpu" else 300)
        share = 100 * operations(width) / rate
        for neighbour in ("", "while True: pass"):
            for way, variables in WAYS.items():
                busy = subprocess.Popen([sys.executable, "-c", neighbour])
                found = subprocess.run(
                    [sys.executable, __file__, *map(str, (width, batch, number))],
                    env=os.environ | variables,
                    check=True,
                    stdout=subprocess.PIPE,
                )
                busy.kill()
                busy.wait()
                here, there = json.loads(found.stdout)
                print(
                    f"{width:5}  {'busy' if neighbour else 'none':9}  {way:18}{here:12,.1f}"
                    f"{share * here:6.1f}%{there:9,.1f}{share * there:6.1f}%{here / there:7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    if len(numbers) == 3:
        measure(*numbers)
    else:
        main(numbers[0] if numbers else None)
