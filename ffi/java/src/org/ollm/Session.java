package org.ollm;

import java.util.List;

/**
 * A sequence of tokens on a model. One thread at a time: a second one gets an {@link OllmException}
 * of the status {@code OLLM_BUSY}. Only {@link #cancel} and {@link #close} are for other threads
 * too.
 */
public final class Session implements AutoCloseable {
    private final long handle;

    /** How a session runs; 0 takes the default. */
    public static final class Options {
        /** Positions there is room for. */
        public int context;
        /** Threads that compute. */
        public int threads;
        /** Bytes that the session may take beside the weights. */
        public long memoryLimit;
    }

    /** Sees the tokens of {@link Session#run} as they come, on the thread that runs. */
    public interface Listener {
        /**
         * A token. What it throws ends the run, and comes out of it.
         *
         * @param text the text that is complete with this token, as UTF-8
         * @param id the token; -1 for text that waited for its end
         * @param latent the latent whose option it comes from; -1 for none
         * @param logprob natural logarithm of its probability
         * @return whether to go on
         */
        boolean onToken(byte[] text, int id, int latent, float logprob);
    }

    /** Why a run ended. */
    public enum Reason { END, STOP, LIMIT, CALLBACK }

    private Session(long handle) {
        this.handle = handle;
    }

    /** A session on {@code model}, whose steps go through {@code plugin}, which may be null. */
    public Session(Model model, Plugin plugin, Options options) {
        this(Native.newSession(model.handle, plugin == null ? 0 : plugin.handle, options.context, options.threads,
                options.memoryLimit));
    }

    /** A second session that begins where this one is. */
    public Session fork() {
        return new Session(Native.fork(handle));
    }

    /** Adds tokens to the sequence. */
    public void feed(int[] tokens) {
        Native.feed(handle, tokens);
    }

    /**
     * Generates until an end token, a stop string, the limit (0 is none) or the listener ends it.
     */
    public Reason run(int limit, List<String> stops, Listener listener) {
        return Reason.values()[Native.run(handle, limit, Model.utf8(stops), listener)];
    }

    /** Cancels the call that is inside, or else the next one. Any thread. */
    public void cancel() {
        Native.cancel(handle);
    }

    /** The number of tokens so far. */
    public long position() {
        return Native.position(handle);
    }

    /** Forgets the tokens from {@code position} on. */
    public void rewind(long position) {
        Native.rewind(handle, position);
    }

    /** Gives back memory: for {@code onTrimMemory}. */
    public void trim() {
        Native.trim(handle);
    }

    /** How tokens are sampled: 0 takes the default, and all defaults together are greedy. */
    public void setSampling(float temperature, float topP, long seed) {
        Native.setSampling(handle, temperature, topP, seed);
    }

    /** Always takes the option of this latent; -1 leaves it to the policy. */
    public void fixLatent(int latent) {
        Native.fixLatent(handle, latent);
    }

    /** What the policy says of the next step: the probability of each latent. */
    public float[] policy() {
        return Native.policy(handle);
    }

    /**
     * Branches that begin where the session is, of {@code limit} tokens each at most (0 is no
     * limit).
     */
    public Branches branches(int limit, List<String> stops) {
        return new Branches(Native.newBranches(handle, limit, Model.utf8(stops)));
    }

    /** Comes to where a branch is, as if it had generated the branch's tokens. */
    public void adopt(Branches branches, int branch) {
        Native.adopt(handle, branches.handle, branch);
    }

    /** Continuations to choose from, the most probable first; 0 takes the default. */
    public List<Suggestion> suggest(int count, int tokens, Suggestion.Until until) {
        return List.of(Native.suggest(handle, count, tokens, until.ordinal()));
    }

    /** The session as bytes, to be gone on with in another process. */
    public byte[] save() {
        return Native.save(handle);
    }

    /** Puts the session in the place of the one that was saved. */
    public void restore(byte[] saved) {
        Native.restore(handle, saved);
    }

    /**
     * Frees the session, and cancels and waits for a thread that is inside; a second time does
     * nothing.
     */
    @Override
    public void close() {
        Native.freeSession(handle);
    }
}
