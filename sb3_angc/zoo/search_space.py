"""What ``train -optimize`` searches for ANGC."""

from typing import Any

import optuna
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import SimpleLinearSchedule
from stable_baselines3.common.utils import LinearSchedule

CIRCUIT_SETTINGS = (
    "inference_steps",
    "step_size",
    "output_precision",
    "feedback",
    "alignment_decay",
)
NET_ARCHS = {"small": [64, 64], "medium": [256, 256], "big": [400, 300]}


def sample_angc_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Sample settings of ANGC. A trial whose circuits diverge raises ``ValueError``, on which the Zoo prunes it.

    :param trial: Optuna's trial
    :param n_actions: How many numbers a continuous action has; 0 for others
    :param n_envs: not used
    :param additional_args: not used
    :return: arguments for ``ANGC``
    """
    feedback = trial.suggest_categorical("feedback", ["learned", "tied"])
    # The target controller follows a little at every step, or is copied now and then.
    tau = trial.suggest_categorical("tau", [0.002, 0.005, 0.02, 1.0])
    alpha_epistemic = trial.suggest_categorical("alpha_epistemic", [0.0, 0.01, 0.03, 0.1, 0.5, 1.0])
    sampled = {
        # Q-learning, around the Zoo's tuned settings of DQN
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "learning_rate_schedule": trial.suggest_categorical("learning_rate_schedule", ["constant", "linear"]),
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 0.003, 0.05, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 5, 8),
        "train_freq_pow": trial.suggest_int("train_freq_pow", 0, 8),
        "updates_per_step": trial.suggest_categorical("updates_per_step", [0.25, 0.5, 1.0]),
        "tau": tau,
        "exploration_fraction": trial.suggest_float("exploration_fraction", 0.05, 0.5),
        "exploration_final_eps": trial.suggest_float("exploration_final_eps", 0.01, 0.15),
        "alpha_epistemic": alpha_epistemic,
        # The circuits
        "net_arch": trial.suggest_categorical("net_arch", list(NET_ARCHS)),
        "inference_steps": trial.suggest_int("inference_steps", 1, 20, log=True),
        "step_size": trial.suggest_float("step_size", 0.1, 1.0),
        "output_precision": trial.suggest_float("output_precision", 1e-3, 1.0, log=True),
        "feedback": feedback,
    }
    if feedback == "learned":
        sampled["alignment_decay"] = trial.suggest_float("alignment_decay", 0.1, 10, log=True)
    if tau == 1:
        sampled["target_update_interval"] = trial.suggest_int("target_update_interval", 10, 2000, log=True)
    if alpha_epistemic:
        sampled["epistemic_scale"] = trial.suggest_categorical("epistemic_scale", ["maximum", "mean"])
    if n_actions > 0:
        sampled["action_bins"] = trial.suggest_categorical("action_bins", [2, 3, 5])
        sampled["exploration_steps"] = trial.suggest_categorical("exploration_steps", [1, 8, 64])
    arguments = convert_angc_params(sampled)
    # The Zoo reads a settings file's schedules, and those of a stored trial, but not a sample's.
    return with_sb3_schedule(ExperimentManager._preprocess_schedules(arguments))


def with_sb3_schedule(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """
    Settings with SB3's own linear schedule of the learning rate in the place of the Zoo's. Safe files hold
    it; of the Zoo's they would hold the present value, after training 0.

    :param hyperparams: Settings as the Zoo has prepared them
    :return: The same but for the schedule
    """
    rate = hyperparams.get("learning_rate")
    if isinstance(rate, SimpleLinearSchedule):
        return {**hyperparams, "learning_rate": LinearSchedule(rate.initial_value, 0.0, 1.0)}
    return hyperparams


def convert_angc_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    From what Optuna stores to arguments of ``ANGC``. The Zoo calls it for a stored trial as well
    (``--trial-id``), so every transformation is here.

    :param sampled_params: the parameters of a trial
    :return: arguments for ``ANGC``
    """
    params = dict(sampled_params)
    circuit_kwargs = {name: params.pop(name) for name in CIRCUIT_SETTINGS if name in params}
    train_freq = 2 ** params.pop("train_freq_pow")
    # The Zoo replaces the whole of the settings file's policy_kwargs.
    policy_kwargs: dict[str, Any] = {
        "net_arch": NET_ARCHS[params.pop("net_arch")],
        "circuit_kwargs": circuit_kwargs,
    }
    policy_kwargs.update(
        {name: params.pop(name) for name in ("epistemic_scale", "action_bins") if name in params}
    )
    if params.pop("learning_rate_schedule") == "linear":
        params["learning_rate"] = f"lin_{params['learning_rate']}"
    return {
        "gamma": 1 - params.pop("one_minus_gamma"),
        "batch_size": 2 ** params.pop("batch_size_pow"),
        "train_freq": train_freq,
        "gradient_steps": max(round(train_freq * params.pop("updates_per_step")), 1),
        "policy_kwargs": policy_kwargs,
        "target_update_interval": params.pop("target_update_interval", 1),
        **params,
    }
