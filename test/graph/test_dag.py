from math import prod

from dapdee_ros.graph.dag import ModelDag, Node


def _dag(**nodes: tuple[str, tuple[int, ...]]) -> ModelDag:
    """A DAG from ``name=("what it reads", shape)``, the last node its exit."""
    made = tuple(
        Node(name, "op", tuple(reads.split()), shape, "float32", 4 * prod(shape), 1)
        for name, (reads, shape) in nodes.items()
    )
    return ModelDag(made, ((made[-1].name,),))


def test_the_image_in_another_form_is_known_as_it() -> None:
    dag = _dag(
        image=("", (1, 8, 8, 3)),
        turned=("image", (1, 3, 8, 8)),
        normalise=("turned", (1, 3, 8, 8)),
        wide=("normalise", (1, 12, 4, 4)),
        narrow=("wide", (1, 2, 4, 4)),
        # Wide again, but what the narrow one dropped is gone.
        wide_again=("narrow", (1, 64, 4, 4)),
        both=("narrow turned", (1, 8, 8, 8)),
        out=("both wide_again", (1, 4)),
    )
    assert dag.image_forms == {"image", "turned", "normalise", "wide", "both"}
