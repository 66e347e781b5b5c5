"""Finds the shared library: the one that `OLLM_LIBRARY` names, else the one in this package, else the
one that is installed on the system."""

import ctypes
import os
import sys

_NAMES = {"darwin": ["libollm.dylib"], "win32": ["ollm.dll"]}.get(sys.platform, ["libollm.so", "libollm.so.1"])


def _load():
    named = os.environ.get("OLLM_LIBRARY")
    inside = os.path.join(os.path.dirname(os.path.abspath(__file__)), _NAMES[0])
    if named:
        places = [named]
    elif os.path.exists(inside):
        places = [inside]
    else:
        places = _NAMES[-1:]
    try:
        return ctypes.CDLL(places[0])
    except OSError as error:
        raise ImportError(
            f"the OLLM library cannot be loaded: {error}; install a wheel that has it, or set OLLM_LIBRARY to its path"
        ) from None


LIBRARY = _load()
