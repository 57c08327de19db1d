"""Which precisions a training may have, and half precision without half-precise data."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, Precision
from torch import nn

from spacecast.core.errors import UserError, nearest

AUTO = "auto"
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
HALVES = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


class HalfModel(Precision):
    """Weights and activations of the model in half precision, everything else in single precision.

    Lightning's own plugin casts the data as well: physical values beyond 65504 or below 1e-8 do not survive that. Here
    they are standardised first, and the loss is summed in single precision. The formulas of physics in the model
    (those with `in_single_precision`) take and give half-precise states, and compute in single precision.

    Args:
        precision: `bf16-true` or `16-true`.

    """

    def __init__(self, precision: Any) -> None:
        self.precision = precision

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Cast the step model of a `ForecastModule`, but for formulas, whose numbers are in physical units."""
        model = module.get_submodule("model")
        formulas = [part for part in model.modules() if getattr(part, "in_single_precision", False)]
        exact = {part for formula in formulas for part in formula.modules()}
        kept = [(part, name, value) for part in exact for name, value in part.named_buffers(recurse=False)]
        model.to(HALVES[self.precision])
        for part, name, value in kept:
            setattr(part, name, value)
        return module


def best_precision(accelerator: str) -> str:
    """`bf16-mixed` where matrices are multiplied in bfloat16 several times as fast, else `32-true`.

    That is on a GPU of the last years, and on a processor with AMX tiles; others convert number by number.

    Args:
        accelerator: `auto`, `cpu`, `gpu` or `cuda`, as Lightning takes it.

    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = accelerator in ("auto", "cpu") and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16-mixed" if fast else "32-true"


def check_precision(wanted: Any) -> None:
    """Refuse what was never tried.

    Args:
        wanted: as typed; numbers and names without a second part are Lightning's short forms.

    Raises:
        UserError: it is no precision, or one of libraries that spacecast does not use.

    """
    short = {None, 16, 32, 64, "16", "32", "64", "bf16", AUTO}
    if wanted not in PRECISIONS and wanted not in short:
        hint = nearest(str(wanted), (*PRECISIONS, AUTO))
        raise UserError(f"trainer.precision={wanted}: there is no such precision here; {hint}")


def chosen_precision(wanted: Any, accelerator: str) -> Any:
    """What a trainer is asked for, checked, `auto` replaced by the best of the machine."""
    check_precision(wanted)
    return best_precision(accelerator) if wanted == AUTO else wanted


def set_precision(trainer: pl.Trainer, wanted: Any) -> None:
    """Let a trainer have the precision that was asked for.

    Raises:
        UserError: Lightning has taken another one, for it has no scaled gradients on a processor.

    """
    if str(wanted) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise UserError(f"trainer.precision={wanted} needs a GPU; on a processor take bf16-mixed")
    if type(trainer.precision_plugin) is HalfPrecision:
        trainer.strategy.precision_plugin = HalfModel(trainer.precision)


def widen(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Make a module of double precision what it will be before its checkpoint is loaded, which would be rounded else.

    Lightning loads the weights first, and then converts the module.
    """
    if isinstance(trainer.precision_plugin, DoublePrecision):
        trainer.precision_plugin.convert_module(module)
