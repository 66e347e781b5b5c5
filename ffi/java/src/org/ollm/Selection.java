package org.ollm;

/** How the latent of each step is selected. A field that is 0 takes its default; see {@code ollm.h}. */
public final class Selection {
    /** Ways to select a latent. */
    public enum Mode { POLICY, SAMPLE, UNIFORM, FIXED, SCRIPT, CALLBACK, MIXTURE, BACKBONE }

    /** How long a selected latent is held. */
    public enum Hold { TRAINED, TOKEN, LINE, ALL, TOKENS }

    /** Chooses a latent. */
    public interface Chooser {
        /**
         * The latent of a step. What it throws comes out of the call that generates, and that step does not happen.
         *
         * @param hidden the hidden state of the last token
         * @param policy the policy's probability of each latent
         */
        int choose(float[] hidden, float[] policy);
    }

    /** The way to select. */
    public Mode mode = Mode.POLICY;
    /** The latents of {@link Mode#FIXED} and {@link Mode#SCRIPT}. */
    public int[] latents = {};
    /** The chooser of {@link Mode#CALLBACK}. */
    public Chooser chooser;
    /** The temperature of {@link Mode#SAMPLE}. */
    public float temperature;
    /** How long a latent is held. */
    public Hold hold = Hold.TRAINED;
    /** Tokens that it is held for with {@link Hold#TOKENS}. */
    public int holdTokens;
    /** The seed of all choices. */
    public long seed;

    /** What the policy finds most probable, as at first. */
    public Selection() {}

    private Selection(Mode mode, int[] latents, Chooser chooser) {
        this.mode = mode;
        this.latents = latents;
        this.chooser = chooser;
    }

    /** Always the option of this latent. */
    public static Selection fixed(int latent) {
        return new Selection(Mode.FIXED, new int[] {latent}, null);
    }

    /** The latent that {@code chooser} gives. */
    public static Selection by(Chooser chooser) {
        return new Selection(Mode.CALLBACK, new int[0], java.util.Objects.requireNonNull(chooser, "chooser"));
    }
}
