"""◆ Turns KAFKA_* into server.properties as the official image does, formats the storage once, runs the broker.

In a name `_` stands for a dot, `__` for an underscore, `___` for a hyphen.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HOME = Path("/opt/kafka")
DATA = HOME / "data"
PROPERTIES = HOME / "server.properties"
JAVA = ["/opt/jre/bin/java", "-Xmx512m", "-Xms256m", "-XX:TieredStopAtLevel=1", "-cp", f"{HOME}/libs/*"]
PREFIX = "KAFKA_"
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"


def property_name(variable: str) -> str:
    """`KAFKA_LISTENER_NAME_A___B` -> `listener.name.a-b`."""
    name = variable.removeprefix(PREFIX).lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def main() -> None:
    """Never returns: the broker takes this process's place, so that signals reach it."""
    lines = [f"{property_name(name)}={value}" for name, value in os.environ.items() if name.startswith(PREFIX)]
    lines.append(f"log.dirs={DATA}")
    PROPERTIES.write_text("\n".join(lines) + "\n")
    if not (DATA / "meta.properties").exists():
        command = [*JAVA, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(PROPERTIES)]
        subprocess.run(command, check=True)
    os.execv(JAVA[0], [*JAVA, "kafka.Kafka", str(PROPERTIES)])


if __name__ == "__main__":
    main()
