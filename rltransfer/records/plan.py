"""What the plan of a run says, read without torch from ``<run>/rltransfer/plan.json``."""

import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from rltransfer.errors import RunError
from rltransfer.records.names import OWN_FOLDER, PLAN


class TensorFacts(BaseModel, frozen=True, extra="ignore"):
    """What a run's plan says of one tensor; ``rltransfer.transfer.PlanEntry`` explains each word."""

    tensor: str
    layer: str
    branch: str
    role: str
    shape: tuple[int, ...]
    origin: str
    permuted: bool = False
    trains: bool
    frozen: bool
    lr_scale: float = 1.0
    rank: int = 0
    held_until: int = 0
    shrink: float = 1.0
    perturb: float = 0.0
    pull: float = 0.0
    decay: float = 0.0
    importance: float = 0.0
    return_pull: float = 0.0

    @property
    def size(self) -> int:
        """The number of values in the tensor."""
        return math.prod(self.shape)


class StatisticsFacts(BaseModel, frozen=True, extra="ignore"):
    """What a run's plan says of the normalisation statistics."""

    observation: str = "none"
    hold_observation: bool = False
    reward: str = "none"


class FindingFacts(BaseModel, frozen=True, extra="ignore"):
    """Something about a transfer that its user should know."""

    severity: str
    words: str


class PlanFacts(BaseModel, frozen=True, extra="ignore"):
    """A run's plan as it lies on disk, for reading without torch."""

    entries: tuple[TensorFacts, ...]
    totals: dict[str, int] = {}
    statistics: StatisticsFacts = StatisticsFacts()
    critic_warmup_steps: int = 0
    quiet_steps: int | None = None
    statistics_steps: int = 0
    findings: tuple[FindingFacts, ...] = ()

    def same_moves(self, other: "PlanFacts") -> bool:
        """Returns whether two plans do the same, whatever they remark."""
        return self.model_copy(update={"findings": ()}) == other.model_copy(update={"findings": ()})


def moved_words(totals: Mapping[str, int]) -> str:
    """Returns how many values a plan moves, and of how many of the source's; one of them can go to several places.

    >>> moved_words({"moved": 320, "source_moved": 320, "source_values": 450})
    "320 of the source's 450"
    """
    moved, given, size = (totals.get(name, 0) for name in ("moved", "source_moved", "source_values"))
    if not size:
        return f"{moved:,}"
    if moved == given:
        return f"{moved:,} of the source's {size:,}"
    return f"{moved:,} (from {given:,} of the source's {size:,})"


def read_plan_facts(run_folder: Path) -> PlanFacts | None:
    """Returns what a run's plan says, None for a run that has no plan.

    Raises:
        RunError: The plan cannot be read.
    """
    path = run_folder / OWN_FOLDER / PLAN
    try:
        return PlanFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a plan: {error}") from None
