"""Tells of throttling once an episode: the clocks of a hot GPU go down and up many times a minute."""

from __future__ import annotations

from otelml.gpu.device import Device

EPISODE_S = 60.0
"""An episode is over when its reason was absent for so long."""

WORTH_TELLING = frozenset(
    {"hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake", "board_limit", "reliability"}
)
"""Not the power cap, which a busy data-centre GPU always meets, nor clocks that somebody chose."""


class Episodes:
    """The throttling of one GPU."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}

    def notice(self, device: Device, reasons: set[str], now_s: float) -> None:
        """Emit `gpu_throttled` for each of the active `reasons` that begins an episode."""
        for reason in sorted(reasons & WORTH_TELLING):
            last_s = self._seen_s.get(reason)
            self._seen_s[reason] = now_s
            if last_s is None or now_s - last_s > EPISODE_S:
                device.tell("gpu_throttled", f"slowed down: {reason}", reason=reason)
