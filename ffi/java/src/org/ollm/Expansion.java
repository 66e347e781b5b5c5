package org.ollm;

/** Into which branches a branch is expanded. */
public final class Expansion {
    enum Kind { LATENTS, TOP, DRAW, TOKENS, SAMPLE }

    final Kind kind;
    final int count;
    final float temperature;

    private Expansion(Kind kind, int count, float temperature) {
        this.kind = kind;
        this.count = count;
        this.temperature = temperature;
    }

    /** One for each latent. */
    public static Expansion latents() {
        return new Expansion(Kind.LATENTS, 0, 0);
    }

    /** One for each of the latents that the policy finds most probable. */
    public static Expansion top(int count) {
        return new Expansion(Kind.TOP, count, 0);
    }

    /** One for each of {@code count} latents that are drawn from the policy. */
    public static Expansion draw(int count) {
        return new Expansion(Kind.DRAW, count, 0);
    }

    /** One for each of the most probable tokens. */
    public static Expansion tokens(int count) {
        return new Expansion(Kind.TOKENS, count, 0);
    }

    /** Samples at a temperature; 0 is 1. */
    public static Expansion sample(int count, float temperature) {
        return new Expansion(Kind.SAMPLE, count, temperature);
    }
}
