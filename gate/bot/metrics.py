"""What Prometheus may ask: how long pages take, what people and jobs do, whether notices arrive."""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry(auto_describe=True)
SECONDS = Histogram(
    "gate_bot_request_seconds",
    "Seconds that an HTTP request took, by route.",
    ["method", "route", "status"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DECISIONS = Counter(
    "gate_bot_decisions", "What people decided, and what was refused to them, by reason.", ["reason"], registry=REGISTRY
)
ASKED = Counter("gate_bot_asked", "Requests for approval that jobs made.", registry=REGISTRY)
SIGN_INS = Counter("gate_bot_sign_ins", "Sign-ins, by outcome.", ["outcome"], registry=REGISTRY)
NOTICES = Counter("gate_bot_notices", "Notices, by channel and outcome.", ["channel", "outcome"], registry=REGISTRY)


def exposition() -> bytes:
    """The text that a scrape gets."""
    return generate_latest(REGISTRY)
