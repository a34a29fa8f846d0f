"""How much memory there is: what the system has left, and what a container's limit leaves."""

from contextlib import suppress
from pathlib import Path

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # a number


def in_words(size: float) -> str:
    """Bytes as people read them: "4.3 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def working_memory(dtype: str, height: int, width: int) -> int:
    """Bytes that sampling takes beside the weights, roughly.

    Decoding takes the most: the decoder's last blocks hold about four arrays of 256 channels at
    the picture's full size. Pictures are decoded one at a time where memory is short.
    """
    return 4 * 256 * height * width * BYTES[dtype]


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be used without swapping; None where nobody says (macOS, Windows)."""
    available = _fields(root / "proc/meminfo", 1024).get("MemAvailable")
    known = [available, *_below_limits(root / "sys/fs/cgroup", root)]
    return min((size for size in known if size is not None), default=None)


def _below_limits(cgroups: Path, root: Path) -> list[int]:
    """What is left below the limit of this process's control group and of those above it."""
    version_2 = ("memory.max", "memory.current", "inactive_file")
    version_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    left = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = cgroups / "memory" if controllers else cgroups
            own = top / name.lstrip("/")
            # In a container the name may be the host's: then only the top is there.
            for group in (own, *own.parents):
                limit, usage, cached = version_1 if controllers else version_2
                with suppress(OSError, ValueError):
                    # Files in the page cache count as used, and make way.
                    files = _fields(group / "memory.stat", 1).get(cached, 0)
                    used = int((group / usage).read_text()) - files
                    left.append(max(0, int((group / limit).read_text()) - used))
                if group == top:
                    break
    return left


def _fields(file: Path, unit: int) -> dict[str, int]:
    """Lines of a name and a number."""
    with suppress(OSError, ValueError):
        pairs = (line.replace(":", " ").split()[:2] for line in file.read_text().splitlines())
        return {name: int(number) * unit for name, number in pairs}
    return {}
