"""How large a slot of a cluster is and how many there may be: from the nodes that are there and those it may rent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.config.compute_options import ComputeOptions
from benchmark.errors import must

BOOTSTRAP = "~/ray_bootstrap_config.yaml"  # where `ray up` leaves its cluster file on the head
ANY_NUMBER = 1024  # slots, where nobody says how many nodes there may be


class Offer(NamedTuple):
    """Nodes of one kind."""

    cpus: float  # of one node
    gpus: float
    nodes: int = 1


class Shape(NamedTuple):
    """One slot, and how many there may be at once."""

    cpus: float  # that it reserves
    gpus: float
    threads: int  # that torch has in it
    most: int

    def fits(self, node: Offer) -> bool:
        """Whether a node has room for one, as long as nobody else uses it."""
        return node.cpus >= self.cpus and node.gpus >= self.gpus

    def on(self, offers: Sequence[Offer]) -> int:
        """How many have room on nodes."""
        return sum(self._each(offer) * offer.nodes for offer in offers if self.fits(offer))

    def _each(self, node: Offer) -> int:
        per_gpu = node.gpus / self.gpus if self.gpus else float("inf")
        return int(min(per_gpu, node.cpus / self.cpus))

    def __str__(self) -> str:
        """What a node must have: `1 GPU`, `2 CPUs`."""
        number, unit = (self.gpus, "GPU") if self.gpus else (self.cpus, "CPU")
        return f"{number:g} {unit}{'' if number <= 1 else 's'}"


def shape_of(options: ComputeOptions, offers: Sequence[Offer], *, fixed: bool = False) -> Shape | None:
    """The slot of a run: a GPU (or the share of one that is asked for) where there are any, else a CPU.

    Args:
        options: what the user asks for.
        offers: the nodes of the cluster, those that it has and those that it may rent.
        fixed: no other node can join.

    Returns:
        None where nobody says what a slot may have: no node has anything, and neither `--gpus` nor `--cpus` is given.

    Raises:
        UserError: a slot that is larger than every node there can be.
    """
    if fixed:
        _check(options, offers)
    least = Offer(options.cpus_per_slot or 0.0, options.gpus_per_slot or 0.0)
    offers = [
        item for item in offers if item.cpus >= least.cpus and item.gpus >= least.gpus and (item.cpus or item.gpus)
    ]
    if not offers:
        return _asked(options)
    if any(offer.gpus for offer in offers):
        return _of_gpus(options, [offer for offer in offers if offer.gpus])
    total = sum(offer.cpus * offer.nodes for offer in offers)
    largest = max(offer.cpus for offer in offers)
    size = options.cpus_per_slot or 1.0
    most = options.concurrency or max(1, sum(int(offer.cpus / size) * offer.nodes for offer in offers))
    wide = options.cpus_per_slot or min(largest, max(1.0, total // most))
    return Shape(min(wide, total / most), 0.0, max(1, int(wide)), most)


def _asked(options: ComputeOptions) -> Shape | None:
    if not options.gpus_per_slot and not options.cpus_per_slot:
        return None
    cpus = options.cpus_per_slot or 1.0
    return Shape(cpus, options.gpus_per_slot or 0.0, max(1, int(cpus)), options.concurrency or ANY_NUMBER)


def _of_gpus(options: ComputeOptions, offers: Sequence[Offer]) -> Shape:
    gpus = options.gpus_per_slot or 1.0
    slots = [max(1, int(offer.gpus / gpus)) for offer in offers]
    most = options.concurrency or sum(own * offer.nodes for own, offer in zip(slots, offers, strict=True))
    # a node's CPUs are shared by its GPUs; fewer slots than there could be leave more for each
    share = min(offer.cpus / own for own, offer in zip(slots, offers, strict=True))
    total = sum(offer.cpus * offer.nodes for offer in offers)
    wide = options.cpus_per_slot or min(max(offer.cpus for offer in offers), max(1.0, share // 1, total // most))
    return Shape(min(wide, total / most), gpus, max(1, int(wide)), most)


def _check(options: ComputeOptions, offers: Sequence[Offer]) -> None:
    for option, wanted, unit, largest in (
        ("--cpus", options.cpus_per_slot, "CPUs", max(offer.cpus for offer in offers)),
        ("--gpus", options.gpus_per_slot, "GPUs", max(offer.gpus for offer in offers)),
    ):
        if wanted and wanted > largest:
            raise must(
                option, f"at most the {largest:g} {unit} of the largest node", wanted, "lower it, or leave it out"
            )


def offers_of(nodes: Sequence[dict[str, Any]], *, rent: bool = True) -> list[Offer]:
    """What a cluster has, and what it may rent.

    Args:
        nodes: as `ray.nodes()` lists them.
        rent: those of the cluster file too that `ray up` leaves on a head. Without one nothing can be rented.
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    found = [Offer(own.get("CPU", 0.0), own.get("GPU", 0.0)) for own in there]
    rented = rentable(Path(BOOTSTRAP).expanduser()) if rent else []
    types = {(item.cpus, item.gpus) for item in rented}
    # nodes of a type that may be rented are among those that may be rented
    return [*(item for item in found if (item.cpus, item.gpus) not in types), *rented]


def rentable(cluster_file: Path) -> list[Offer]:
    """The node types of a cluster file of `ray up`, the head's apart; [] where there is none."""
    import yaml

    try:
        found = yaml.safe_load(cluster_file.read_text())
    except (OSError, yaml.YAMLError):
        return []
    types = found.get("available_node_types", {}) if isinstance(found, dict) else {}
    workers = {name: item for name, item in types.items() if name != found.get("head_node_type")}
    limit = found.get("max_workers", ANY_NUMBER) if workers else 0
    return [
        Offer(own.get("CPU", 0.0), own.get("GPU", 0.0), min(limit, item.get("max_workers", limit)))
        for item in workers.values()
        if (own := item.get("resources") or {})
    ]
