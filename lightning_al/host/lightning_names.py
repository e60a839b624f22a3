"""Every private or undocumented name of Lightning that the library uses, each with what needs it.

No other file names one. `tests/host/test_private_names.py` removes each from Lightning and expects the error that names
it.
"""

from __future__ import annotations

from lightning_al.values.private_name import PrivateName


def _name(owner: str, path: str, purpose: str) -> PrivateName:
    return PrivateName("Lightning 2.4 to 2.6", owner, path, purpose)


# The package
IS_OVERRIDDEN = _name("pytorch_lightning", "utilities.model_helpers.is_overridden", "see which hooks a user defines")
INTERRUPT = _name("pytorch_lightning", "trainer.call._interrupt", "stop a run only once")
RANK_ZERO_LOG = _name("lightning_utilities.core.rank_zero", "log", "print each message of `fit` once a run")

# Trainer
CALLBACKS = _name("Trainer", "callbacks", "order the callbacks of a fit")
PROFILER = _name("Trainer", "profiler", "nest fits while a profiler records")
SANITY_CHECK_STEPS = _name("Trainer", "num_sanity_val_steps", "skip the sanity check after the first fit")
LOGS_BY_ITSELF = PrivateName(
    "Lightning 2.5.2 to 2.6", "Trainer", "enable_autolog_hparams", "log the hyperparameters once a run"
)
TRAIN_BATCH_LIMIT = _name("Trainer", "limit_train_batches", "end a fit before its first step")
PREDICT_BATCH_LIMIT = _name("Trainer", "limit_predict_batches", "score the pool outside a fit")
STAGE = _name("Trainer", "state.stage", "stop a run by a signal")
TEARDOWN = _name("Trainer", "_teardown", "stop a run by a signal")
CLUSTER = _name("Trainer", "_accelerator_connector.cluster_environment", "requeue a SLURM job between two fits")
USES_DISTRIBUTED_SAMPLER = _name(
    "Trainer", "_accelerator_connector.use_distributed_sampler", "count the points that a rank trains on"
)
IS_DISTRIBUTED = _name("Trainer", "_accelerator_connector.is_distributed", "count the points that a rank trains on")
RESOLVE_SAMPLER = _name("Trainer", "_data_connector._resolve_sampler", "split the points of a loader among ranks")

# Signals
ON_SIGTERM = _name("Trainer", "_signal_connector._sigterm_notifier_fn", "stop a run by SIGTERM")
RECEIVED_SIGTERM = _name("Trainer", "_signal_connector.received_sigterm", "stop a run by SIGTERM")
ON_REQUEUE = _name("Trainer", "_signal_connector._slurm_sigusr_handler_fn", "requeue a SLURM job")
RESTORE_SIGNALS = _name("Trainer", "_signal_connector.teardown", "stop a run by a signal")
KILL = _name("Launcher", "kill", "pass a signal on to the other ranks")

# Checkpoints
SELECT_CHECKPOINT = _name("Trainer", "_checkpoint_connector._select_ckpt_path", "choose the checkpoint of each fit")
IS_USERS_CHECKPOINT = _name("Trainer", "_checkpoint_connector._user_managed", "choose the checkpoint of each fit")
SLURM_CHECKPOINT = _name("Trainer", "_checkpoint_connector._hpc_resume_path", "resume a requeued SLURM job")
NEWEST_SLURM_CHECKPOINT = _name(
    "Trainer",
    "_checkpoint_connector._CheckpointConnector__max_ckpt_version_in_folder",
    "find the newest checkpoint of a SLURM job",
)
NEXT_SLURM_CHECKPOINT = _name("Trainer", "_checkpoint_connector.hpc_save_path", "name the checkpoint of a SLURM job")
CHECKPOINT_FOLDER = _name(
    "ModelCheckpoint", "_ModelCheckpoint__resolve_ckpt_dir", 'find the newest round for `ckpt_path="last"`'
)
LAST_CHECKPOINTS = _name("ModelCheckpoint", "_find_last_checkpoints", 'find the newest round for `ckpt_path="last"`')
EXCEPTION_CHECKPOINT = _name("OnExceptionCheckpoint", "ckpt_path", "resume from the checkpoint of an exception")

# Loops
FIT_LOOP = _name("Trainer", "fit_loop", "start each round like a new Trainer")
EPOCH_LOOP = _name("Trainer", "fit_loop.epoch_loop", "start each round like a new Trainer")
VALIDATION_LOOP = _name("Trainer", "fit_loop.epoch_loop.val_loop", "start each round like a new Trainer")
AUTOMATIC_OPTIMIZATION = _name(
    "Trainer", "fit_loop.epoch_loop.automatic_optimization", "start each round like a new Trainer"
)
MANUAL_OPTIMIZATION = _name("Trainer", "fit_loop.epoch_loop.manual_optimization", "start each round like a new Trainer")
EPOCH_PROGRESS = _name("Trainer", "fit_loop.epoch_progress", "count epochs from 0 in each round")
BATCH_PROGRESS = _name("Trainer", "fit_loop.epoch_loop.batch_progress", "count batches from 0 in each round")
SCHEDULER_PROGRESS = _name(
    "Trainer", "fit_loop.epoch_loop.scheduler_progress", "count scheduler steps from 0 in each round"
)
AUTOMATIC_PROGRESS = _name(
    "Trainer", "fit_loop.epoch_loop.automatic_optimization.optim_progress", "count steps from 0 in each round"
)
MANUAL_PROGRESS = _name(
    "Trainer", "fit_loop.epoch_loop.manual_optimization.optim_step_progress", "count steps from 0 in each round"
)
VALIDATION_PROGRESS = _name(
    "Trainer", "fit_loop.epoch_loop.val_loop.batch_progress", "count validation batches from 0 in each round"
)
LOGGER_STEP = _name(
    "Trainer", "fit_loop.epoch_loop._batches_that_stepped", "let the loggers' step grow over all rounds"
)
VALIDATION_LOADERS = _name("Trainer", "fit_loop.epoch_loop.val_loop._combined_loader", "count validation labels")
COMBINED_MODE = _name("CombinedLoader", "_mode", "count validation labels")

# Callbacks, loggers and profilers
TIMER_STARTS = _name("Timer", "_start_time", "let `max_time` hold for all rounds together")
TIMER_ENDS = _name("Timer", "_end_time", "let `max_time` hold for all rounds together")
PROFILER_SCHEDULE = _name("PyTorchProfiler", "_schedule", "profile each round on the same schedule")
CSV_ROWS = _name("ExperimentWriter", "metrics", "resume the table of a CSVLogger")

# Modules, datamodules and strategies
BEFORE_TRANSFER = _name("LightningModule", "_on_before_batch_transfer", "bring the pool's batches to the device")
LOGGED_METRICS = _name("LightningModule", "_metric_attributes", "forget the metrics that the last `setup` made")
RUNNING_HOOK = _name("LightningModule", "_current_fx_name", "end a fit before its test")
LOGS_HYPERPARAMETERS = _name(
    "LightningDataModule", "_log_hyperparams", "log the hyperparameters of a wrapped datamodule"
)
INITIAL_HYPERPARAMETERS = _name("LightningModule", "_hparams_initial", "keep secrets out of logs and checkpoints")
START_METHOD = _name("DDPStrategy", "_start_method", "refuse strategies that cannot nest fits")
