package org.ollm;

/** What a session has done since it was made, or since it was forked. */
public final class Statistics {
    /** Tokens that were fed. */
    public long fed;
    /** Seconds that the calls that fed them took. */
    public double feedSeconds;
    /** Tokens that were generated. */
    public long generated;
    /** Seconds that the calls that generated them took. */
    public double generateSeconds;
    /** Seconds from the beginning of the last feed to the first token after it. */
    public double firstTokenSeconds;
    /** Passes over the weights of the network. */
    public long passes;
    /** Bytes of the KV cache, those that forks share included. */
    public long kvBytes;
    /** Drafted tokens that went through the network. */
    public long drafted;
    /** How many of them were right. */
    public long accepted;

    Statistics() {}
}
