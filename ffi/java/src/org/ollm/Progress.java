package org.ollm;

/** Is told how far a call is, on the thread that calls. */
public interface Progress {
    /**
     * From 0 to 1. What it throws ends the call, and comes out of it.
     *
     * @return whether to go on; else the call is cancelled
     */
    boolean onProgress(float share);
}
