"""What all tests share: Hypothesis without a deadline, since a machine that runs other jobs misses it by chance."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("shared machine")
