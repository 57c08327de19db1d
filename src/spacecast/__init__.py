"""spacecast: graph-based neural forecasting of the near-Earth plasma."""

TYPE_CHECKING = False  # what typing has of this name, without the time that importing it takes
if TYPE_CHECKING:
    from spacecast.app.loading import load
    from spacecast.app.trained_model import TrainedModel
    from spacecast.core.errors import UserError

__version__ = "0.1.0"
__all__ = ["TrainedModel", "UserError", "__version__", "load"]

PLACES = {"load": "app.loading", "TrainedModel": "app.trained_model", "UserError": "core.errors"}


def __getattr__(name: str) -> object:
    """Public names are imported when they are first used: the package alone is imported at once."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
