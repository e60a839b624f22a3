"""Everything that reaches into Lightning: its Trainer, callbacks, checkpoints, loggers, signals and ranks."""
