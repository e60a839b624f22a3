"""What all tests share: Hypothesis without a clock, since a machine that runs other jobs is slow by chance."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared machine",
    deadline=None,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("shared machine")
