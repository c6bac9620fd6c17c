"""What is said of a run: its metrics, parameters, tags, artifacts and results, as events and for its summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from time import perf_counter_ns
from typing import Any

from otelml import context, events
from otelml.instruments import internal
from otelml.logs.record import MAX_NAME
from otelml.logs.values import clean_text, to_attribute
from otelml.semconv import _generated as semconv
from otelml.training.artifacts import Artifact, read_artifact
from otelml.training.gauges import Gauges
from otelml.training.metrics import Metrics, Where, copy_on_device, describe, is_waiting
from otelml.training.steps import TRAIN
from otelml.training.telling import tell

Tags = Mapping[str, Any] | Iterable[str] | None

MAX_KEPT = 1_000
"""Parameters, tags, results and artifacts, of each, that the summary keeps; the events hold all."""


class Journal:
    """The part of a run that tells."""

    def __init__(self, experiment: str, name: str | None, run_id: str | None, tags: Tags) -> None:
        self.experiment = _short(experiment)
        self.name = None if name is None else _short(name)
        self.scope = context.Scope(_short(run_id or ""), self.experiment)
        self.scope.is_open = False
        self.status: str | None = None
        self._tags = _masked(tags_of(tags))
        self._params: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self._artifacts: dict[str, Artifact] = {}
        self._gauges = Gauges()
        self._metrics = Metrics(self._tell_non_finite, self._gauges)
        self._done = {"steps": 0, "samples": 0, "tokens": 0, "epochs": 0}
        self._start_ns = perf_counter_ns()
        self._duration_s: float | None = None
        self._joules: float | None = None
        # Metrics on a device that nobody has read yet, and how many readings are under way.
        self._waiting: dict[str, Any] = {}
        self._readings = 0
        # What can only be told once it shows whether the run goes on, and whether an exception left it undone.
        self._postponed: list[tuple[Callable[[], object], bool]] = []

    @property
    def id(self) -> str:
        """The id of the run; empty before its start, unless it was given."""
        return self.scope.run_id

    @property
    def phase(self) -> str:
        """What the present steps are for."""
        return TRAIN

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics: gauges, the event `run_metrics`, and the summary. For every few steps; else see `update`.

        `loss`, `learning_rate` (`lr`) and `gradient_norm` (`grad_norm`) have gauges of their own, others are
        `ml.training.metric` by name. The phase is that of the steps around it; `val_<name>` is of the phase eval. What
        lives on a device is copied there and read by another thread, so that the step does not wait. What is no number
        only goes into the event.

        Args:
            metrics: values by name.
            step: the step that they belong to; the present one when not given.
        """
        with internal.guard("training"):
            self._settle()
            where = self._where() if step is None else self._where_at(int(step))
            if not is_waiting(metrics):
                self._log(metrics, where)
                return
            self._readings += 1
            internal.defer(partial(self._log_later, copy_on_device(metrics), where))

    def _log_later(self, metrics: dict[str, Any], where: Where) -> None:
        self._readings -= 1
        self._log(metrics, where)

    def _log(self, metrics: Mapping[str, Any], where: Where) -> None:
        taken = _masked(self._metrics.take(metrics, where))
        note = describe(taken) or ", ".join(taken)
        message = note if where.step is None else f"step {where.step}: {note}"
        fields = {"metrics": taken, "step": where.step, "epoch": where.epoch}
        tell(events.run_metrics, self.fields(), message=message, **fields)

    def update(self, metrics: Mapping[str, Any]) -> None:
        """The latest values, for gauges, bars and summaries: as `log`, without an event; cheap enough for each step."""
        with internal.guard("training"):
            if not is_waiting(metrics):
                self._metrics.take(metrics, self._where())
                return
            # Not copied: if the loop changes it until it is read, that is a later value yet.
            is_due = not self._waiting
            self._waiting.update(metrics)
            if is_due:
                self._readings += 1
                internal.defer(self._read_waiting)

    def _read_waiting(self) -> None:
        self._readings -= 1
        waiting, self._waiting = self._waiting, {}
        self._metrics.take(waiting, self._where())

    def param(self, name: str, value: Any, /) -> None:
        """One parameter; as `params`."""
        self._add_params({name: value})

    def params(self, params: Any = None, /, **named: Any) -> None:
        """Parameters: a mapping, dataclass or namespace, or keywords. Secrets are masked. Event `run_params`."""
        if params is not None:
            self._add_params(params)
        if named:
            self._add_params(named)

    def _add_params(self, params: Any) -> None:
        with internal.guard("training"):
            self._settle()
            masked = events.mask(params)
            if not isinstance(masked, Mapping):
                masked = {"params": masked}
            _keep(self._params, masked)
            message = f"parameters: {', '.join(list(masked)[:10])}"
            tell(events.run_params, self.fields(), message=message, params=masked)

    def tag(self, name: str, value: Any = True) -> None:
        """One tag; as `tags`."""
        self._add_tags({name: value})

    def tags(self, tags: Mapping[str, Any] | Iterable[str] = (), /, **named: Any) -> None:
        """Tags: a mapping, some words, or keywords. Event `run_tags`."""
        self._add_tags({**tags_of(tags), **named})

    def _add_tags(self, tags: dict[str, Any]) -> None:
        with internal.guard("training"):
            self._settle()
            tags = _masked(tags)
            _keep(self._tags, tags)
            tell(events.run_tags, self.fields(), message=f"tags: {', '.join(tags)}", tags=tags)

    def artifact(self, path: str | os.PathLike[str], type: str | None = None) -> Artifact:  # noqa: A002 - the field's name
        """A file or folder that the run produced: its size and SHA-256, never its bytes. Event `run_artifact`.

        Reads it on this thread, about 1 s a GB. One that cannot be read is named, counted and said, and does no harm.
        """
        found = Artifact(str(path), type)
        with internal.guard("training"):
            self._settle()
            try:
                found = read_artifact(path, type)
            except OSError as problem:
                internal.count("errors", "training", "artifact_unreadable")
                internal.warn_once(f"artifact:{found.path}", "otelml: artifact not read: %s", problem)
            _keep(self._artifacts, {found.path: found})
            size = "" if found.size_bytes is None else f" ({found.size_bytes} bytes)"
            fields = {"path": found.path, "artifact_type": type}
            measured = {"size_bytes": found.size_bytes, "sha256": found.sha256}
            message = f"artifact {found.path}{size}"
            tell(events.run_artifact, self.fields(), message=message, **fields, **measured)
        return found

    def result(self, name: str, value: Any, /, **metadata: Any) -> None:
        """A result of the run. Event `run_result`."""
        with internal.guard("training"):
            self._settle()
            value = _masked({str(name): value})[str(name)]
            _keep(self._results, {str(name): value})
            about = _masked(metadata) or None
            message = f"result {name}: {clean_text(str(value), 200)}"
            tell(
                events.run_result,
                self.fields(),
                message=message,
                result=str(name),
                value=value,
                metadata=about,
            )

    def summary(self) -> dict[str, Any]:
        """What is known of the run so far, in plain types: its id, status, counts, metrics, results, artifacts.

        Keys: `run_id experiment name status duration_s epochs steps samples tokens params tags metrics results
        artifacts energy_joules`; unknown ones are absent. Of each metric: `count last min max mean`.
        """
        running_s = (perf_counter_ns() - self._start_ns) / 1e9 if self.status == "running" else None
        found = {
            "run_id": self.id or None,
            "experiment": self.experiment,
            "name": self.name,
            "status": self.status,
            "duration_s": self._duration_s if running_s is None else running_s,
            **{key: number or None for key, number in self._done.items()},
            "params": dict(self._params) or None,
            "tags": dict(self._tags) or None,
            "metrics": self._metrics.summary() or None,
            "results": dict(self._results) or None,
            "artifacts": [asdict(artifact) for artifact in self._artifacts.values()] or None,
            "energy_joules": self._joules,
        }
        return {key: value for key, value in found.items() if value is not None}

    def fields(self, epoch: int | None = None) -> dict[str, Any]:
        """What its own events carry, wherever they are written from."""
        found = context.attributes_of(self.scope)
        if epoch is not None:
            found[semconv.ML_TRAINING_EPOCH] = epoch
        return found

    def latest_metrics(self) -> dict[str, float]:
        """The last value of each metric, of those whose last one was finite."""
        return self._metrics.latest()

    def _where(self) -> Where:
        return Where(self.phase, self.scope.epoch, self.scope.step)

    def _where_at(self, step: int) -> Where:
        return self._where()._replace(step=step)

    def _tell_non_finite(self, name: str, number: float, where: Where) -> None:
        message = f"{name} is {number}" + ("" if where.step is None else f" at step {where.step}")
        fields = {"metric": name, "count": 1, "step": where.step, "epoch": where.epoch}
        tell(events.non_finite, self.fields(), message=message, **fields)

    def _postpone(self, tell_it: Callable[[], object], *, by_exception: bool) -> None:
        """`tell_it` is true once the run goes on; or, if `by_exception`, if that ends the run well."""
        self._postponed.append((tell_it, by_exception))

    def _settle(self, *, by_exception: bool = False) -> None:
        """The run goes on, or has ended well, `by_exception` or without: what was postponed shows itself."""
        postponed, self._postponed = self._postponed, []
        for tell_it, needs_exception in postponed:
            if by_exception or not needs_exception:
                tell_it()


def _short(name: object) -> str:
    """Names stand on every line: whatever they are, they are short text."""
    return clean_text(str(to_attribute(name)), MAX_NAME)


def _masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """In plain types, without secrets; numbers, also those that are not finite, stay as they are."""
    return {
        name: value if type(value) in (int, float) else events.mask({name: to_attribute(value)})[name]
        for name, value in values.items()
    }


def _keep(kept: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Keep `more` for the summary, within bounds."""
    for name, value in more.items():
        if name in kept or len(kept) < MAX_KEPT:
            kept[name] = value
        else:
            internal.count("dropped", "training", "summary_full")


def tags_of(tags: Tags) -> dict[str, Any]:
    """Tags by name; words are true."""
    if isinstance(tags, Mapping):
        return {str(name): value for name, value in tags.items()}
    words = tags if isinstance(tags, Iterable) and not isinstance(tags, str) else [tags]
    return {str(tag): True for tag in words if tag is not None}
