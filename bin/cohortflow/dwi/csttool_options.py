"""What options of csttool's manifest mean here.

csttool denoises unless told not to; Gibbs ringing and motion it takes out when asked. What it does
not say is left to the parameters of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)

_SWITCHES = {
    "unring": ("unring", "subvoxel"),
    "perform_motion_correction": ("correct", "eddy"),
}
"""Parameter, and its value where the option is true; it is none where that is false."""


def of_csttool(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options of a unit for those of csttool that have an equivalent.

    Parameters
    ----------
    options : mapping
        The study's options with the subject's own over them.

    Examples
    --------
    >>> of_csttool({"denoise_method": "mppca", "unring": False, "generate_pdf": True})
    {'denoise': 'mppca', 'unring': 'none'}
    >>> of_csttool({"preprocessing": False, "unring": True})
    {'denoise': 'none', 'unring': 'none', 'correct': 'none'}
    """
    if options.get("preprocessing") is False:
        return {"denoise": "none", "unring": "none", "correct": "none"}
    found = dict[str, str]()
    method = options.get("denoise_method")
    if method in ("mppca", "none"):
        found["denoise"] = str(method)
    elif method is not None:
        _log.warning("denoise_method %.50r is not known here: the parameter denoise holds", method)
    for name, (parameter, value) in _SWITCHES.items():
        if isinstance(options.get(name), bool):
            found[parameter] = value if options[name] else "none"
    return found
