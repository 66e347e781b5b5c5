package org.ollm;

import java.util.List;

/**
 * Several continuations of one session, decoded in one batch. At first there is one branch, without a token. One thread at a
 * time; only {@link #cancel}, {@link #withdrawCancel} and {@link #close} are for other threads too: closing cancels and waits
 * for a thread that is inside.
 */
public final class Branches extends Handle {
    private final Callbacks callbacks;

    /** How branches are generated; 0 takes the default. */
    public static final class Options {
        /** Tokens of a branch at most. */
        public long limit;
        /** Texts that end a branch, and are not part of its text. */
        public List<String> stops = List.of();
        /** How latents are selected where no expansion did; null takes the session's. */
        public Selection selection;
    }

    /** How branches are searched. */
    public enum Strategy { VOTE, BEST, BEAM }

    /** Which branch is better. */
    public enum Score { LOGPROB, LOGPROB_SUM, POLICY, VALUE }

    /** How much a branch counts for its answer. */
    public enum Weight { ONE, POLICY, VALUE }

    /** How answers are found, and which one wins. */
    public static final class Tally {
        /** How the answer is found: number, hash, boxed, regex:RE or text; null is number. */
        public String rule;
        /** Finds the answer in place of a rule; may be null. */
        public Finder finder;
        /** How much a branch counts for its answer. */
        public Weight weight = Weight.ONE;
        /** Which branch is better; in a vote, which of those that tie. */
        public Score score = Score.LOGPROB;
        /** Says which branch is better in place of the score; may be null. */
        public Scorer scorer;

        /** By the last number of each text. */
        public Tally() {}

        /** By a rule. */
        public Tally(String rule) {
            this.rule = java.util.Objects.requireNonNull(rule, "rule");
        }
    }

    /** A search; the defaults are a vote of all latents. */
    public static final class Search {
        /** The strategy. */
        public Strategy strategy = Strategy.VOTE;
        /** Into what a branch is expanded. */
        public Expansion expansion = Expansion.latents();
        /** Branches that there are, or that are kept, at most; 0 is as many as the expansion makes. */
        public int width;
        /** How answers are found, and which one wins. */
        public Tally tally = new Tally();
    }

    /** Finds the answer of a text. */
    public interface Finder {
        /** The answer; null if there is none. What it throws comes out of the search. */
        String find(String text);
    }

    /** Says how good a branch is. */
    public interface Scorer {
        /** The higher, the better; NaN is the lowest. What it throws comes out of the search. */
        double score(Branch branch);
    }

    /** Sees the branches after each step of a search, on the thread that searches. */
    public interface Watcher {
        /**
         * A step. What it throws ends the search, and comes out of it.
         *
         * @return whether to go on
         */
        boolean onStep(Branch[] branches);
    }

    /** What a search or a vote found. */
    public static final class Found {
        /** The branch. */
        public int branch;
        /** Its answer; null if it has none. */
        public String answer;
        /** The share of the weight of all branches that have the same answer. */
        public double confidence;
        /** Passes over the weights, since the branches were made. */
        public long passes;
        /** Tokens generated since then; what branches share counts once. */
        public long generated;

        Found() {}
    }

    Branches(long number, Callbacks callbacks) {
        super(number);
        this.callbacks = callbacks;
    }

    /** Makes several branches of one. */
    public void expand(int branch, Expansion expansion) {
        Native.expandBranch(number(), branch, expansion);
    }

    /** Advances all open branches by a token each; gives how many there were. */
    public int step() {
        return (int) Native.stepBranches(number());
    }

    /** Gives a branch up. */
    public void prune(int branch) {
        Native.pruneBranch(number(), branch);
    }

    /** The number of branches, open and ended. */
    public int count() {
        return (int) Native.countBranches(number());
    }

    /** One branch, as it is now. */
    public Branch get(int branch) {
        return Native.getBranch(number(), branch);
    }

    /** Searches; {@code watcher} may be null. */
    public Found run(Search search, Watcher watcher) {
        return Native.searchBranches(number(), search, watcher);
    }

    /** The vote of the branches that are there. */
    public Found vote(Tally tally) {
        return Native.voteBranches(number(), tally);
    }

    /** Cancels the call that is inside, or else the next one. Any thread. */
    public void cancel() {
        Native.cancelBranches(number());
    }

    /** Takes back a cancellation that no call has seen yet. Any thread. */
    public void withdrawCancel() {
        Native.withdrawCancelBranches(number());
    }

    @Override
    void free(long number) {
        Native.freeBranches(number);
        callbacks.quit();
    }
}
