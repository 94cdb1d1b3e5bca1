"""One job on two cores: two processes of one thread, against one process of two threads.

    python tests/benchmarks/bench_scaling.py

Quick scale on planted data with 2 of the 10 epochs and 4 runs, each way in a folder of its own.
Start-up and the tables are included.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "exp_b_spectrum_evolution.py"
JOB = "--dataset planted --device cpu --epochs 2 --seeds 0 1 --configurations baseline l2"
TORCHRUN = "-m torch.distributed.run --standalone --nproc-per-node=2"


def main() -> None:
    seconds = []
    for processes, threads, launcher in ((1, 2, ""), (2, 1, TORCHRUN)):
        with tempfile.TemporaryDirectory() as folder:
            start, words = time.perf_counter(), [*launcher.split(), str(SCRIPT), *JOB.split()]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            command = [sys.executable, *words, "--results-dir", folder]
            subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
        print(f"processes: {processes}, threads of each: {threads}: {seconds[-1]:6.1f} s")
    print(f"ratio {seconds[0] / seconds[1]:.2f}")


if __name__ == "__main__":
    main()
