"""`python -m benchmarks.device`: steps of VGG-11 and ResNet-18 at full width on a device, in plain steps.

Batch 128 of 32 x 32 pixels, float32; the outer batch is as large. A step is timed with the device idle before
and after it; medians over interleaved pairs. MARTHE is 4 plain steps by arithmetic, and 4.4 is the aim.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

import adatune_lite as al
from benchmarks.measure import Row, median_interval, show

NETWORKS, BATCH, TARGET = ("vgg11", "resnet18"), 128, 4.4
PAIRS = 12


def device_rows(device: str, pairs: int = PAIRS, width: float = 1.0) -> Iterator[Row]:
    """MARTHE in plain steps, and images a second of both, by network."""
    for network in NETWORKS:
        calls = {
            "plain": _steps(network, device, width, False),
            "MARTHE": _steps(network, device, width, True),
        }
        for call in calls.values():
            for _ in range(2):
                call()
        seconds = [{name: _timed(call, device) for name, call in calls.items()} for _ in range(pairs)]
        found = median_interval([pair["MARTHE"] / pair["plain"] for pair in seconds])
        note = f"batch {BATCH}, {pairs} pairs, {device}"
        yield Row(f"MARTHE step, {network}", *found, TARGET, "plain steps", note)
        for name in calls:
            speed = [BATCH / pair[name] for pair in seconds]
            middle = statistics.median(speed)
            yield Row(f"{name}, {network}", middle, min(speed), max(speed), None, "images/s")


def _steps(network: str, device: str, width: float, online: bool) -> Callable[[], object]:
    """One step, with random images in place of real ones: the cost is the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 32, 32, generator=generator).to(device, memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,), generator=generator).to(device)
    net = al.tasks.models.build(network, seed=0, width=width).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(net(x), y)

    if online:
        tuner = al.MARTHE(optimizer, 0.99, 1e-9)
        return lambda: tuner.step(loss, loss)
    plain = al.FixedSchedule(optimizer, [0.01] * 10_000)
    return lambda: plain.step(loss)


def _timed(call: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> int:
    """Exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    holds = True
    for row in device_rows(parser.parse_args().device):
        print(show(row), flush=True)  # whoever stops it keeps what there is
        holds &= row.holds
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
