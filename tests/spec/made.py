"""A specification, and paths by hypothesis: of plain forks, and of every kind."""

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

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
forks = st.one_of(
    st.builds(Fork, st.integers(0, 998), st.integers(0, 10**9 - 1), stochastic=st.booleans()),
    st.integers(1, 998).flatmap(
        lambda step: st.builds(Fork, st.just(step), st.integers(0, 99), st.integers(1, step))
    ),
    st.builds(
        lambda step, prompt, scale: Fork(step, 0, prompt=prompt, guidance_scale=scale),
        st.integers(0, 998),
        texts,
        st.none() | st.floats(0, allow_infinity=False),
    ),
)
paths_of_every_kind = st.lists(forks, max_size=5, unique_by=lambda fork: fork.step).map(
    lambda chosen: tuple(sorted(chosen, key=lambda fork: fork.step))
)
