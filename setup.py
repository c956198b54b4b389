"""Install the offline tools without ROS; everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup

# The shipped models go where dapdee_ros.exits.card.find_model looks: below the prefix.
MODELS = sorted({path.parent for path in Path("models").glob("*/model.json")})

setup(
    data_files=[
        *(
            (f"share/dapdee_ros/{folder}", [str(file) for file in sorted(folder.iterdir())])
            for folder in MODELS
        ),
        (
            "share/dapdee_ros/config/profiles",
            [str(file) for file in sorted(Path("config/profiles").glob("*.json"))],
        ),
        # Bags describe their messages in themselves.
        ("share/dapdee_ros/msg", [str(file) for file in sorted(Path("msg").glob("*.msg"))]),
    ]
)
