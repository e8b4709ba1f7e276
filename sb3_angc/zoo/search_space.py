"""What ``train -optimize`` searches for ANGC."""

from typing import Any

import optuna

NET_ARCHS = {"small": [64, 64], "medium": [256, 256], "big": [400, 300]}


def sample_angc_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Search space of ANGC for ``train -optimize``. A trial that diverges raises ``ValueError``,
    which the Zoo counts as pruned.

    :param trial: Optuna's trial
    :param n_actions: not used, the Zoo knows it for continuous actions only
    :param n_envs: not used
    :param additional_args: not used
    :return: settings for ``ANGC``
    """
    return convert_angc_params({})


def convert_angc_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    From what Optuna stores to settings of ``ANGC``. The Zoo calls it for a stored trial too
    (``--trial-id``), so every transformation is here.

    :param sampled_params: the parameters of a trial
    :return: settings for ``ANGC``
    """
    return dict(sampled_params)
