"""All that reaches into Lightning: trainer, callbacks, checkpoints, loggers, ranks."""
