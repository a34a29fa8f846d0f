"""How the sampler drives diffusers' schedulers: a class for each odd one, named by its row.

Everywhere x = alpha x_0 + sigma ε, in the coordinates in which the scheduler keeps x.
"""

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Generator, Tensor

from diffgrid.errors import BadInput, DiffgridError, reason_of
from diffgrid.records.trajectories import PredictionType, pred_original_sample
from diffgrid.sampling.noise import noise_like
from diffgrid.spec.schedulers import scheduler_of


def adapt(scheduler: SchedulerMixin, eta: float | None = None, begin: int = 0) -> "Adapter":
    """What drives a scheduler whose timesteps are set, from the entry `begin` on; each step is
    given eta too, where there is one."""
    adapter: type[Adapter] = globals()[scheduler_of(type(scheduler).__name__).adapter]
    return adapter(scheduler, begin, {} if eta is None else {"eta": eta})


@contextmanager
def refusing(scheduler: SchedulerMixin, num_inference_steps: int) -> Iterator[None]:
    """Whatever a scheduler raises within, as one sentence: the library checks little beforehand.

    Raises:
        BadInput: it does not take so many steps, or its configuration.
    """
    try:
        yield
    except (DiffgridError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise BadInput(
            f"steps {num_inference_steps} is not allowed with {type(scheduler).__name__} as this "
            f"model configures it ({reason_of(error)}): choose another number, or scheduler."
        ) from error


class Adapter:
    """Most schedulers: alpha = 1 (Karras et al., arXiv 2206.00364, table 1), and a step index.

    Steps are the trajectory's, of which a photo leaves the first `begin` of the scheduler's out.
    """

    def __init__(
        self, scheduler: SchedulerMixin, begin: int, step_kwargs: dict[str, float]
    ) -> None:
        self.scheduler, self.begin, self.step_kwargs = scheduler, begin, step_kwargs

    @property
    def timesteps(self) -> Tensor:
        """Of the trajectory's steps, (T,)."""
        timesteps: Tensor = self.scheduler.timesteps[self.begin :]
        return timesteps

    def levels(self) -> tuple[list[float], list[float]]:
        """alpha and sigma before each step and after the last, T+1 values each."""
        alphas, sigmas = self.noise_levels()
        return alphas[self.begin :], sigmas[self.begin :]

    def noise_levels(self) -> tuple[list[float], list[float]]:
        """The same of all of the scheduler's steps."""
        sigmas = self.sigmas()
        return [1.0] * len(sigmas), sigmas

    def sigmas(self) -> list[float]:
        """All of its sigmas; at second stages those of the midpoint that they evaluate."""
        sigmas: list[float] = self.scheduler.sigmas.double().tolist()
        return sigmas[: len(self.scheduler.timesteps) + 1]

    def prediction_type(self) -> PredictionType:
        """What the denoiser's output means to it."""
        kind: PredictionType = self.scheduler.config.prediction_type
        return kind

    def start_at(self, step: int | None) -> None:
        """Let one that has taken no step go on from there; None lets it find where it is."""
        self.scheduler._step_index = None if step is None else self.begin + step

    def step(
        self, output: Tensor, timestep: Tensor, x: Tensor, generator: Generator, trunk: bool
    ) -> Tensor:
        """x after the scheduler's own step, with the noise of this generator."""
        self.make_ready(output, x, generator, trunk)
        kwargs: dict[str, Any] = {**self.step_kwargs}
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            kwargs["generator"] = generator
        with refusing(self.scheduler, self.scheduler.num_inference_steps):
            following: Tensor = self.scheduler.step(
                output, timestep, x, **kwargs, return_dict=False
            )[0]
        return following.to(x.dtype)

    def make_ready(self, output: Tensor, x: Tensor, generator: Generator, trunk: bool) -> None:
        """Give it what its next step needs and it lacks."""

    def draws_noise(self, output: Tensor, timesteps: Tensor, x: Tensor) -> bool:
        """Whether its very next step adds noise: tried out, since many add none at some steps.

        `timesteps` are those of its stages.
        """
        outcomes = []
        for seed in (0, 1):
            trial, following = copy.deepcopy(self), x
            generator = torch.Generator("cpu").manual_seed(seed)
            for timestep in timesteps:
                following = trial.step(output, timestep, following, generator, trunk=False)
            outcomes.append(following)
        return not torch.equal(*outcomes)

    def limited(self, x0: Tensor) -> Tensor:
        """x̂0 as its own step takes it: clipped or thresholded, where it is asked to."""
        limits, config = scheduler_of(type(self.scheduler).__name__).limits, self.scheduler.config
        if "thresholding" in limits and config.thresholding:
            thresholded: Tensor = self.scheduler._threshold_sample(x0)
            return thresholded
        if "clip_sample" in limits and config.clip_sample:
            return x0.clamp(-config.clip_sample_range, config.clip_sample_range)
        return x0

    def level_after(self, step: int, following: tuple[float, float]) -> tuple[float, float]:
        """Where its step leads, (alpha, sigma): to the level of the `following` one, mostly."""
        return following

    def forget_sample(self) -> None:
        """Drop the sample that it would go back to, if any: it has no forced noise.

        The outputs that multistep schedulers remember stay, though their noise is the old one:
        starting again at order 1, or moving that noise too, kept the variance less well.
        """


class CumulativeAlphas(Adapter):
    """alpha² is the table's ᾱ at each timestep: LCM, TCD."""

    def noise_levels(self) -> tuple[list[float], list[float]]:
        scheduler = self.scheduler
        bars = scheduler.alphas_cumprod.double()[scheduler.timesteps.long().cpu()].tolist()
        bars.append(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))  # DDPM has none
        return [math.sqrt(a) for a in bars], [math.sqrt(1 - a) for a in bars]


class ByTimestep(CumulativeAlphas):
    """They go by the timestep that they are given, with no step index: DDPM."""

    def start_at(self, step: int | None) -> None:
        pass


class DDIM(ByTimestep):
    """Its steps are all of one length, whatever the timesteps between which they are taken."""

    def level_after(self, step: int, following: tuple[float, float]) -> tuple[float, float]:
        scheduler = self.scheduler
        length = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        timestep, bars = int(self.timesteps[step]) - length, scheduler.alphas_cumprod.double()
        bar = float(bars[timestep] if timestep >= 0 else scheduler.final_alpha_cumprod)
        return math.sqrt(bar), math.sqrt(1 - bar)


class PNDM(CumulativeAlphas):
    """Its first steps are special, and the rest need three earlier outputs."""

    def start_at(self, step: int | None) -> None:
        self.scheduler.counter = step or 0

    def make_ready(self, output: Tensor, x: Tensor, generator: Generator, trunk: bool) -> None:
        if not self.scheduler.ets and self.scheduler.counter >= 2:
            # Without a history, though under way, it is the newest output: the weights add up to 1,
            # and the step is of order 1.
            self.scheduler.ets = [output] * 3


class LMS(Adapter):
    """It needs three earlier derivatives."""

    def make_ready(self, output: Tensor, x: Tensor, generator: Generator, trunk: bool) -> None:
        scheduler = self.scheduler
        if not scheduler.derivatives and (scheduler.step_index or 0) > self.begin:  # as PNDM
            sigma = scheduler.sigmas[scheduler.step_index]
            x0 = pred_original_sample(x, output, 1.0, sigma, self.prediction_type())
            scheduler.derivatives = [(x - x0) / sigma] * 3


class DPMSolver(Adapter):
    """It keeps sigmas as if alpha were 1, and x with the alpha that it makes of them."""

    def noise_levels(self) -> tuple[list[float], list[float]]:
        wanted = torch.tensor(self.sigmas(), dtype=torch.float64)
        pairs = [self.scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in wanted]
        return [float(alpha) for alpha, _ in pairs], [float(sigma) for _, sigma in pairs]


class Corrector(DPMSolver):
    """It corrects each step from the sample before: UniPC, SA-Solver."""

    def forget_sample(self) -> None:
        self.scheduler.last_sample = None


class KDPM2(Adapter):
    """Its second stage evaluates at a sigma of its own."""

    behind = 0  # how far its index lags there

    def sigmas(self) -> list[float]:
        sigmas = super().sigmas()
        for i in range(1, len(self.scheduler.timesteps), 2):
            sigmas[i] = float(self.scheduler.sigmas_interpol[i - self.behind])
        return sigmas


class KDPM2Ancestral(KDPM2):
    behind = 1


class DPMSolverSDE(Adapter):
    """It draws from a Brownian tree. Where its configuration seeds that, the trunk (and what
    changes from it) keeps it; the rest have `Increments`."""

    def sigmas(self) -> list[float]:
        sigmas = super().sigmas()
        for i in range(1, len(self.scheduler.timesteps), 2):
            before, after = self.scheduler.sigmas[i - 1 : i + 1].tolist()
            sigmas[i] = math.sqrt(before * after)
        return sigmas

    def make_ready(self, output: Tensor, x: Tensor, generator: Generator, trunk: bool) -> None:
        if not (trunk and self.scheduler.noise_sampler_seed is not None):
            self.scheduler.noise_sampler = Increments(generator, x, self.scheduler)


class Increments:
    """Normalised increments of a Brownian motion over sigma, as DPMSolverSDE asks for them.

    Its first stage wants one from sigma to the midpoint, its second one over the whole step, which
    holds the first.
    """

    def __init__(self, generator: Generator, like: Tensor, scheduler: Any) -> None:
        self.generator, self.like = generator, like
        second = not scheduler.state_in_first_order
        earlier = scheduler.noise_sampler
        self.begun: tuple[float, Tensor] | None = None  # the first stage's increment
        if second and isinstance(earlier, Increments):
            self.begun = earlier.begun

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        noise = noise_like(self.like, self.generator)
        whole = abs(float(sigma_next) - float(sigma))
        if self.begun is None:
            self.begun = whole, noise
            return noise
        part, first = self.begun
        both: Tensor = math.sqrt(part) * first + math.sqrt(max(0.0, whole - part)) * noise
        return both / math.sqrt(whole)


class EDM(Adapter):
    """The model's output becomes x̂0 by EDM's preconditioning."""

    def prediction_type(self) -> PredictionType:
        kind = self.scheduler.config.prediction_type
        if kind not in ("epsilon", "v_prediction"):
            raise BadInput(
                f"scheduler {type(self.scheduler).__name__} has prediction type {kind}, which it "
                "does not know itself: it must be epsilon or v_prediction."
            )
        return "edm_epsilon" if kind == "epsilon" else "edm_v_prediction"


class FlowMatching(Adapter):
    """alpha = 1 - sigma."""

    def noise_levels(self) -> tuple[list[float], list[float]]:
        sigmas = self.sigmas()
        return [1 - sigma for sigma in sigmas], sigmas

    def prediction_type(self) -> PredictionType:
        return "flow_prediction"
