"""Labels of phase-encoding directions in names and descriptions: AP, PA and the like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOWARDS = {
    "LR": (0, 1),
    "RL": (0, -1),
    "PA": (1, 1),
    "AP": (1, -1),
    "IS": (2, 1),
    "FH": (2, 1),
    "SI": (2, -1),
    "HF": (2, -1),
}
"""World axis (right, anterior, superior) and sign of a label: AP is from anterior to posterior."""

_TOKEN = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(TOWARDS)})(?![A-Za-z0-9])", re.IGNORECASE)


def opposite(one: str | None, other: str | None) -> bool:
    """Tell whether two labels name opposite directions; upper and lower case are the same.

    Examples
    --------
    >>> opposite("AP", "PA"), opposite("AP", "LR"), opposite("AP", None)
    (True, False, False)
    """
    first, second = (TOWARDS.get((label or "").upper()) for label in (one, other))
    return bool(first and second) and first == (second[0], -second[1])  # type: ignore[index]


def same(one: str | None, other: str | None) -> bool:
    """Tell whether two labels name the same direction.

    Examples
    --------
    >>> same("AP", "ap"), same("SI", "HF"), same("98", "98")
    (True, True, False)
    """
    first, second = (TOWARDS.get((label or "").upper()) for label in (one, other))
    return first is not None and first == second


def known(label: str | None) -> bool:
    """Tell whether a label names a direction.

    Examples
    --------
    >>> known("ap"), known("98"), known(None)
    (True, False, False)
    """
    return (label or "").upper() in TOWARDS


def differ_by_direction(one: str, other: str) -> bool:
    """Tell whether two descriptions are equal but for one word that names opposite directions.

    Examples
    --------
    >>> differ_by_direction("ep2d_diff_AP", "ep2d_diff_PA")
    True
    >>> differ_by_direction("DTI AP 30", "DTI PA 60"), differ_by_direction("DTI MAP", "DTI MPA")
    (False, False)
    """
    # the pattern's group makes re.split keep the words: they are at the odd places
    first, second = (_TOKEN.split(" ".join(text.split()).casefold()) for text in (one, other))
    if len(first) != len(second):
        return False
    changed = [place for place, text in enumerate(first) if text != second[place]]
    return (
        len(changed) == 1
        and changed[0] % 2 == 1
        and opposite(first[changed[0]], second[changed[0]])
    )


def perhaps_opposite(one: str, other: str) -> bool:
    """Tell whether two descriptions name opposite directions, whatever else they say.

    Examples
    --------
    >>> perhaps_opposite("DTI 64 AP", "b0 PA"), perhaps_opposite("DTI AP", "b0")
    (True, False)
    """
    first, second = (_TOKEN.findall(text) for text in (one, other))
    return len(first) == len(second) == 1 and opposite(first[0], second[0])


def of_label(label: str | None, affine: NDArray[np.float64]) -> str | None:
    """Read a direction from a label and the image's axes; None when the label names none.

    Parameters
    ----------
    label : str or None
        ``AP``, ``PA``, ``LR``, ``RL``, ``SI``, ``IS``, ``HF`` or ``FH``.
    affine : ndarray of float, shape (4, 4)

    Examples
    --------
    >>> import numpy as np
    >>> of_label("AP", np.diag([-2.0, 2.0, 2.0, 1.0]))
    'j-'
    >>> of_label("LR", np.diag([-2.0, 2.0, 2.0, 1.0]))
    'i-'
    """
    import numpy as np

    towards = TOWARDS.get((label or "").upper())
    if towards is None:
        return None
    world, sign = towards
    axes = affine[:3, :3]
    cosines = axes[world] / np.linalg.norm(axes, axis=0)
    axis = int(np.abs(cosines).argmax())
    return "ijk"[axis] + ("" if sign * cosines[axis] > 0 else "-")
