package org.ollm;

import java.util.Arrays;

/** A continuation that a session suggests. */
public final class Suggestion {
    /** Where a suggestion ends, if it has not as many tokens as it may have. */
    public enum Until { TOKENS, WORD, LINE }

    /** The text. */
    public final String text;
    /** The probability of its tokens. */
    public final double probability;
    /** The latent that adds most to it; -1 for none. */
    public final int latent;

    private final int[] tokens;

    /** Called by {@code ollm_jni.c}. */
    Suggestion(byte[] text, int[] tokens, double probability, int latent) {
        this.text = Model.text(text);
        this.tokens = tokens;
        this.probability = probability;
        this.latent = latent;
    }

    /** Its tokens; with an end at a word or a line, the last one may have more text. */
    public int[] tokens() {
        return Arrays.copyOf(tokens, tokens.length);
    }
}
