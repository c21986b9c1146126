# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as metrics, in the text format that the node exporter's textfile collector reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from llmdesk.report import VERDICTS


def text(report: dict[str, Any]) -> str:
    """Return the metrics of a report.

    Names follow https://prometheus.io/docs/practices/naming: base units, and no timestamps of their own, which the
    collector refuses. ``desk`` is a desk's name; what is not known of one has no line.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(name: str, about: str, *labels: str) -> Any:
        return Gauge(f"llmdesk_{name}", about, ["desk", *labels], registry=registry)

    verdict = gauge("desk_verdict", "1 for the verdict on the desk, 0 for the others.", "verdict")
    info = gauge("desk_info", "Versions and model of the desk.", "model", "open_webui", "ollama", "docker", "driver")
    drifted = gauge("desk_drift_findings", "What the last look for drift has found.")
    values = {
        "last_run_timestamp_seconds": gauge(
            "desk_last_run_timestamp_seconds", "When the last run over the desk ended."
        ),
        "last_run_duration_seconds": gauge("desk_last_run_duration_seconds", "How long the desk's last run took."),
        "last_seen": gauge("desk_last_seen_timestamp_seconds", "When a run last saw what the desk is."),
        "proved": gauge("desk_proof_timestamp_seconds", "When the page last answered a question."),
        "speed": gauge("desk_tokens_per_second", "Speed of the last answer."),
        "first": gauge("desk_first_token_seconds", "Time to the first token of the last answer."),
        "needs": gauge("desk_model_memory_bytes", "What the model takes in memory."),
        "vram": gauge("desk_gpu_memory_bytes", "Memory of the desk's GPUs."),
        "free": gauge("desk_disk_free_bytes", "Free space where Docker keeps its data."),
        "total": gauge("desk_disk_size_bytes", "Size of the disk where Docker keeps its data."),
    }
    for one in report["desks"]:
        for name in VERDICTS:
            verdict.labels(one["host"], name).set(one["verdict"] == name)
        drifted.labels(one["host"]).set(sum(need["where"] == "drift" for need in one["needs"]))
        if one["versions"].get("open_webui"):
            versions = (one["versions"].get(name) or "" for name in ("open_webui", "ollama", "docker", "driver"))
            info.labels(one["host"], one["model"] or "", *versions).set(1)
        disk = one["disk"] or {}
        found = {
            "last_run_timestamp_seconds": _seconds(one["at"]),
            "last_run_duration_seconds": one["seconds"],
            "last_seen": _seconds(one["seen_at"]),
            "proved": _seconds(one["proved_at"]),
            "speed": one["tokens_per_s"],
            "first": one["seconds_to_first_token"],
            "needs": one["needs_bytes"],
            "vram": one["vram"],
            "free": disk.get("available"),
            "total": disk.get("total"),
        }
        for name, value in found.items():
            if value is not None:
                values[name].labels(one["host"]).set(value)
    return generate_latest(registry).decode()


def _seconds(at: str | None) -> float | None:
    return datetime.fromisoformat(at).timestamp() if at else None
