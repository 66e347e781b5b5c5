package org.ollm;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * What is freed by {@link #close}, which any thread may call. After that, every method throws an {@link OllmException} of
 * the status {@code OLLM_INVALID_HANDLE}; C says the same, where a call is on its way meanwhile.
 */
abstract class Handle implements AutoCloseable {
    private final long number;
    private final AtomicBoolean closed = new AtomicBoolean();

    Handle(long number) {
        this.number = number;
    }

    /** The handle of C. */
    final long number() {
        if (closed.get()) throw new OllmException(OllmException.INVALID_HANDLE, "OLLM_INVALID_HANDLE", "it was closed");
        return number;
    }

    abstract void free(long number);

    /** Frees it; a second time does nothing. */
    @Override
    public final void close() {
        if (!closed.compareAndSet(false, true)) return;
        try {
            free(number);
        } catch (RuntimeException exception) {
            closed.set(false);
            throw exception;
        }
    }
}
