"""Real servers around the emitter: two ranks that Prometheus scrapes, one program that goes through a collector.

It stands apart from `serverkit` because only boards and what draws them need all of it at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from otlpkit import LayeredCollector
from serverkit import PATIENCE_S, ROOT, Prometheus, free_ports, plain_environ, wait_until

DIRECT, THROUGH_COLLECTOR = "vision", "speech"
"""The services: one that is scraped, with two ranks; one without ranks, over OTLP."""
RULES = ROOT / "dashboards" / "rules"

NOWHERE = """
# Nobody is there: what boards show of queues and of failures is real.
exporters:
  otlp_http/nowhere:
    endpoint: http://127.0.0.1:{port}
    sending_queue: {{queue_size: 3}}
    retry_on_failure: {{initial_interval: 1s, max_interval: 1s, max_elapsed_time: 2s}}
service:
  pipelines:
    traces/nowhere: {{receivers: [forward/out], exporters: [otlp_http/nowhere]}}
    logs/nowhere: {{receivers: [forward/out], exporters: [otlp_http/nowhere]}}
"""


class Emitter:
    """A process of tests/kit/emitter.py, which does a round when it is told."""

    def __init__(self, service: str, folder: Path, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = (folder / "emitter.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("emitter.py")), service],
            cwd=folder, env=plain_environ(**environ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.counted: dict[str, int] = {}

    def start_round(self) -> None:
        """Tell it to do one."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish_round(self) -> dict[str, int]:
        """Wait until it has done one; what it counted since its start."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, Path(self.log.name).read_text()
        self.counted = json.loads(line)
        return self.counted

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)
        self.log.close()


class EmittingStack:
    """Prometheus, a collector and three emitters in `folder`; as a `with` block they are stopped at the end."""

    def __init__(self, folder: Path, scrape_s: float = 1, gpu_interval_s: float = 1) -> None:
        self.folder, self.scrape_s, self.gpu_interval_s = folder, scrape_s, gpu_interval_s
        nowhere, *self.endpoints = free_ports(3)
        layer = folder / "nowhere.yaml"
        layer.write_text(NOWHERE.format(port=nowhere))
        self.collector = LayeredCollector(folder, "base", "prometheus", layer, environ={})
        self.prometheus = Prometheus(folder, self._scraping())
        self.emitters: list[Emitter] = []
        self.at_rest = 0.0
        """When everything that had been done was in Prometheus, and nothing was being done."""

    def _scraping(self) -> dict[str, Any]:
        through = self.collector
        targets = {
            "otelml": self.endpoints,
            "otelml-collector": [through.prometheus_port],
            "otelcol": [through.self_port],
        }
        return {
            "global": {
                "scrape_interval": f"{self.scrape_s:g}s",
                "evaluation_interval": f"{self.scrape_s:g}s",
            },
            "rule_files": [str(path) for path in rule_files(self.folder)],
            "scrape_configs": [
                {
                    "job_name": job,
                    "honor_labels": job != "otelcol",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in chosen]}],
                }
                for job, chosen in targets.items()
            ],
        }

    def __enter__(self) -> EmittingStack:
        with ExitStack() as starting:
            starting.enter_context(self.collector)
            starting.enter_context(self.prometheus)
            for rank, port in enumerate(self.endpoints):
                environ = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
                self._emit(starting, DIRECT, OTEL_EXPORTER_PROMETHEUS_PORT=str(port), **environ)
            environ = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url,
                "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            }
            self._emit(starting, THROUGH_COLLECTOR, **environ)
            self._started = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def _emit(self, starting: ExitStack, service: str, **environ: str) -> None:
        folder = self.folder / f"emitter{len(self.emitters)}"
        emitter = Emitter(service, folder, OTELML_GPU_INTERVAL=f"{self.gpu_interval_s:g}s", **environ)
        starting.callback(emitter.stop)
        self.emitters.append(emitter)

    def do_rounds(self, count: int = 1) -> None:
        """All emitters do so many, side by side."""
        for _ in range(count):
            for emitter in self.emitters:
                emitter.start_round()
            for emitter in self.emitters:
                emitter.finish_round()

    def wait_for_scrape(self) -> None:
        """Until Prometheus shows all rounds that were done, to their last stage, in a scrape that began after this."""
        began = time.time()
        for service in (DIRECT, THROUGH_COLLECTOR):
            done = sum(each.counted["last_stages"] for each in self.emitters_of(service))
            last = f'ml_stage_duration_seconds_count{{service_name="{service}", ml_stage_name="tokenize"}}'
            counted = f"sum({last}) == {done} and min(timestamp({last})) > {began}"
            wait_until(lambda counted=counted: self.prometheus.query(counted), counted)

    def emitters_of(self, service: str) -> Iterable[Emitter]:
        """Those of one service."""
        return self.emitters[:2] if service == DIRECT else self.emitters[2:]


def rule_files(folder: Path) -> Iterable[Path]:
    """The rules that ship, over the last minute in place of the last hour, and one alert that always fires."""
    always = {
        "alert": "Always",
        "expr": "vector(1) == 1",
        "labels": {"service_name": DIRECT, "severity": "info"},
    }
    (folder / "always.yaml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": [always]}]}))
    yield folder / "always.yaml"
    for path in sorted(RULES.glob("*.yaml")):
        copy = folder / path.name
        copy.write_text(path.read_text().replace("[1h]", "[1m]"))
        yield copy
