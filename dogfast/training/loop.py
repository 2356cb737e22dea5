"""The training loop: batches in, an objective's steps, rates, a watch on losses, checkpoints, and what is left of it all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dogfast.config.objectives import ObjectivesConfig
from dogfast.config.option import require
from dogfast.config.training import TrainingConfig
from dogfast.errors import DataError, OutOfMemory, is_out_of_memory
from dogfast.events import Events
from dogfast.run import refuse_difference
from dogfast.seeds import derive_seed
from dogfast.training.batches import Batches, Outliers
from dogfast.training.checkpoints import State, read_checkpoint, write_checkpoint
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.optimizers import SCHEDULES, build_optimizer, set_lr
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.regimes import Regime
from dogfast.training.tally import Tally

LOOK_EVERY = 50
"""Steps between two looks at the losses: a look waits for the device."""

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Machine:
    """Where a training runs, and with whom."""

    device: str = "cpu"
    precision: str = "fp32"
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Keeping:
    """Where an interrupted training finds itself again."""

    path: Path
    identity: dict[str, Any]
    every_s: float


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    outliers: Outliers | None,
    regime: Regime,
    config: TrainingConfig,
    methods: ObjectivesConfig,
    events: Events,
    machine: Machine = Machine(),
    task: str = "train",
    log: Log = lambda row: None,
    keeping: Keeping | None = None,
) -> dict[str, Any]:
    """Train ``model`` by ``config.objective`` in place and leave it in evaluation mode on the machine's device.

    ``images``: uint8 (n, 3, H, W); ``labels``: int64 (n,); ``outliers``: unused where the objective needs none. Master
    weights are fp32. The same seed on the same machine gives the same weights, however often it was interrupted.
    ``log`` is given a row of numbers every :data:`LOOK_EVERY` steps and every epoch.

    Returns ``history`` (a dict of mean losses an epoch), ``seconds``, ``waited_s`` (of them, for the next batch),
    ``img_per_s`` (ID and outlier images of all steps), ``skipped_steps`` (not finite) and the objective's figures. Raises
    :class:`UsageError` for missing outliers or a batch that cannot be shared out, :class:`DataError` for unfit images or
    labels, `OutOfMemory` where memory runs out, :class:`DogfastError` when 20 steps in a row are not finite.
    """
    method = OBJECTIVES[config.objective]
    require(outliers is not None or not method.brings, f"--objective {config.objective} needs outliers; name --outliers")
    outliers = outliers if method.brings else None
    _check_data(images, labels, outliers, method.brings, model)
    device = torch.device(machine.device)
    with _reproducible(device), _memory_advice(regime, config):
        torch.manual_seed(derive_seed(config.train_seed, "start"))
        if machine.ranks.count > 1 and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model.to(device=device, memory_format=torch.channels_last).train()
        latent_shape = tuple(outliers.rows.shape[1:]) if method.brings == "latents" else ()
        objective = method(Task(methods, regime, model, images.shape[2], config.train_seed, latent_shape)).to(device)
        optimizer = build_optimizer([*model.parameters(), *objective.learned()], regime, config.momentum)
        compiled = torch.compile(model.features) if compiles(config.compile, method, device) else None
        learner = Learner(model, optimizer, machine.precision, machine.ranks, compiled)
        parts, seed = config.accumulate, config.train_seed
        batches = Batches(images, labels, outliers, regime, objective, seed, device, machine.ranks, parts)
        learner.parts = parts
        return _Training(learner, batches, objective, regime, config, events, task, log, keeping).run()


def compiles(wanted: str, method: type[Objective], device: torch.device) -> bool:
    """Whether the forward is compiled: when asked for, or on a GPU where the method's backward allows."""
    return wanted == "on" or (wanted == "auto" and device.type == "cuda" and method.compiles)


@dataclass
class _Training:
    learner: Learner
    batches: Batches
    objective: Objective
    regime: Regime
    config: TrainingConfig
    events: Events
    task: str
    log: Log
    keeping: Keeping | None
    average: nn.Module | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    waited_s: float = 0.0

    def __post_init__(self) -> None:
        self.steps = self.regime.epochs * self.batches.steps
        self.tally = Tally(self.config.objective, self.regime.start)
        if self.config.ema:
            self.average = AveragedModel(
                self.learner.model, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema), use_buffers=True
            )
        own = {"model": self.learner.model, "objective": self.objective}
        self.state = State(
            own | ({"average": self.average} if self.average else {}),
            {"optimizer": self.learner.optimizer} | {f"optimizer {k}": v for k, v in self.objective.optimizers().items()},
        )

    # --- steps --------------------------------------------------------------------------------------------------
    def run(self) -> dict[str, Any]:
        first, total = self._resume(), self.steps * self.batches.passes
        self.clock = self.kept_at = time.perf_counter()
        with self.events.progress(self.task, total) as advance:
            if first:
                advance(first * self.batches.passes)
            else:
                self.objective.begin(self.learner, self.batches)
                for name, figure in self.objective.figures().items():
                    self.events.say(f"{self.task}: {name} is {figure:.3f}")
            for epoch in range(first // self.batches.steps, self.regime.epochs):
                self._epoch(epoch, first % self.batches.steps if epoch == first // self.batches.steps else 0, advance)
        self._settle()
        self.objective.finish(self.learner, self.batches)
        return self._result()

    def _epoch(self, epoch: int, first: int, advance: Callable[[int], None]) -> None:
        self.learner.epoch = epoch
        if not first:
            self.objective.begin_epoch(self.learner, self.batches)
        waiting = time.perf_counter()
        for at, batch in enumerate(self.batches.epoch(epoch, first), epoch * self.batches.steps + first):
            self.waited_s += time.perf_counter() - waiting
            self._step(at, batch)
            advance(self.batches.passes)
            last = (at + 1) % self.batches.steps == 0
            if last or (at + 1) % LOOK_EVERY == 0:
                self._look(at, last)
            self._keep(at + 1)
            waiting = time.perf_counter()

    def _step(self, at: int, batch: Any) -> None:
        learner = self.learner
        learner.at, learner.finite = at, torch.ones((), device=learner.device)
        self.lr = SCHEDULES[self.regime.schedule](at, self.steps, self.regime.lr)
        set_lr(learner.optimizer, self.lr)
        torch.manual_seed(derive_seed(self.config.train_seed, "step", at, learner.ranks.index))
        for number, part in enumerate(batch.parts(learner.parts)):
            learner.part = number
            losses = self.objective(learner, part)
            self.tally.add(losses)
        self.tally.close_step(learner.finite)
        if self.average is not None:
            self.average.update_parameters(learner.model)

    def _look(self, at: int, epoch_ends: bool) -> None:
        epoch, found = self.learner.epoch, self.tally.look()
        self.log({"step": at + 1, "epoch": epoch, "lr": self.lr, **found})
        if epoch_ends:
            self.history.append({"epoch": epoch} | self.tally.close_epoch())
            self.events("epoch", task=self.task, **self.history[-1])

    # --- what is kept -------------------------------------------------------------------------------------------
    def _resume(self) -> int:
        """Step to go on with: 0 for a training that starts."""
        if self.keeping is None or not self.keeping.path.exists():
            return 0
        tensors, facts = read_checkpoint(self.keeping.path)
        refuse_difference(
            str(self.keeping.path), facts["identity"], self.keeping.identity, f"remove {self.keeping.path} to train it anew"
        )
        focus = tensors.pop("focus", None)
        self.state.restore(self.keeping.path, tensors)
        if focus is not None:
            self.batches.focus_on(focus, facts["epoch"])
            self.batches.focus.seek(facts["focus"])
        if self.batches.outliers is not None:
            self._seek(self.batches.outliers, facts["outliers"])
        self._restore_scale(facts["scaler"])
        self.history, self.seconds, self.waited_s = facts["history"], facts["seconds"], facts["waited_s"]
        self.tally.restore(facts["tally"])
        self.events.say(f"{self.task} goes on with step {facts['step'] + 1} of {self.steps}")
        return facts["step"]

    def _restore_scale(self, scaler: dict[str, Any]) -> None:
        """The scale that fp16 gradients had grown to; there is none in other precisions."""
        if not self.learner.scaler.is_enabled():
            return
        try:
            self.learner.scaler.load_state_dict(scaler)
        except (KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{self.keeping.path} has no scale of fp16 gradients; remove it to train anew") from error

    def _seek(self, outliers: Outliers, position: Any) -> None:
        try:
            outliers.seek(position)
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.keeping.path} was taken while the outliers were read otherwise; give --window-mb as it was, "
                "or remove it to train anew"
            ) from error

    def _keep(self, done: int) -> None:
        """A checkpoint after ``done`` steps, where it is time for one; the first process writes it.

        Several processes ask each other now and then: each answer waits for all of them.
        """
        several = self.learner.ranks.count > 1
        if self.keeping is None or done == self.steps or (several and done % LOOK_EVERY):
            return
        due = time.perf_counter() - self.kept_at >= self.keeping.every_s
        if several:
            due = bool(self.learner.ranks.average(torch.tensor(float(due), device=self.learner.device)) > 0)
        if not due:
            return
        self._even_out()
        focus = self.batches.focus
        if self.learner.ranks.index == 0:
            tensors = self.state.tensors() | ({} if focus is None else {"focus": focus.rows})
            write_checkpoint(self.keeping.path, tensors, self._facts(done))
        self.kept_at = time.perf_counter()

    def _facts(self, done: int) -> dict[str, Any]:
        outliers, focus = self.batches.outliers, self.batches.focus
        return {
            "identity": self.keeping.identity,
            "step": done,
            "scaler": self.learner.scaler.state_dict(),
            "epoch": self.learner.epoch,
            "history": self.history,
            "tally": self.tally.state(),
            "seconds": self._seconds(),
            "waited_s": self.waited_s,
            "outliers": None if outliers is None else outliers.position,
            "focus": None if focus is None else focus.position,
        }

    def _seconds(self) -> float:
        return self.seconds + time.perf_counter() - self.clock

    def _even_out(self) -> None:
        """Running statistics are each process's own; what is kept is their mean."""
        for buffer in self.learner.model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.learner.ranks.average(buffer))

    def _settle(self) -> None:
        """What was learned takes its place, the same in every process: what follows builds on it."""
        if self.average is not None:
            self.learner.model.load_state_dict(self.average.module.state_dict())
        self._even_out()

    def _result(self) -> dict[str, Any]:
        self.learner.model.eval()
        seconds = self._seconds()
        return {
            "history": self.history,
            "seconds": seconds,
            "waited_s": self.waited_s,
            "img_per_s": self.steps * self.batches.passes / seconds,
            "skipped_steps": self.tally.skipped,
        } | self.objective.figures()


def _check_data(images: Tensor, labels: Tensor, outliers: Outliers | None, brings: str, model: nn.Module) -> None:
    assert images.dtype == torch.uint8 and len(images) == len(labels)
    if len(images) == 0:
        raise DataError("there are no ID images to train on; check --classes and --data")
    if labels.min() < 0 or labels.max() >= model.head.out_features:
        raise DataError(f"labels reach from {labels.min()} to {labels.max()}; the classifier has {model.head.out_features}")
    rows = getattr(outliers, "rows", None)
    if rows is None:
        return
    if len(rows) == 0:
        raise DataError("there are no outliers to learn from; generate some, or name others with --outliers")
    if brings == "latents":
        assert rows.is_floating_point() and outliers.id_latents is not None
        return
    assert rows.dtype == torch.uint8
    if rows.shape[1:] != images.shape[1:]:
        raise DataError(f"outliers are {_size(rows)} px, ID images {_size(images)} px; bring both to --image-px")


def _size(images: Tensor) -> str:
    return f"{images.shape[3]} x {images.shape[2]}"


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Convolutions are deterministic; the caller's global generators are left as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


@contextmanager
def _memory_advice(regime: Regime, config: TrainingConfig) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"memory does not hold a step of {regime.batch} ID images and {regime.ood_batch} outliers; "
            f"compute it in more parts with --accumulate (now {config.accumulate}), or lower --batch and --ood-batch"
        ) from error
