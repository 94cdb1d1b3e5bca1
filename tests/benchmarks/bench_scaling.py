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

SCRIPT = Path(__file__).resolve().parents[2] / "experiments/exp_b_spectrum_evolution.py"
JOB = "--scale quick --dataset planted --device cpu --epochs 2 --seeds 0 1 "
JOB = (JOB + "--configurations baseline l2").split()
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def seconds(launcher: list[str], threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *launcher, str(SCRIPT), *JOB, "--results-dir", folder],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start


def main() -> None:
    one = seconds([], threads=2)
    two = seconds(TORCHRUN, threads=1)
    print(f"1 process,   2 threads: {one:6.1f} s")
    print(f"2 processes, 1 thread:  {two:6.1f} s")
    print(f"ratio {one / two:.2f}")


if __name__ == "__main__":
    main()
