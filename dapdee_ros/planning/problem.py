"""What does not change from plan to plan: the network, its devices, codecs and gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dapdee_ros.codecs.bottleneck.file import is_point
from dapdee_ros.exits.exposure import NOT_ATTACKED, Exposures
from dapdee_ros.graph.cuts import MAX_CUTS, TooManyCuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.candidates import CostBasis
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, GateOption, unknown_codec
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PolicyError, TableError
from dapdee_ros.planning.sites import CAR, EDGE, Site
from dapdee_ros.planning.table import CandidateTable


@dataclass(frozen=True)
class Problem:
    """What does not change from plan to plan: the model and the two devices.

    Attributes:
        dag: the network.
        profiles: of each site, the car's first.
        exit_quality: quality of each exit, shallowest first, 0 to 1.
        codecs: how a boundary may be coded.
        gates: calibrated gate settings.
        most_cuts: legal cuts of an exit that are too many to list.
        quality_name: what the task calls its quality, for logs and reasons in words.
        exposures: what attacks restored of the image from boundaries.
    """

    dag: ModelDag
    profiles: Sequence[DeviceProfile]
    exit_quality: Sequence[float]
    codecs: Sequence[CodecCost] = (AsIs(),)
    gates: Sequence[GateOption] = ()
    most_cuts: int = MAX_CUTS
    quality_name: str = "quality"
    exposures: Exposures = NOT_ATTACKED

    @property
    def car(self) -> DeviceProfile:
        """The first site's profile."""
        return self.profiles[0]

    @property
    def edge(self) -> DeviceProfile:
        """The last site's profile."""
        return self.profiles[-1]

    def sites(self, car_slowdown: float = 1.0, edge_slowdown: float = 1.0) -> tuple[Site, ...]:
        """Car and edge server with their profiles' overheads, each so many times slower."""
        return (
            Site(CAR, car_slowdown, self.car.overhead),
            Site(EDGE, edge_slowdown, self.edge.overhead),
        )

    @cached_property
    def basis(self) -> CostBasis:
        """Prices as vectors; raises ProfileError or TableError if the parts do not fit."""
        if len(self.profiles) != 2:
            raise TableError(
                f"plans are priced over one hop so far, there are {len(self.profiles)} profiles; "
                "give those of a car and of one edge server"
            )
        return CostBasis.of(
            self.dag, self.car, self.edge, self.codecs, self.exit_quality, self.gates,
            self.quality_name, self.exposures,
        )  # fmt: skip

    @property
    def table(self) -> CandidateTable:
        """The candidate table, built when it is first asked for.

        Raises:
            TooManyCuts: if there are too many to list.
        """
        if isinstance(self._listed, TooManyCuts):
            raise self._listed.with_traceback(None)
        return self._listed

    @cached_property
    def _listed(self) -> CandidateTable | TooManyCuts:
        try:
            return CandidateTable.build(
                self.dag,
                *self.profiles,
                exit_quality=self.exit_quality,
                codecs=self.codecs,
                gates=self.gates,
                limit=self.most_cuts,
                quality_name=self.quality_name,
                exposures=self.exposures,
            )
        except TooManyCuts as error:
            # It takes its time to find out, and every decision would.
            return error

    @cached_property
    def table_alone(self) -> CandidateTable:
        """The plans that send nothing: few, however many cuts the network has."""
        return CandidateTable.alone(self.basis, self.car.model_id)

    @property
    def is_listed(self) -> bool:
        """Whether there is a table of all plans that can be best."""
        return not isinstance(self._listed, TooManyCuts)

    @property
    def pricing_table(self) -> CandidateTable:
        """A table whose ``price`` prices any plan, however many there are."""
        return self.table_alone if isinstance(self._listed, TooManyCuts) else self._listed

    @cached_property
    def points(self) -> dict[str, tuple[str, ...]]:
        """The boundary of each bottleneck's operating point, by codec name."""
        return {
            codec.name: tuple(n.name for n in self.dag.nodes if codec.tensor(n) is not None)
            for codec in self.codecs
            if is_point(codec.name)
        }

    def codec_names(self, wanted: str) -> tuple[str, ...]:
        """The codec of that name, or all for ``any``.

        Raises:
            PolicyError: if there is none of that name.
        """
        names = tuple(codec.name for codec in self.codecs)
        if wanted == "any":
            return names
        if wanted not in names:
            raise PolicyError(unknown_codec(wanted, [*names, "any"]))
        return (wanted,)

    def with_codecs(self, wanted: str) -> Problem:
        """The same with only the codec of that name (all for ``any``)."""
        names = self.codec_names(wanted)
        if len(names) == len(self.codecs):
            # Itself, so that its table is not built twice.
            return self
        codecs = tuple(codec for codec in self.codecs if codec.name in names)
        return replace(self, codecs=codecs)
