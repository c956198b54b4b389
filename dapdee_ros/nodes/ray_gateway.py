"""The edge's node before a Ray cluster: what it has instead of an engine."""

from __future__ import annotations

from dataclasses import replace

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes.own_overhead import edge_overhead
from dapdee_ros.runtime.ray_cluster import RayCluster
from dapdee_ros.runtime.ray_replica import ReplicaOptions
from dapdee_ros.runtime.ray_settings import RaySettings
from dapdee_ros.runtime.ray_worker import RayWorker
from dapdee_ros.runtime.split_network import ModelPrograms
from dapdee_ros.tasks.task import task_of


class RayGateway:
    """A model that replicas on a Ray cluster compute, from configuring a node to its cleanup.

    Attributes:
        network: the model, with the profile of a replica's machine and of what a frame costs here.
        worker: the last one that was made; None before.
    """

    def __init__(
        self, model: str, settings: RaySettings, options: ReplicaOptions, node_name: str
    ) -> None:
        """Start the replicas and have one of them measured.

        Args:
            model: its name or folder.
            settings: how many replicas, and where.
            options: how they compute.
            node_name: whose they are.

        Raises:
            ModelFolderError: if the model cannot be used.
            EngineError: if the cluster cannot.
            ProfileError: if what was measured makes no sense.
        """
        card = read_card(find_model(model))
        task = task_of(card)  # complains of options that do not fit
        self._cluster = RayCluster(card, settings, options, node_name)
        try:
            profile, engine = self._cluster.profile()
            profile.check_fits((node.name for node in card.dag.nodes), card.model_id)
        except BaseException:
            self.close()
            raise
        profile = replace(profile, overhead=edge_overhead(card, task))
        where = settings.ray or "this machine"
        self.network = ModelPrograms(card, profile, task, f"{engine} on Ray ({where})")
        self.worker: RayWorker | None = None

    def new_worker(self) -> RayWorker:
        """A worker for a ``TailRuntime``."""
        settings = self._cluster.settings
        self.worker = RayWorker(
            self.network,
            self._cluster,
            in_flight=settings.ray_in_flight,
            most_replicas=settings.most_replicas,
        )
        return self.worker

    def close(self) -> None:
        """End the replicas."""
        self._cluster.close()
