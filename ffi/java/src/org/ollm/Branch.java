package org.ollm;

/** One of several continuations, as it was when it was asked for. */
public final class Branch {
    /** Whether a branch goes on, or how it ended. */
    public enum State { OPEN, END, STOP, LENGTH, PRUNED, MERGED, FAILED }

    /** The generated text. */
    public String text;
    /** The generated tokens, without an end token. */
    public int[] tokens;
    /** The latent of each token; -1 for none. */
    public int[] latents;
    /** The branch that it was forked from; -1 for the text of the session. */
    public int parent;
    /** Tokens that it shares with its parent. */
    public int fork;
    /** The branch that it was merged into; -1 for none. */
    public int mergedInto;
    /** Whether it is at a boundary: no latent is held. */
    public boolean atBoundary;
    /** Whether it goes on, or how it ended. */
    public State state;
    /** Why it failed, as the number of the {@code ollm_status}; 0 if it did not. */
    public int error;
    /** Natural logarithm of the policy's probability of its latents. */
    public double policy;
    /** Natural logarithm of the probability of its tokens. */
    public double logprob;
    /**
     * What it counts in a vote: 1 at first, with that of branches that were merged into it. Where it is
     * expanded later, its branches share it.
     */
    public double count;
    /** The probability that the answer will be right, as a value head says; NaN where none was asked. */
    public float value;

    Branch() {}
}
