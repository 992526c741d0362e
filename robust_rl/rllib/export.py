"""From an RLlib algorithm, or its checkpoint, to a policy that needs neither Ray nor torch.

What lies between an environment and an action is read from the checkpoint: the connectors that prepare observations, the module,
and the connector that scales actions. Anything that isn't understood is refused by name, and at the end the exported policy is
compared with the module on random inputs, so a silent difference can't get out.

Ray's checkpoints are pickles: reading one executes what it says. Export from your own only, and hand on what
:meth:`~robust_rl.rllib.NetworkPolicy.save` writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.rllib._compat import EnvToModulePipeline, ModuleToEnvPipeline, RLModule, RunningStat
from robust_rl.rllib.network_policy import Layer, NetworkPolicy, Normalisation

PASSED = (
    "AddObservationsFromEpisodesToBatch", "AddStatesFromEpisodesToBatch", "AddTimeDimToBatchAndZeroPad", "AgentToModuleMapping",
    "BatchIndividualItems", "NumpyToTensor",
)  # fmt: skip
"""Connectors that carry observations to the module as they are."""
KINDS = {"ELU": "elu", "ReLU": "relu", "Sigmoid": "sigmoid", "SiLU": "silu", "Tanh": "tanh"}
SMALL = 1e-8  # what Ray's filter adds to standard deviations


def export_policy(algo_or_path: Any, module_id: str = "default_policy") -> NetworkPolicy:
    """Return a trained policy as plain arrays.

    Parameters
    ----------
    algo_or_path : ray.rllib.algorithms.Algorithm or path
        An algorithm, or a checkpoint of one that you wrote yourself (``algo.save_to_path(path)``): reading pickles executes them.
        Ray need not run.
    module_id : str
        Which policy of a multi-agent algorithm; there an agent's name, if each has its own.

    Returns
    -------
    NetworkPolicy
        The greedy policy of a DQN (without distributional Q-values), or that of a PPO, with networks of dense layers.

    Raises
    ------
    InvalidArgumentError
        If there is no such module, or something between the environment and the action can't be exported: a convolution, a
        memory, an unknown connector, a filter without statistics. The message names it.
    FileFormatError
        If the path holds no checkpoint of an algorithm.

    Examples
    --------
    ::

        policy = export_policy(algo)
        policy.predict(observation)
        policy.save("cart_pole")                  # NetworkPolicy.load reads it where Ray isn't installed
    """
    if isinstance(algo_or_path, str | Path):
        return _from_checkpoint(Path(algo_or_path).absolute(), module_id)
    with tempfile.TemporaryDirectory() as directory:
        algo_or_path.save_to_path(directory)
        return _from_checkpoint(Path(directory), module_id)


def policy_of(module: Any, observation_space: Any, *, normalisation: Normalisation | None, rescale: bool) -> NetworkPolicy:
    """Return the policy of an RLModule, given the space of observations before its connectors.

    Raises
    ------
    InvalidArgumentError
        If the module has parts that can't be exported.
    """
    head, parts, log_std = _parts(module)
    layers = [layer for part in parts for layer in _layers(part)]
    if head != "greedy":
        head = "categorical" if isinstance(module.action_space, spaces.Discrete) else "gaussian"
    if head == "gaussian" and not isinstance(module.action_space, spaces.Box):
        raise InvalidArgumentError(f"actions in {module.action_space} can't be exported; only Discrete and Box")
    policy = NetworkPolicy(head, layers, observation_space, module.action_space, normalisation, log_std, rescale)
    _check(policy, module)
    return policy


def _from_checkpoint(path: Path, module_id: str) -> NetworkPolicy:
    modules = path / "learner_group" / "learner" / "rl_module"
    if not modules.is_dir():
        raise FileFormatError(f"{path} holds no checkpoint of an RLlib algorithm; give what algo.save_to_path wrote")
    if not (modules / module_id).is_dir():
        known = ", ".join(sorted(folder.name for folder in modules.iterdir() if folder.is_dir()))
        raise InvalidArgumentError(f"module_id={module_id!r}; the checkpoint has {known}")
    module = RLModule.from_checkpoint(modules / module_id)
    # with remote runners alone the connectors lie beside the folder of the driver's runner
    home = path / "env_runner" if (path / "env_runner").is_dir() else path
    observe = EnvToModulePipeline.from_checkpoint(home / "env_to_module_connector")
    act = ModuleToEnvPipeline.from_checkpoint(home / "module_to_env_connector")
    space, normalisation = observed(observe, module)
    return policy_of(module, space, normalisation=normalisation, rescale=_rescales(act))


def observed(pipeline: Any, module: Any) -> tuple[Any, Normalisation | None]:
    """Return the space that an env-to-module pipeline starts from, and the filter in it.

    Raises
    ------
    InvalidArgumentError
        If a connector can't be exported; the message names it.
    """
    custom = [connector for connector in pipeline.connectors if type(connector).__name__ not in PASSED]
    if not custom:
        return module.observation_space, None
    space, normalisation = custom[0].input_observation_space, None
    if isinstance(space, spaces.Dict):
        raise InvalidArgumentError(
            f"{type(custom[0]).__name__} of several agents can't be exported; prepare observations in the environment"
        )
    for connector in custom:
        name = type(connector).__name__
        if name == "MeanStdFilter" and isinstance(space, spaces.Box):
            normalisation = _filter(connector.get_state())
        elif name != "FlattenObservations" or not isinstance(space, spaces.Box | spaces.Discrete):
            raise InvalidArgumentError(
                f"the connector {name} on {space} can't be exported; prepare observations in the environment"
            )
    return space, normalisation


def _filter(state: Mapping[Any, Any]) -> Normalisation:
    """Return a running filter's statistics as they are now."""
    if len(state) != 1:
        raise InvalidArgumentError(f"a MeanStdFilter of {len(state)} agents can't be exported; each policy needs one of its own")
    (content,) = state.values()
    (running,) = content["running_stats"]
    seen = RunningStat.from_state(running)
    if seen.n < 1:
        raise InvalidArgumentError("the MeanStdFilter has seen no observation; train before exporting")
    limit = content["clip_by_value"]
    return Normalisation(
        seen.mean.astype(np.float64) if content["de_mean_to_zero"] else np.zeros(seen.shape),
        seen.std.astype(np.float64) + SMALL if content["de_std_to_one"] else np.ones(seen.shape),
        None if not limit else float(limit),
    )


def _rescales(pipeline: Any) -> bool:
    scaling = [c for c in pipeline.connectors if type(c).__name__ == "NormalizeAndClipActions"]
    return any(connector.normalize_actions for connector in scaling)


def _parts(module: Any) -> tuple[str, Sequence[Any], Any]:
    """Return how outputs become actions, the networks in order, and the spread of a gaussian head.

    A dueling DQN's Q-values are its advantages plus what is the same for all actions, so the advantages decide.
    """
    log_std = None
    if hasattr(module, "af") and hasattr(module, "encoder"):
        if getattr(module, "num_atoms", 1) != 1:
            raise InvalidArgumentError(f"num_atoms={module.num_atoms}: distributional Q-values can't be exported; train with 1")
        return "greedy", (module.encoder, module.af), log_std
    if hasattr(module, "pi") and hasattr(getattr(module, "encoder", None), "_forward"):
        encoder = module.encoder
        shared = getattr(encoder, "actor_encoder", None) or getattr(encoder, "encoder", encoder)
        if hasattr(module.pi, "log_std"):
            log_std = module.pi.log_std.detach().cpu().numpy()
        return "actor", (shared, module.pi), log_std
    raise InvalidArgumentError(f"{type(module).__name__} can't be exported; only the default modules of DQN and PPO can")


def _layers(network: Any) -> list[Layer]:
    """Return the dense layers of one of RLlib's networks."""
    found = []
    for part in getattr(getattr(network, "net", None), "mlp", [network]):
        name = type(part).__name__
        if name not in ("Linear", "LayerNorm", "Identity", *KINDS):
            raise InvalidArgumentError(
                f"{name} can't be exported; only dense layers can. RLModule.from_checkpoint loads all modules"
            )
        arrays = {key: value.detach().cpu().numpy().copy() for key, value in part.state_dict().items()}
        if name in ("Linear", "LayerNorm"):
            found.append(Layer(name.lower(), arrays["weight"], arrays.get("bias"), float(getattr(part, "eps", 0.0))))
        elif name in KINDS:
            found.append(Layer(KINDS[name]))
    return found


def _check(policy: NetworkPolicy, module: Any) -> None:
    """Raise unless the arrays compute what the module computes."""
    import torch

    x = np.random.default_rng(0).normal(size=(64, module.observation_space.shape[0])).astype(np.float32)
    with torch.no_grad():
        outputs = module.forward_inference({"obs": torch.from_numpy(x).to(next(module.parameters()).device)})
    ours = policy._network(x)
    if policy.head == "greedy":
        agrees = ours.argmax(axis=1) == outputs["actions"].cpu().numpy()
        decided = np.diff(np.sort(ours, axis=1)[:, -2:])[:, 0] > 1e-4
        same = bool(agrees[decided].all()) if ours.shape[1] > 1 else True
    else:
        theirs = outputs["action_dist_inputs"].cpu().numpy()[:, : ours.shape[1]]
        same = np.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    if not same:
        raise InvalidArgumentError(
            f"{type(module).__name__} computes something that its dense layers don't; it can't be exported"
        )
