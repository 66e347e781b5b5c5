"""How calls of C look in Python: statuses and exceptions of callbacks are raised, arguments are
checked, buffers are made. `ctypes` itself cuts numbers that are too long, and drops exceptions."""

import atexit
import ctypes
import numbers
import operator
import os
import signal
import sys
import threading
import time
import weakref
from array import array
from contextlib import contextmanager

from . import c
from .c import Status


class Error(Exception):
    """A call of the library failed.

    `status` is why (a `Status`, or a plain number that this package does not know), `message` says
    what, where and what to do.
    """

    def __init__(self, status, message):
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self):
        name = c.ollm_status_name(self.status).decode()
        return f"{name}: {self.message}" if self.message else name


def _status(number):
    try:
        return Status(number)
    except ValueError:
        return number


def failure(status):
    """The exception of a status that is not OK, with the thread's last message."""
    return Error(_status(status), c.ollm_last_error().decode("utf-8", "replace"))


# What this thread's callbacks have raised, until the call that they belong to has returned; and
# whether code of the application runs in one.
class _Thread(threading.local):
    raised = None
    inside = False


_thread = _Thread()


class _End:
    """The end of the interpreter: it ends threads that come back from a callback where they are, which
    may be in the middle of C. So no thread is left inside a call that has callbacks."""

    def __init__(self):
        self.is_near = False
        self.calls = 0
        self.lock = threading.Lock()
        # Sessions and branches: closing them ends the calls on them.
        self.open = weakref.WeakSet()

    @contextmanager
    def waits(self):
        """The end waits for this call, whose callbacks refuse then."""
        with self.lock:
            self.calls += 1
        try:
            yield
        finally:
            with self.lock:
                self.calls -= 1

    def come(self):
        self.is_near = True
        for one in list(self.open):
            try:
                one.close()
            except (Error, ValueError):
                pass
        latest = time.monotonic() + 10
        while self.calls and time.monotonic() < latest:
            time.sleep(0.001)


_end = _End()
atexit.register(_end.come)


def check(status):
    """Raises what a callback raised in the call that has just returned, or its failure."""
    if _thread.raised is not None:
        raised, _thread.raised = _thread.raised, None
        raise raised
    if status != Status.OK:
        raise failure(status)


def guarded(kind, call, refusal=None):
    """`call` as a callback of the type `kind`. No exception goes through C: `refusal` ends the call
    there, and `check` raises the exception."""

    def guard(_user, *arguments):
        if _thread.raised is not None or _end.is_near:
            return refusal
        was_inside, _thread.inside = _thread.inside, True
        try:
            return call(*arguments)
        except BaseException as error:
            _thread.raised = error
            return refusal
        finally:
            _thread.inside = was_inside

    return kind(guard)


def detached(kind, call):
    """The same where no call can raise: the exception is reported, as that of a finalizer is."""

    def guard(_user, *arguments):
        try:
            call(*arguments)
        except BaseException as error:
            sys.unraisablehook(_Unraisable(type(error), error, error.__traceback__, None, call))

    return kind(guard)


class _Unraisable:
    def __init__(self, exc_type, exc_value, exc_traceback, err_msg, object):
        self.exc_type, self.exc_value, self.exc_traceback = exc_type, exc_value, exc_traceback
        self.err_msg, self.object = err_msg, object


@contextmanager
def interruptible():
    """Lets Ctrl-C end a call that has callbacks. The interpreter sees the signal as it enters the
    callback, where an exception would be dropped: so what its handler raises is kept for `check`."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main and not _thread.inside else None
    if not callable(handler):
        with _end.waits():
            yield
        return

    def keep(number, frame):
        try:
            handler(number, frame)
        except BaseException as error:
            if _thread.inside:
                raise
            _thread.raised = error

    signal.signal(signal.SIGINT, keep)
    try:
        with _end.waits():
            yield
    finally:
        if signal.getsignal(signal.SIGINT) is keep:
            signal.signal(signal.SIGINT, handler)
        if _thread.raised is not None:
            raised, _thread.raised = _thread.raised, None
            raise raised


def stops(keeps_on):
    """What a callback of the application gave, for C: `False` ends, anything else goes on."""
    return 1 if keeps_on is False else 0


class Handle:
    """An object of the library. It is freed by `close`, at the end of a `with` block, or with the last
    reference to it; afterwards every call on it raises a `ValueError`."""

    _free = None
    _number = None
    # Whether threads compute on it.
    _works = False

    def _make(self, function, *arguments):
        """Makes it, by a call of C that writes the handle to its last argument."""
        made = ctypes.c_void_p()
        status = function(*arguments, ctypes.byref(made))
        self._number = made.value
        if self._works:
            _end.open.add(self)
        check(status)
        return self

    @property
    def _c(self):
        number = self._number
        if number is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return number

    @property
    def closed(self):
        """Whether it is closed."""
        return self._number is None

    def close(self):
        """Frees it now. Closing twice is fine."""
        number, self._number = self._number, None
        if number is None:
            return
        status = type(self)._free(ctypes.byref(ctypes.c_void_p(number)))
        if status != Status.OK:
            self._number = number
            raise failure(status)

    def __enter__(self):
        self._c
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self, OK=Status.OK, byref=ctypes.byref, c_void_p=ctypes.c_void_p):
        # Names of modules may be gone by now.
        number, self._number = self._number, None
        if number is not None:
            type(self)._free(byref(c_void_p(number)))

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__qualname__}{' closed' if self.closed else ''}>"

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")


def handle(owner, kind, name, optional=False):
    """The number of an argument that is a handle."""
    if owner is None and optional:
        return None
    return instance(owner, kind, name)._c


def instance(value, kind, name):
    """The value, which is of this type."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", kind)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    return value


def function(value, name):
    """The value, which can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    return value


_BITS = {ctypes.c_int32: 31, ctypes.c_uint32: 32, ctypes.c_uint64: 64, ctypes.c_size_t: 8 * ctypes.sizeof(ctypes.c_size_t)}


def integer(value, kind, name):
    """The value as a number that the type of C has."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    lowest, bits = -(1 << 31) if kind is ctypes.c_int32 else 0, _BITS[kind]
    if not lowest <= number < 1 << bits:
        raise ValueError(f"{name} is {number}, which is not from {lowest} to {(1 << bits) - 1}")
    return number


def size(value, name):
    return integer(value, ctypes.c_size_t, name)


def uint32(value, name):
    return integer(value, ctypes.c_uint32, name)


def int32(value, name):
    return integer(value, ctypes.c_int32, name)


def real(value, name):
    """The value as a float."""
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{name} must be a number, not {type(value).__name__}")


def utf8(value, name):
    """The bytes of a text."""
    return instance(value, str, name).encode()


def path_bytes(value, name):
    """A path, for C."""
    path = os.fsencode(value)
    if b"\0" in path:
        raise ValueError(f"{name} has a zero in it: {value!r}")
    return path


_NUMBERS = {"I": ctypes.c_uint32, "f": ctypes.c_float, "i": ctypes.c_int32}
assert all(array(code).itemsize == 4 for code in _NUMBERS)


def numbers_in(values, code, name):
    """An array of C with these numbers, and how many there are."""
    if isinstance(values, (str, bytes, bytearray)):
        raise TypeError(f"{name} must be numbers, not {type(values).__name__}")
    try:
        copy = array(code, values)
    except OverflowError:
        raise ValueError(f"{name} has a number that is out of range") from None
    except TypeError as error:
        raise TypeError(f"{name} must be numbers: {error}") from None
    count = len(copy)
    return ((_NUMBERS[code] * count).from_buffer(copy) if count else None), count


def numbers_at(pointer, count, code):
    """A copy of `count` numbers that C shows."""
    copy = array(code)
    if count:
        copy.frombytes(ctypes.string_at(pointer, 4 * count))
    return copy


def numbers_out(code, call, guess=0):
    """The numbers that `call(buffer, capacity, length)` gives: at first it is asked for their count,
    unless there is a guess."""
    length = ctypes.c_size_t(guess)
    if not guess:
        check(call(None, 0, ctypes.byref(length)))
    while True:
        room = max(length.value, 1)
        found = array(code, bytes(4 * room))
        view = (_NUMBERS[code] * room).from_buffer(found)
        status = call(view, room, ctypes.byref(length))
        del view
        if status != Status.BUFFER_TOO_SMALL:
            check(status)
            return found if length.value == room else found[: length.value]


def bytes_out(call, guess=1024):
    """The bytes that `call(buffer, capacity, length)` gives."""
    length = ctypes.c_size_t(guess)
    while True:
        room = length.value + 1
        buffer = ctypes.create_string_buffer(room)
        status = call(buffer, room, ctypes.byref(length))
        if status != Status.BUFFER_TOO_SMALL:
            check(status)
            return ctypes.string_at(buffer, length.value)


def text_at(pointer, length):
    """A text that C shows."""
    return ctypes.string_at(pointer, length).decode("utf-8", "replace") if length else ""


def number_out(kind, function, *arguments):
    """The number that a call writes to its last argument."""
    number = kind()
    check(function(*arguments, ctypes.byref(number)))
    return number.value


def struct(kind, /, **values):
    """A struct of C with its size and these fields; text takes its length along. None is the default."""
    made = kind()
    fields = dict(kind._fields_)
    if "struct_size" in fields:
        made.struct_size = ctypes.sizeof(kind)
    for name, value in values.items():
        field = fields[name]
        if value is None:
            continue
        if field in _BITS:
            value = integer(value, field, name)
        elif field in (ctypes.c_float, ctypes.c_double):
            value = real(value, name)
        elif isinstance(value, bytes):
            if f"{name}_length" in fields:
                setattr(made, f"{name}_length", len(value))
            value = ctypes.cast(ctypes.c_char_p(value), field)
        setattr(made, name, value)
    return made


def texts_in(values, name):
    """An array of texts for C, and how many there are."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a list of texts, not a text")
    texts = [utf8(value, name) for value in values]
    made = (c.ollm_text * len(texts))()
    for place, text in zip(made, texts):
        place.data, place.length = ctypes.cast(ctypes.c_char_p(text), ctypes.POINTER(ctypes.c_char)), len(text)
    # The array does not know what its elements point to.
    made.kept = texts
    return (made, len(texts)) if texts else (None, 0)
