package org.ollm;

import java.util.Arrays;

/** One of several continuations, as it was when it was asked for. */
public final class Branch {
    /** Whether a branch goes on, or how it ended. */
    public enum State { OPEN, END, STOP, LENGTH, PRUNED, MERGED, FAILED }

    /** The generated text. */
    public final String text;
    /** The branch that it was forked from; -1 for the text of the session. */
    public final int parent;
    /** Tokens that it shares with its parent. */
    public final int fork;
    /** The branch that it was merged into; -1 for none. */
    public final int mergedInto;
    /** Whether it goes on, or how it ended. */
    public final State state;
    /** Natural logarithm of the policy's probability of its latents. */
    public final double policy;
    /** Natural logarithm of the probability of its tokens. */
    public final double logprob;
    /** How many branches it stands for: 1, and those that were merged into it. */
    public final double count;
    /**
     * The probability that the answer will be right, as a value head says; NaN where none was
     * asked.
     */
    public final double value;

    private final int[] tokens;
    private final int[] latents;

    /** Called by {@code ollm_jni.c}. */
    Branch(byte[] text, int[] tokens, int[] latents, int[] numbers, double[] scores) {
        this.text = Model.text(text);
        this.tokens = tokens;
        this.latents = latents;
        parent = numbers[0];
        fork = numbers[1];
        mergedInto = numbers[2];
        state = State.values()[numbers[3]];
        policy = scores[0];
        logprob = scores[1];
        count = scores[2];
        value = scores[3];
    }

    /** The generated tokens, without an end token. */
    public int[] tokens() {
        return Arrays.copyOf(tokens, tokens.length);
    }

    /** The latent of each token; -1 for none. */
    public int[] latents() {
        return Arrays.copyOf(latents, latents.length);
    }
}
