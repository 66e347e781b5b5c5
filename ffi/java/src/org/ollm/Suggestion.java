package org.ollm;

/** A continuation that a session suggests. */
public final class Suggestion {
    /** Where a suggestion ends, if it has not as many tokens as it may have. */
    public enum Until { TOKENS, WORD, LINE }

    /** What is suggested; 0 takes the default. */
    public static final class Options {
        /** Suggestions at most. */
        public int count;
        /** Tokens of each at most. */
        public int tokens;
        /** Where it ends before. */
        public Until until = Until.TOKENS;
    }

    /** The text. */
    public String text;
    /** Its tokens; with an end at a word or a line, the last one may have more text. */
    public int[] tokens;
    /** The probability of its tokens. */
    public double probability;
    /** The latent that adds most to it; -1 for none. */
    public int latent;

    Suggestion() {}
}
