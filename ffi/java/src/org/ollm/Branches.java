package org.ollm;

/**
 * Several continuations of one session, decoded in one batch. At first there is one branch, without
 * a token. One thread at a time; only {@link #cancel} and {@link #close} are for other threads too.
 */
public final class Branches implements AutoCloseable {
    final long handle;

    /** Into what a branch is expanded. */
    public enum Expand { LATENTS, TOP, DRAW, TOKENS, SAMPLE }

    /** How branches are searched. */
    public enum Strategy { VOTE, BEST, BEAM }

    /** Which branch is better. */
    public enum Score { LOGPROB, LOGPROB_SUM, POLICY, VALUE }

    /** How much a branch counts for its answer. */
    public enum Weight { ONE, POLICY, VALUE }

    /**
     * How a search goes; the defaults are a vote of all latents, by the last number of each text.
     */
    public static final class Options {
        /** The strategy. */
        public Strategy strategy = Strategy.VOTE;
        /** Into what a branch is expanded. */
        public Expand expand = Expand.LATENTS;
        /** How many branches an expansion makes; 0 for latents. */
        public int count;
        /** The temperature of samples; 0 is 1. */
        public float temperature;
        /**
         * Branches that there are, or that are kept, at most; 0 is as many as the expansion makes.
         */
        public int width;
        /** How the answer is found: number, hash, boxed, regex:RE or text. */
        public String rule = "number";
        /** How much a branch counts for its answer. */
        public Weight weight = Weight.ONE;
        /** Which branch is better. */
        public Score score = Score.LOGPROB;
    }

    /** Sees the branches after each step of a search, on the thread that searches. */
    public interface Watcher {
        /**
         * A step. What it throws ends the search, and comes out of it.
         *
         * @param texts the text of each branch so far
         * @return whether to go on
         */
        boolean onStep(String[] texts);
    }

    /** What a search or a vote found. */
    public static final class Found {
        /** The branch. */
        public final int branch;
        /** Its answer; null if it has none. */
        public final String answer;
        /** The share of the weight of all branches that have the same answer. */
        public final double confidence;

        /** Called by {@code ollm_jni.c}. */
        Found(int branch, byte[] answer, double confidence) {
            this.branch = branch;
            this.answer = answer == null ? null : Model.text(answer);
            this.confidence = confidence;
        }
    }

    Branches(long handle) {
        this.handle = handle;
    }

    /**
     * Makes several branches of one; see {@link Options} for {@code count} and {@code temperature}.
     */
    public void expand(int branch, Expand expand, int count, float temperature) {
        Native.expandBranch(handle, branch, expand.ordinal(), count, temperature);
    }

    /** Advances all open branches by a token each; gives how many there were. */
    public int step() {
        return Native.stepBranches(handle);
    }

    /** Gives a branch up. */
    public void prune(int branch) {
        Native.pruneBranch(handle, branch);
    }

    /** The number of branches, open and ended. */
    public int count() {
        return Native.countBranches(handle);
    }

    /** One branch, as it is now. */
    public Branch get(int branch) {
        return Native.getBranch(handle, branch);
    }

    /** Searches; {@code watcher} may be null. */
    public Found run(Options options, Watcher watcher) {
        int[] numbers = {options.strategy.ordinal(), options.expand.ordinal(), options.count, options.width,
                options.weight.ordinal(), options.score.ordinal()};
        byte[] rule = Model.utf8(options.rule);
        return Native.searchBranches(handle, numbers, options.temperature, rule, watcher == null ? null : new Watch(watcher));
    }

    /** The vote of the branches that are there. */
    public Found vote(String rule, Weight weight) {
        return Native.voteBranches(handle, Model.utf8(rule), weight.ordinal());
    }

    /** Cancels the call that is inside, or else the next one. Any thread. */
    public void cancel() {
        Native.cancelBranches(handle);
    }

    /**
     * Frees the branches, and cancels and waits for a thread that is inside; a second time does
     * nothing.
     */
    @Override
    public void close() {
        Native.freeBranches(handle);
    }

    /** Turns the bytes that C gives into text. */
    static final class Watch {
        private final Watcher watcher;

        Watch(Watcher watcher) {
            this.watcher = watcher;
        }

        /** Called by {@code ollm_jni.c}. */
        boolean onStep(byte[][] texts) {
            String[] all = new String[texts.length];
            for (int i = 0; i < all.length; i++) all[i] = Model.text(texts[i]);
            return watcher.onStep(all);
        }
    }
}
