"""The worker's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """The worker's registry and its instruments."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "keyscope_worker_requests",
            "Requests by how they ended: done, cancelled, or the code of the error",
            ["outcome"],
            registry=self.registry,
        )
        self.tokens = Counter("keyscope_worker_tokens", "Tokens generated, both branches", registry=self.registry)
        self.waiting = Gauge("keyscope_worker_waiting", "Requests waiting for their turn", registry=self.registry)
        self.running = Gauge("keyscope_worker_running", "Requests being served, 0 or 1", registry=self.registry)
        self.queue_seconds = Histogram(
            "keyscope_worker_queue_seconds",
            "Time a request waited for its turn",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.work_seconds = Histogram(
            "keyscope_worker_work_seconds",
            "Time a request took, from its turn to its end",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def ended(self, outcome: str) -> None:
        """Count a request by how it ended."""
        self.requests.labels(outcome).inc()
