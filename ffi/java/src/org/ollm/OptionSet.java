package org.ollm;

/** A snapshot of an option set, which later steps of the session do not change. */
public final class OptionSet extends Handle {
    private final boolean owned;

    OptionSet(long number, boolean owned) {
        super(number);
        this.owned = owned;
    }

    /** The probability that the policy gives to each latent. */
    public float[] policy() {
        return Native.optionSetPolicy(number());
    }

    /** The most probable tokens of the option of a latent, best first. */
    public Candidate[] top(int latent) {
        return Native.optionSetTop(number(), latent);
    }

    @Override
    void free(long number) {
        if (owned) Native.freeOptionSet(number);
    }
}
