"""Decides (pure ``plan_transfer``) and applies (the only mutation) what is copied, frozen, slowed, held."""

from rltransfer.records import Finding, PlanEntry
from rltransfer.transfer.apply import apply_plan
from rltransfer.transfer.hold import Transfer, hold_plan
from rltransfer.transfer.installation import equip
from rltransfer.transfer.plan import Plan, read_plan
from rltransfer.transfer.planning import plan_transfer

__all__ = ["Finding", "Plan", "PlanEntry", "Transfer", "apply_plan", "equip", "hold_plan", "plan_transfer", "read_plan"]
