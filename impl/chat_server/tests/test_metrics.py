"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from chat_server.metrics import Metrics


def numbers(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Each number by its name and label."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_turns_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("complete", "failed", "complete"):
        metrics.ended(outcome)

    assert numbers(metrics)["chat_turns_total", "complete"] == 2
    assert numbers(metrics)["chat_turns_total", "failed"] == 1


def test_refusals_are_counted_by_code() -> None:
    metrics = Metrics()
    metrics.refused("busy")

    assert numbers(metrics)["chat_refused_total", "busy"] == 1


def test_waits_for_the_first_token_are_measured() -> None:
    metrics = Metrics()
    for seconds in (0.2, 3.0):
        metrics.first_token(seconds)

    counted = numbers(metrics)
    assert counted["chat_first_token_seconds_count", ""] == 2
    assert counted["chat_first_token_seconds_sum", ""] == 3.2
    assert counted["chat_first_token_seconds_bucket", "0.25"] == 1


def test_gauge_is_read_on_each_render() -> None:
    metrics, here = Metrics(), [1]
    metrics.watch("chat_here", "who is here", lambda: len(here))
    assert numbers(metrics)["chat_here", ""] == 1

    here.append(2)

    assert numbers(metrics)["chat_here", ""] == 2


def test_servers_of_one_process_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.refused("busy")

    assert ("chat_refused_total", "busy") not in numbers(two)
