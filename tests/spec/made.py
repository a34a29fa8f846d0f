"""A specification, and paths of it by hypothesis."""

from hypothesis import strategies as st

from diffgrid.spec.path import Fork
from diffgrid.spec.run import RunSpec

SPEC = RunSpec(
    model="monsters",
    digest="ab" * 32,
    prompt="a green monster",
    negative_prompt="",
    guidance_scale=3.0,
    scheduler="DDIMScheduler",
    scheduler_config='{"beta_schedule": "linear", "beta_end": 0.02}',
    num_inference_steps=25,
    eta=1.0,
    seed=7,
    height=128,
    width=128,
)

paths = st.dictionaries(st.integers(0, 998), st.integers(0, 10**9 - 1), max_size=5).map(
    lambda chosen: tuple(Fork(step, chosen[step]) for step in sorted(chosen))
)
