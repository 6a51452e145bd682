"""Every error that tinyseq raises on purpose. Each message says what, where, why and what to do."""

from __future__ import annotations

from tinyseq.common.text import printable


class _Said:
    """A message on one line; what names from files hold for terminals is written out."""

    def __str__(self) -> str:
        return printable(super().__str__())


class TinyseqError(_Said, Exception):
    """The root of all of them."""


class ModelError(TinyseqError):
    """A file cannot be read, or what it holds is not a model that tinyseq can run."""


class UnsupportedError(ModelError):
    """What is asked for is valid, but tinyseq does not do it: an op, an attribute, a setting."""


class PlanError(UnsupportedError):
    """A plan would read or write elements of another size or kind than they have: a fault in tinyseq."""


class FeedError(TinyseqError, ValueError):
    """What is given to a model or a search does not fit it."""


class OptionError(FeedError):
    """An option is unknown or out of its range, or does not fit another one or the model."""


class StateError(TinyseqError, ValueError):
    """A saved state does not fit the stream that it is given to, or a stream is in use by somebody else."""


class ConversionWarning(_Said, UserWarning):
    """Numbers are stored or given in another precision than tinyseq computes in, or nothing reads them."""


class BroadcastWarning(_Said, UserWarning):
    """A constant made for one row of a batch stands for all rows."""


class ChunkWarning(_Said, UserWarning):
    """Chunks of a stream may give other results than a run of the whole."""


class VocabularyWarning(_Said, UserWarning):
    """A language model or a lexicon has words that the vocabulary's tokens cannot spell."""


class KernelsError(TinyseqError):
    """The compiled kernels are missing, stale or not for this machine."""


class BuildError(TinyseqError):
    """The kernels could not be built."""


class MissingPackageError(TinyseqError, ImportError):
    """An optional package is needed and not installed."""


class AudioError(TinyseqError):
    """A sound file cannot be read, or no sound is in it."""


class PictureError(TinyseqError):
    """A picture cannot be written."""


class UnavailableError(TinyseqError):
    """A published package cannot be had, or does not hold the file that is wanted of it."""


class DeviceError(TinyseqError):
    """A device is unknown, its driver or the package that it needs is not there, or the device failed."""
