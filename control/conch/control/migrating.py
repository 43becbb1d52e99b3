"""Bringing the control database to this version's schema: `python -m conch.control.migrating`.

For installations that migrate before they start; a control plane also does it by itself.
"""

from __future__ import annotations

from .settings import read_settings
from .state import Database


def main() -> None:
    """Migrate the database that the settings name; does nothing where it is there already."""
    database = Database(read_settings().database)
    try:
        database.migrate()
    finally:
        database.close()


if __name__ == "__main__":
    main()
