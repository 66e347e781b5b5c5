package org.ollm;

/** What every method throws whose call in C gives another status than {@code OLLM_OK}. */
public final class OllmException extends RuntimeException {
    private static final long serialVersionUID = 1;
    static final int INVALID_HANDLE = 2;

    private final int status;

    /** Called by C too. */
    OllmException(int status, String name, String message) {
        super(name + ": " + message);
        this.status = status;
    }

    /** The number of the {@code ollm_status}. */
    public int status() {
        return status;
    }
}
