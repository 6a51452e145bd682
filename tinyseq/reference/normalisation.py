"""Normalisations."""

from __future__ import annotations

import numpy as np

from tinyseq.reference.common import defines


def _by_channel(vector, x):
    """A vector over the channels of x[N, C, ...]."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))


@defines("BatchNormalization")
def batch_normalization(x, scale, bias, mean, variance, *, epsilon, momentum, training_mode):
    scale, bias, mean, variance = (_by_channel(v, x) for v in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def _standardised(x, axes, epsilon: float):
    """x less its mean over its deviation, the mean, and one over the deviation."""
    with np.errstate(invalid="ignore"):
        count = np.prod([x.shape[axis] for axis in axes])
        mean = np.sum(x, axes, keepdims=True) / count
        inverse = 1 / np.sqrt(np.sum((x - mean) ** 2, axes, keepdims=True) / count + epsilon)
        return (x - mean) * inverse, mean, inverse


@defines("InstanceNormalization")
def instance_normalization(x, scale, bias, *, epsilon):
    y, *_ = _standardised(x, tuple(range(2, x.ndim)), epsilon)
    return y * _by_channel(scale, x) + _by_channel(bias, x)


@defines("LayerNormalization")
def layer_normalization(x, scale, bias=None, *, axis, epsilon, stash_type):
    y, mean, inverse = _standardised(x, tuple(range(axis % x.ndim, x.ndim)), epsilon)
    y = y * scale
    return y if bias is None else y + bias, mean, inverse


@defines("GroupNormalization")
def group_normalization(x, scale, bias, *, num_groups, epsilon, stash_type):
    groups = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])
    y, *_ = _standardised(groups, tuple(range(2, groups.ndim)), epsilon)
    return y.reshape(x.shape) * _by_channel(scale, x) + _by_channel(bias, x)


@defines("RMSNormalization")
def rms_normalization(x, scale, *, axis, epsilon, stash_type):
    axes = tuple(range(axis % x.ndim, x.ndim))
    with np.errstate(invalid="ignore"):
        count = np.prod([x.shape[each] for each in axes])
        return x / np.sqrt(np.sum(x * x, axes, keepdims=True) / count + epsilon) * scale


@defines("MeanVarianceNormalization")
def mean_variance_normalization(x, *, axes):
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.prod([x.shape[axis] for axis in axes])
        centred = x - np.sum(x, axes, keepdims=True) / count
        return centred / (np.sqrt(np.sum(centred**2, axes, keepdims=True) / count) + 1e-9)


@defines("LpNormalization")
def lp_normalization(x, *, axis, p):
    norm = np.sum(np.abs(x), axis, keepdims=True)
    if p == 2:
        norm = np.sqrt(np.sum(x * x, axis, keepdims=True))
    # What has no length stays zero.
    return x / np.where(norm == 0, 1, norm)
