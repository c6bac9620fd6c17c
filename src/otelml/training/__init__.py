"""Training: a run is a span and a context, with epochs, timed steps, metrics, artifacts and progress in it.

    with otelml.run("digits", params={"lr": 0.1}) as run:
        for epoch in run.epochs(10):
            for batch in epoch.steps(loader):
                run.log({"loss": step(batch)})

No module here is called `run`: importing it would put it in the place of the function `otelml.run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otelml.training import bars, ending, exits, gauges, identity
from otelml.training.epochs import Epoch
from otelml.training.progress import Progress
from otelml.training.runs import Run

__all__ = ["Epoch", "Progress", "Run", "run"]


def run(
    experiment: str,
    name: str | None = None,
    *,
    params: Any = None,
    tags: Mapping[str, Any] | Iterable[str] | None = None,
    run_id: str | None = None,
    progress: bool = True,
) -> Run:
    """A run of an experiment: `with otelml.run("digits") as run:`, `async with`, or `start()` and `end()`.

    From its start to its end its id, its epoch and its step stand on every log record and span written by this
    context, and by threads that have no run of their own; never on a metric. The outermost run of a process has the
    id of the process; each further one that of the process and a number, the same on all ranks.

    Args:
        experiment: what runs are compared within; a constant.
        name: of this run, for people.
        params: its parameters: a mapping, a dataclass, a namespace. Secrets in them are masked.
        tags: by name, or some words.
        run_id: of a run that this one resumes.
        progress: whether loops of this run draw bars on a terminal, and write a line now and then elsewhere.
    """
    return Run(experiment, name, params=params, tags=tags, run_id=run_id, progress=progress)


def reset() -> None:
    """For tests: no run is open, no bar is drawn, ids begin anew."""
    bars.reset()
    ending.reset()
    exits.reset()
    gauges.reset()
    identity.reset()
