/// The C API of OLLM: option-aware language models on CPUs and phones.
///
/// This file is made from the library's sources; it is C99 and later, and C++11 and later.
/// `ollm.hpp` has a C++17 layer.
///
/// Conventions, which hold where a function does not say otherwise:
///
/// - A function that can fail returns an `ollm_status`. It writes its outputs only on success. What
///   went wrong, where, and what to do is in `ollm_last_error`. Any such function may also return
///   `OLLM_INTERNAL`, for a bug. Every invalid argument that can be detected returns a status:
///   NULL, freed handles, numbers and lengths out of range, text that is not UTF-8, calls at the
///   wrong time.
/// - Handles (`ollm_model *` and so on) are numbers, not addresses: never look through them. A
///   handle that was freed is `OLLM_INVALID_HANDLE`, also when its place was used again, and so is
///   one that another copy of the library in the same process has made. Functions that free take the
///   address of the handle and make it NULL.
/// - Structs that begin with `struct_size` can grow in later versions. Make them with the function
///   of their name at the end of this file, which zeroes them and sets the size; 0 in any field is
///   the default. Structs that you keep, and pointers in them, need not live longer than the call.
/// - Text is UTF-8 with an explicit length; it may hold zeros. Only paths end in a zero, as the
///   system's do.
/// - Functions that give text or an array take a buffer, its capacity, and a place for the length
///   of the result. The length is written on success and with `OLLM_BUFFER_TOO_SMALL`; any other
///   status leaves it as it was. With a NULL buffer the length alone is written. A buffer that is
///   too small stays as it was. Text has a zero after it, which needs room but is not counted.
/// - Callbacks run inside the call that they belong to and on its thread, unless they say
///   otherwise. Their first argument is the `user` pointer that came with them. They must return:
///   no longjmp, no exceptions. A callback may call any function; those on the session,
///   or the branches, that are calling back give `OLLM_BUSY`.
/// - Calls compute in the standard floating-point modes (round to nearest, denormals count), in which
///   callbacks run too, and which they leave as they are. The modes of the caller are back when the
///   call returns.
/// - Calls need at most 128 KiB of stack; the chat template has a thread of its own.
/// - Threads of the library block all signals but those of a fault of their own (SIGSEGV and so on).
///   A child of `fork(2)` has none of these threads: there, what was made before the fork computes on
///   the calling thread alone, and may be freed as ever. No thread may be inside a call at the fork.
/// - The library writes nothing to stdout or stderr, installs no signal handlers, needs no
///   environment and no network.
