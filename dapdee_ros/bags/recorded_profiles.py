"""The profiles of car and edge server from a recording."""

from __future__ import annotations

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import DEVICE_PROFILE
from dapdee_ros.bags.reader import Bag
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.device_profile import DeviceProfile, codec_times_in
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.overhead import Overhead

# Bags that were recorded before profiles had these do not have them.
_ENERGY = ("compute_w", "send_j_per_byte", "wait_w")
_OVERHEAD = ("overhead_frame_s", "overhead_crossing_s", "overhead_s_per_byte")


def read_profile(bag: Bag, side: str, card: ModelCard) -> DeviceProfile | None:
    """The last profile of one side that was published for a model.

    Args:
        bag: the bag.
        side: ``car`` or ``edge``: the topic ends in ``car/profile`` or ``edge/profile``.
        card: the model.

    Returns:
        The profile, or None if the bag has none of this side for this model.

    Raises:
        BagError: if several cars or edge servers were recorded, or the message is invalid.
    """
    topics = [t for t in bag.of_kind(DEVICE_PROFILE) if t.name.endswith(f"/{side}/profile")]
    if len(topics) > 1:
        names = ", ".join(topic.name for topic in topics)
        raise BagError(f"{bag.path} holds several profiles ({names}): give --{side}-profile a file")
    found = None
    for _topic, _log_ns, message in bag.messages(*topics) if topics else ():
        if message.model_id != card.model_id:
            continue
        try:
            found = DeviceProfile(
                model_id=message.model_id,
                device=message.device,
                threads=int(message.threads),
                node_seconds=dict(
                    zip(message.node_names, map(float, message.node_seconds), strict=True)
                ),
                created=message.created,
                note="recorded",
                engine=getattr(message, "engine", ""),
                overhead=Overhead(*(float(getattr(message, name, 0.0)) for name in _OVERHEAD)),
                cut_s=float(getattr(message, "cut_s", 0.0)),
                cut_s_per_byte=float(getattr(message, "cut_s_per_byte", 0.0)),
                energy=EnergyPrices(
                    **{name: float(getattr(message, name, 0.0)) for name in _ENERGY}  # type: ignore[arg-type]
                ),
                codecs=codec_times_in(
                    getattr(message, "codec_names", ()), getattr(message, "codec_seconds", ())
                ),
            )
            found.check_credible()
            found.check_fits((node.name for node in card.dag.nodes), card.model_id)
        except (ProfileError, ValueError) as error:
            raise BagError(f"the profile on {topics[0].name} in {bag.path}: {error}") from error
    return found
