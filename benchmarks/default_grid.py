"""What the default grid costs: python -m benchmarks.default_grid [--repeat 3]

Cold cache, model already loaded, all frames included. Beside the seconds it prints ratios taken in
the same run, which other machines can be compared by: an evaluation against a plain matrix
product, and the whole against its evaluations alone.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

from diffgrid.engine.local import LocalEngine
from diffgrid.models.registry import find_model, specify
from diffgrid.spec.grid import Grid, default_rows
from diffgrid.spec.path import minimum
from diffgrid.store.forgiving import TrajectoryStore


def best(action: Callable[[], object], repeat: int) -> float:
    """The shortest of `repeat` runs, in seconds, after one to warm up."""
    times = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def default_grid(seed: int) -> Grid:
    """As the page shows it, from this seed."""
    spec = specify(seed=seed)
    return Grid.with_columns(spec, (), default_rows(spec.loop), 4)


def grid_times(engine: LocalEngine, seed: int) -> dict[str, float]:
    """Seconds until the first preview, the trunk's picture, and the whole grid."""
    grid = default_grid(seed)
    spec = grid.spec
    began = time.perf_counter()
    job = engine.submit(spec, grid.paths)
    times: dict[str, float] = {}
    while not job.wait(0.003):
        view = job.snapshot().paths[()]
        if view.frame and "first preview" not in times:
            times["first preview"] = time.perf_counter() - began
        if view.done and "trunk's picture" not in times:
            times["trunk's picture"] = time.perf_counter() - began
    times["whole grid"] = time.perf_counter() - began
    snapshot = job.snapshot()
    if snapshot.error:
        raise snapshot.error
    assert snapshot.sampled == snapshot.minimum
    return times


def parts_times(repeat: int) -> dict[str, float]:
    """Seconds for an evaluation (guided pair) at several batches, a decode, and a matrix
    product."""
    import torch

    from diffgrid.sampling import decoding, pipelines, preparation
    from diffgrid.sampling.preparation import Standing

    spec = specify()
    pipe = pipelines.load(find_model(spec.model).folder, spec.dtype, torch.device("cpu"))
    prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
    times = {}
    with torch.inference_mode():
        for n in (1, 4, 8, 16):
            standing = [
                Standing(spec=spec, adapter=deepcopy(prepared.adapter), past=[prepared.latents])
                for _ in range(n)
            ]
            together = partial(prepared.denoise, standing, n)
            together()  # which begins them
            times[f"evaluation, {n} together"] = best(together, repeat) / n
        decoder = decoding.Decoder(pipe)
        z = prepared.latents.expand(8, -1, -1, -1).numpy()
        times["decode, 8 together"] = best(lambda: decoder.final(z), repeat) / 8
        matrix = torch.randn(1024, 1024)
        times["matrix product, 1024³"] = best(lambda: matrix @ matrix, 10 * repeat)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(TrajectoryStore(Path(folder)))
        engine.submit(specify(steps=2), [()]).wait()  # loads the model
        runs = [grid_times(engine, seed) for seed in range(100, 100 + repeat)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in runs[0]:
        print(f"{name:28} {min(run[name] for run in runs):7.3f} s")
    print(f"{'peak memory':28} {memory / (2**20 if sys.platform == 'darwin' else 2**10):7.0f} MB")
    parts = parts_times(repeat)
    for name, seconds in parts.items():
        print(f"{name:28} {1000 * seconds:7.2f} ms")
    evaluation = min(seconds for name, seconds in parts.items() if name.startswith("evaluation"))
    whole = min(run["whole grid"] for run in runs)
    grid = default_grid(100)
    count = minimum(grid.paths, grid.spec.length)
    print(f"whole / its {count} evaluations  {whole / (count * evaluation):7.2f}")
    print(f"decode / evaluation          {parts['decode, 8 together'] / evaluation:7.2f}")
    print(f"evaluation / matrix product  {evaluation / parts['matrix product, 1024³']:7.2f}")


if __name__ == "__main__":
    main()
