package org.ollm;

/** One token of an option, and its probability there. */
public final class Candidate {
    /** The token. */
    public final int token;
    /** Its probability, from 0 to 1. */
    public final float probability;

    Candidate(int token, float probability) {
        this.token = token;
        this.probability = probability;
    }
}
