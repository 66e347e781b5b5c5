package org.ollm;

/** One generated token. */
public final class Token {
    /** The id that stands for no token. */
    public static final int NONE = -1;

    /** The text that is complete with this token: not its own where that is half a character. */
    public String text;
    /** The token; {@link #NONE} for text that waited for its end. */
    public int id;
    /** The latent whose option it comes from; -1 for none. */
    public int latent;
    /** Natural logarithm of its probability, before the sampler's filters. */
    public float logprob;
    /** Whether a text or a turn ends with it. */
    public boolean isEnd;
    /** The most probable tokens, best first, as many as {@link Sampling#logprobs} asks for. */
    public Logprob[] top;

    private long optionsNumber;

    Token() {}

    /**
     * The option set that the token was chosen from, where {@link Session.RunOptions#top} asks for it; else null. It is dead
     * when the listener returns.
     */
    public OptionSet options() {
        return optionsNumber == 0 ? null : new OptionSet(optionsNumber, false);
    }
}
