package org.ollm;

/** A token, and the natural logarithm of its probability, before bias and filters. */
public final class Logprob {
    /** The token. */
    public final int token;
    /** The logarithm of its probability. */
    public final float logprob;

    Logprob(int token, float logprob) {
        this.token = token;
        this.logprob = logprob;
    }
}
