"""Recognise the format of a state dict with a FasterNet in it, and translate the names of its tensors.

Our names are those of the authors' files; :data:`TIMM_NAMES` has timm's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import CheckpointError

#: More than any network has: the channels double at each stage.
_MOST_STAGES = 16
#: How tensors' names begin in timm, and in the released files and this package.
TIMM_NAMES = {
    'conv_head.': 'avgpool_pre_head.1.',
    'classifier.': 'head.',
    **{f'stages.{i}.blocks.': f'stages.{2 * i}.blocks.' for i in range(_MOST_STAGES)},
    **{f'stages.{i}.downsample.': f'stages.{2 * i - 1}.' for i in range(1, _MOST_STAGES)},
}
_RELEASED_NAMES = {ours: timm for timm, ours in TIMM_NAMES.items()}

#: Every FasterNet file has this tensor, with any prefix.
_ANCHOR = 'patch_embed.proj.weight'
_AVERAGED = ('state_dict_ema', 'model_ema')
#: The keys under which files keep their state dict; averaged weights first, as in timm.
_NESTS = (*_AVERAGED, 'state_dict', 'model')
#: A file can contain a dict that contains itself.
_MOST_NESTS = 16
_CLASSIFIER = re.compile(r'(avgpool_pre_head|head)\.')
_OUTPUT_NORM = re.compile(r'norm\d+\.')
_BATCH_NORM_BUFFER = re.compile(r'\.(running_mean|running_var|num_batches_tracked)$')
_MAY_START_FRESH = re.compile(r'norm\d+\..+|.+\.layer_scale|.+\.num_batches_tracked')
_SHOWN_MISMATCHES = 3


@dataclass(frozen=True)
class BackboneFit:
    """The tensors of a file, fitted to a FasterNet backbone.

    Args:
        source (str): The format of the file, for messages.
        tensors (dict[str, Tensor]): A tensor for each name of the network: from the file, or the network's own.
        loaded (list[str]): The network's names that the file fills.
        left_out (list[str]): Names in the file that the network does not use.
        fresh (list[str]): The network's names that keep their values.
    """

    source: str
    tensors: dict[str, Tensor]
    loaded: list[str]
    left_out: list[str]
    fresh: list[str]

    def summary(self) -> str:
        """Report in one line what was loaded, what was left out and what starts fresh."""
        parts = [f'FasterNet: loaded {len(self.loaded)} tensors from a {self.source}']
        for label, names in (('left out', self.left_out), ('start fresh', self.fresh)):
            parts.append(f'{label} {len(names)} ({_modules_of(names)})' if names else f'{label} none')
        return '; '.join(parts)


@dataclass(frozen=True)
class Weights:
    """The contents of a file with a FasterNet.

    Args:
        source (str): The format of the file, for messages.
        backbone (dict[str, Tensor]): The network's tensors under this package's names.
        classifier (dict[str, Tensor]): The tensors of its ImageNet head, likewise.
        others (dict[str, Tensor]): All other tensors, such as a neck's and heads', under the file's names.
        names (dict[str, str]): The file's name of each tensor of backbone and classifier.
    """

    source: str
    backbone: dict[str, Tensor]
    classifier: dict[str, Tensor]
    others: dict[str, Tensor]
    names: dict[str, str]

    def as_released(self) -> dict[str, Tensor]:
        """Name backbone and classifier as the authors' ImageNet files do."""
        return {**self.backbone, **self.classifier}

    def as_timm(self) -> dict[str, Tensor]:
        """Name backbone and classifier as timm does, which has no output norms."""
        released = self.as_released().items()
        return {_rename(key, _RELEASED_NAMES): value for key, value in released if not _OUTPUT_NORM.match(key)}

    def as_model(self) -> dict[str, Tensor]:
        """Name all tensors as a whole model of OpenMMLab does: classifier or detector."""
        return {
            **{f'backbone.{key}': value for key, value in self.backbone.items()},
            **{f'head.{key}': value for key, value in self.classifier.items()},
            **self.others,
        }


def recognise(source: Mapping[str, Any], where: str = '') -> Weights:
    """Recognise the format of a file, and name its tensors as this package does.

    Args:
        source (dict): Contents of the file: a state dict, or a checkpoint with one.
        where (str): The network's place in the whole model, such as ``'backbone'``, for the messages. Defaults to
            ``''``.

    Returns:
        Weights: Its contents.

    Raises:
        CheckpointError: If it has no FasterNet.
    """
    state_dict = _unwrap(source)
    prefix = _find_prefix(state_dict, where)
    root = prefix.removesuffix('backbone.')
    # a bare network has its classifier inside, mmpretrain's has it beside the backbone
    head = prefix if prefix == root else f'{root}head.'
    is_timm = any('.downsample.' in key or key.startswith(f'{prefix}conv_head.') for key in state_dict)
    translations = TIMM_NAMES if is_timm else {}
    backbone, classifier, others, names = {}, {}, {}, {}
    for key, value in state_dict.items():
        name = _rename(key.removeprefix(prefix), translations)
        inner = key.removeprefix(head) if head != prefix else name
        if key.startswith(head) and _CLASSIFIER.match(inner):
            classifier[inner], names[inner] = value, key
        elif key.startswith(prefix):
            backbone[name], names[name] = value, key
        else:
            others[key.removeprefix(root)] = value
    if is_timm:
        source_format = 'timm state dict'
    elif any(map(_OUTPUT_NORM.match, backbone)):
        source_format = "detector's checkpoint"
    elif classifier:
        source_format = 'released ImageNet file' if head == prefix else "classifier's checkpoint"
    else:
        source_format = 'FasterNet state dict'
    return Weights(source_format, backbone, classifier, others, names)


def fit_backbone(source: Mapping[str, Any], own: Mapping[str, Tensor], where: str = '') -> BackboneFit:
    """Fit a file's tensors to a FasterNet backbone.

    Args:
        source (dict): Contents of the file: a state dict, or a checkpoint with one.
        own (dict[str, Tensor]): The state dict of the network.
        where (str): The network's place in the whole model, such as ``'backbone'``, for the messages. Defaults to
            ``''``.

    Returns:
        BackboneFit: The tensors under the network's names, and the names of the others.

    Raises:
        CheckpointError: If the file has no FasterNet, or one of another shape.
    """
    weights = recognise(source, where)
    found = weights.backbone
    loaded, fresh, mismatches = [], [], []
    for key, value in own.items():
        if key not in found:
            if _MAY_START_FRESH.fullmatch(key):
                fresh.append(key)
            else:
                mismatches.append(f'{key} is not in the file')
        elif found[key].shape != value.shape:
            mismatches.append(f'{key} is {_shape(found[key])} in the file and {_shape(value)} here')
        else:
            loaded.append(key)
    stages_here = {_stage_of(key) for key in own}
    for key in found.keys() - own.keys():
        if key.startswith('stages.') and _stage_of(key) in stages_here and not _BATCH_NORM_BUFFER.search(key):
            mismatches.append(f'{key} is in the file and not here')
    if mismatches:
        more = len(mismatches) - _SHOWN_MISMATCHES
        raise CheckpointError(
            f'the file is a {weights.source} of another FasterNet than this model: '
            + '; '.join(sorted(mismatches, key=_position(own))[:_SHOWN_MISMATCHES])
            + (f'; and {more} more' if more > 0 else '')
            + '. Use the file of the variant that `arch` names'
        )
    unused = [weights.names[key] for key in (*found, *weights.classifier) if key not in own]
    tensors = {key: value if key in fresh else found[key] for key, value in own.items()}
    return BackboneFit(weights.source, tensors, loaded, [*weights.others, *unused], fresh)


def fit_classifier(source: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name the tensors of a classifier's file as an ``ImageClassifier`` of FasterNet and its head does.

    Args:
        source (dict): A state dict, in the authors' names or timm's, or one that is an ``ImageClassifier``'s already.

    Returns:
        dict[str, Tensor]: The tensors under ``backbone.`` and ``head.``.

    Raises:
        CheckpointError: If it has no FasterNet.
    """
    return recognise(source).as_model()


def fit_backbone_before_loading(network: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Fit a file's tensors to a backbone, and log which were loaded: a pre-hook of ``load_state_dict``.

    torch's and MMEngine's loaders, strict or not, call it before they load the backbone and its children.
    """
    fit = fit_backbone(_take(state_dict, prefix), network.state_dict(), where=prefix.rstrip('.'))
    print_log(fit.summary(), logger='current')
    state_dict.update({prefix + key: value for key, value in fit.tensors.items()})


def fit_classifier_before_loading(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Name a classifier's tensors as an ``ImageClassifier`` does: a pre-hook of ``load_state_dict``."""
    tensors = fit_classifier(_take(state_dict, prefix))
    state_dict.update({prefix + key: value for key, value in tensors.items()})


def with_averaged_first(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Put averaged weights of a FasterNet under ``state_dict``, the only key that MMEngine reads.

    Args:
        checkpoint (dict): Contents of a file.

    Returns:
        dict: The same, with its averaged weights under ``state_dict`` if it has both.
    """
    for nest in _AVERAGED:
        averaged = checkpoint.get(nest)
        if isinstance(averaged, Mapping) and any(str(key).endswith(_ANCHOR) for key in averaged):
            return {**checkpoint, 'state_dict': averaged}
    return checkpoint


def _take(state_dict: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take the tensors of one module out of a state dict, without the module's name."""
    return {key.removeprefix(prefix): state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}


def _unwrap(source: Mapping[str, Any]) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint and keep its tensors, by their names in a model that is not compiled."""
    for _ in range(_MOST_NESTS):
        inner = next((source[nest] for nest in _NESTS if isinstance(source.get(nest), Mapping)), None)
        if inner is None:
            tensors = {
                key: value for key, value in source.items() if isinstance(key, str) and isinstance(value, Tensor)
            }
            return {key.replace('_orig_mod.', ''): value for key, value in tensors.items()}
        source = inner
    raise CheckpointError(f'the file has state dicts in state dicts, more than {_MOST_NESTS}; expected one')


def _find_prefix(state_dict: Mapping[str, Tensor], where: str) -> str:
    """Find the prefix of the backbone's names, such as ``backbone.`` or ``model.``."""
    prefixes = [key.removesuffix(_ANCHOR) for key in state_dict if key == _ANCHOR or key.endswith('.' + _ANCHOR)]
    if not prefixes:
        place = f' under {where!r}' if where else ''
        raise CheckpointError(
            f'the file has no FasterNet{place}: looked for {_ANCHOR}, '
            f'found {", ".join(list(state_dict)[:_SHOWN_MISMATCHES]) or "no tensor"}. '
            'Weights for a backbone alone belong in its `init_cfg`, those of a whole model in `load_from`'
        )
    return min(prefixes, key=len)


def _rename(key: str, names: Mapping[str, str]) -> str:
    """Replace the beginning of a tensor's name."""
    old = next((old for old in names if key.startswith(old)), '')
    return names.get(old, '') + key.removeprefix(old)


def _stage_of(key: str) -> str:
    return '.'.join(key.split('.')[:2])


def _position(own: Mapping[str, Tensor]) -> Any:
    """Sort messages by the network's order; names that it does not have come last."""
    order = {key: index for index, key in enumerate(own)}
    return lambda message: (order.get(message.split()[0], len(order)), message)


def _shape(tensor: Tensor) -> str:
    return '×'.join(map(str, tensor.shape)) or 'a scalar'


def _modules_of(names: Iterable[str]) -> str:
    """Shorten tensor names to the modules that own them, the first few."""
    modules = list(dict.fromkeys(name.rpartition('.')[0] or name for name in names))
    shown = ', '.join(modules[:4])
    return shown + (f' and {len(modules) - 4} more modules' if len(modules) > 4 else '')
