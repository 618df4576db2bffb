"""The one progress bar, in a terminal and in a notebook."""

from __future__ import annotations

import os

from tqdm.auto import tqdm


def progress_bar(total: int, *, unit: str, initial: int = 0, show: bool = True) -> tqdm:
    """A bar over `total` units, `initial` of them done; nothing where `show` is false or TQDM_DISABLE is set.

    tqdm obeys its own TQDM_DISABLE in a terminal only; the notebooks of the book are executed with it set, so that no
    bar ends up in a stored output.
    """
    disable = not show or os.environ.get("TQDM_DISABLE", "0") not in {"", "0"}
    return tqdm(total=total, initial=initial, unit=unit, disable=disable)
