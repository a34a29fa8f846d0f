"""What `import diffgrid` offers is said in `__all__`, all of it and nothing else."""

from types import ModuleType

import diffgrid


def test_all_names_what_is_public_and_nothing_else() -> None:
    public = [
        name
        for name, value in vars(diffgrid).items()
        if (not name.startswith("_") or name == "__version__") and not isinstance(value, ModuleType)
    ]
    assert diffgrid.__all__ == sorted(public)
