"""The models of one worker: a pipeline that is kept from one work to the next, and its probe."""

import gc
import logging
import re
from collections.abc import Callable
from typing import Any

from diffgrid.engine.protocol import Models
from diffgrid.errors import BadInput, DiffgridError, ModelError, reason_of
from diffgrid.models.loras import digest_of, loras_of
from diffgrid.models.memory import working_memory
from diffgrid.models.registry import find_model
from diffgrid.spec.run import RunSpec

DEVICE = re.compile(r"(cpu|cuda|mps)(:[0-9]{1,2})?")
log = logging.getLogger(__name__)


class ModelHolder:
    """Holds one pipeline at a time: two may not fit. torch is imported with the first."""

    def __init__(self, device: str | None = None) -> None:
        """`device` is cpu, cuda, cuda:1 or mps; None is the fastest there is.

        Raises:
            BadInput: the device has another name. (Whether it is there shows when it is needed.)
        """
        if device is not None and not DEVICE.fullmatch(device):
            raise BadInput(
                f"device {device!r} is not known: use cpu, cuda or mps, or leave it out."
            )
        self._device = device
        self._loaded: tuple[tuple[str, str], Any] | None = None  # only the worker writes it

    @property
    def loaded(self) -> bool:
        """Whether there is a pipeline, of whatever weights."""
        return self._loaded is not None

    def pipeline(self, spec: RunSpec) -> Any:
        """The pipeline of a specification; that of other weights makes room first.

        Raises:
            ModelError: it cannot be loaded, or has other weights than the specification names.
        """
        wanted = (spec.digest, spec.dtype)
        if self._loaded is None or self._loaded[0] != wanted:
            if self._loaded is not None:
                gc.unfreeze()
                self._loaded = None  # first free the other one: two may not fit
                gc.collect()
            try:
                self._loaded = (wanted, self._read(spec))
            except DiffgridError:
                raise
            except Exception as error:  # libraries raise what they like at damaged files
                raise ModelError(
                    f"model {spec.model!r} cannot be loaded: {reason_of(error)}."
                ) from error
            finally:
                # What torch brought is here to stay: where the collector need not look at it, each
                # collection takes 290 ms less, and a page that polls makes many.
                gc.collect()
                gc.freeze()
        return self._loaded[1]

    def _read(self, spec: RunSpec) -> Any:
        from diffgrid.sampling import pipelines
        from diffgrid.sampling.loras import fuse

        device = pipelines.find_device(self._device)
        model = find_model(spec.model)
        loras = loras_of(model, spec.option("lora"))
        if digest_of(model, loras) != spec.digest:
            raise ModelError(
                f"model {spec.model!r} has other weights than this run was made with: bring "
                "those back, or ask for a new run."
            )
        weights = model.weights(spec.dtype)
        working = working_memory(spec.dtype, spec.height, spec.width)
        pipelines.check_fits(model.name, weights, working, spec.dtype, device)
        log.info("loading %s, %.1f GB in %s", model.name, weights / 1e9, spec.dtype)
        pipe = pipelines.load(model.folder, spec.dtype, device, model.variant)
        if loras:
            fuse(pipe, loras)
        return pipe

    def classifier(self, spec: RunSpec) -> Any:
        """What labels the pictures of a specification's model."""
        from diffgrid.sampling import classifiers

        return classifiers.find(find_model(spec.model).folder)


class Loading:
    """A `Work`: have a model at hand before somebody waits for it, unless there is one."""

    def __init__(self, holder: ModelHolder, spec: RunSpec) -> None:
        self._holder, self._spec = holder, spec
        self.ended = False

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Load it."""
        try:
            if not self._holder.loaded:
                models.pipeline(self._spec)
        except DiffgridError as error:  # the first job will say so to somebody
            log.info("no model was loaded ahead: %s", error)
        self.ended = True
