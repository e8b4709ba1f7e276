"""The Zoo's manager of a training run, with what a plugin needs."""

import argparse
import copy
import importlib
import os
import tempfile
from typing import Any

import yaml  # type: ignore[import-untyped]
from rl_zoo3.exp_manager import ExperimentManager

# Settings of an algorithm where no -conf is given: the Zoo looks in its own package only.
SETTINGS = {"angc": "sb3_angc.hyperparams"}


class TrialNumber(int):
    """A trial's number, of which 0 is one too: the Zoo tests it for truth."""

    def __bool__(self) -> bool:
        return True


class Manager(ExperimentManager):
    """
    The Zoo's manager of a run, which also finds the settings of a plugin.

    :param args: the parsed arguments, which are saved beside the agent
    :param algo: the algorithm
    :param more: the Zoo's
    :param settings: the Zoo's
    """

    def __init__(self, args: argparse.Namespace, algo: str, *more: Any, **settings: Any) -> None:
        if settings.get("config") is None and algo in SETTINGS:
            settings["config"] = args.conf_file = SETTINGS[algo]
        super().__init__(args, algo, *more, **settings)
        if self.trial_id is not None:
            if not (self.storage and self.study_name):
                raise ValueError(
                    f"--trial-id {self.trial_id}: say of which study, --storage and --study-name"
                )
            self.trial_id = TrialNumber(self.trial_id)
        if self.optimize_hyperparameters:
            # Tuning leaves its run folder empty, and ``enjoy`` would take that for the newest run.
            self.unused_folder = tempfile.TemporaryDirectory()
            self.save_path = self.unused_folder.name
            self.params_path = os.path.join(self.save_path, self.env_name)

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        The settings of the run, from the settings file and the command line.

        :return: the settings, and those that are saved
        :raises ValueError: if the settings file cannot be read, or has none for the environment
        """
        env_name, config = self.env_name.gym_id, self.config
        is_file = config.endswith((".yml", ".yaml", ".py"))
        # The Zoo writes a run's own settings into the package's.
        shared = {} if is_file else vars(importlib.import_module(config)).get("hyperparams", {})
        before = copy.deepcopy(shared)
        try:
            settings: tuple[dict[str, Any], dict[str, Any]] = super().read_hyperparameters()
        except (AttributeError, KeyError, SyntaxError, TypeError, yaml.YAMLError) as error:
            raise ValueError(
                f"{config}: not a settings file, which maps environments to settings ({error})"
            ) from error
        except ValueError as error:
            if "Hyperparameters not found" not in str(error):
                raise
            raise ValueError(
                f"{config} has no section for {env_name}: add one, or one called 'default'"
            ) from error
        finally:
            if isinstance(shared, dict):
                shared.clear()
                shared.update(before)
        return settings

    def _preprocess_hyperparams(self, hyperparams: dict[str, Any]) -> Any:
        # The Zoo would name the missing key alone.
        for key, way_out, given in (
            ("n_timesteps", "-n", self.n_timesteps > 0),
            ("policy", "-params", False),
        ):
            if key not in hyperparams and not given:
                raise ValueError(
                    f"{self.config}: the settings for {self.env_name.gym_id} lack {key}: "
                    f"add it, or give {way_out}"
                )
        return super()._preprocess_hyperparams(hyperparams)

    def load_trial(
        self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True
    ) -> dict[str, Any]:
        """
        The hyperparameters of a trial.

        :param storage: journal file or database URL
        :param study_name: name of the study in it
        :param trial_id: number of the trial, ``None`` for the best one
        :param convert: whether to return arguments of the algorithm, not what was sampled
        :raises ValueError: if there is no such trial of this algorithm
        """
        try:
            if storage.endswith(".log") and not os.path.exists(storage):
                raise KeyError(storage)  # Optuna would make an empty one.
            trial: dict[str, Any] = super().load_trial(storage, study_name, trial_id, convert)
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"--trial-id {trial_id}: {storage} has no such trial of {self.algo} in a study {study_name!r}"
            ) from error
        return trial

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        # The budget that was used: where -n gives it, the Zoo would save that of the settings file.
        saved_hyperparams["n_timesteps"] = self.n_timesteps
        super()._save_config(saved_hyperparams)
