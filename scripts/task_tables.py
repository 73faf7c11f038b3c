"""Write docs/task_tables.md: what every task of this package observes and what its actions are, from the code.

python scripts/task_tables.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rpo_lightning import envs
from rpo_lightning.describe import Table, as_markdown, task_tables

PAGE = Path(__file__).parents[1] / "docs" / "task_tables.md"
HEAD = """# Tables of observations and actions

Made by `scripts/task_tables.py` from the code; `rpo-lightning describe TASK` prints the same of any task, also of your own.

* **unit** is what an entry of 1 stands for: one of 10 rad/s is a rate in rad/s times 0.1. - is a number without a unit.
* **frame** is whose axes or zero it is told in. The world of the tasks of DFlex has y up and x forward, of all others z up.
  In `dmc/` tasks the axes of the `base` are those of the body that moves freely. - needs no frame: a joint's own coordinate.
* **position from the middle** of a joint's range: the ends of the range are -1 and 1.
* **control** is what actions of -1 and 1 stand for, in the unit of the control; **force** what follows from it, in SI units.
"""


def page() -> str:
    """Return the page; tasks with the same tables share a section."""
    alike: dict[str, tuple[list[str], list[Table]]] = {}
    for name in envs.names():
        env = envs.make(name, num_envs=1)
        tables = task_tables(env)
        env.close()
        alike.setdefault(json.dumps(tables), ([], tables))[0].append(name)
    sections = [HEAD]
    for names, tables in alike.values():
        sections.append(f"## {', '.join(f'`{name}`' for name in names)}")
        sections += [as_markdown(title, rows, "###") for title, rows in tables]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    given.output.write_text(page())
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
