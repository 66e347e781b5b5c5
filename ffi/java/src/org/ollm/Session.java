package org.ollm;

import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;

/**
 * A sequence of tokens on a model. One thread at a time: a second one gets an {@link OllmException} of the status {@code
 * OLLM_BUSY}. Only {@link #cancel}, {@link #withdrawCancel} and {@link #close} are for other threads too: closing cancels and
 * waits for a thread that is inside.
 */
public final class Session extends Handle {
    private final Callbacks callbacks;

    /** How a session runs; 0 takes the default. */
    public static final class Options {
        /** Positions there is room for. */
        public long context;
        /** Bytes that the session may take beside the weights. */
        public long memoryLimit;
        /** Threads for decode. */
        public int threads;
        /** Threads for prefill. */
        public int prefillThreads;
        /** Whether a full context forgets the older half of its tokens, and continues. */
        public boolean contextShift;
        /** With it: tokens at the beginning that are never forgotten. */
        public long keep;
        /** CPU affinity of the workers: bit 0 is processor 0. */
        public long affinity;
        /** Threads of the application for the workers, each busy until the session and its forks are closed; may be null. */
        public Executor executor;
        /** The type of the keys and values in the KV cache. */
        public KvType kvType = KvType.F16;
        /** The workers, shared with other sessions; null starts workers of its own. */
        public ThreadPool pool;
    }

    /** Types of keys and values: half precision, or ggml's Q8_0, which takes half the memory. */
    public enum KvType { F16, Q8_0 }

    /** The options of a run; 0 takes the default. */
    public static final class RunOptions {
        /** Tokens at most. */
        public long limit;
        /** Texts that end the run, and are not part of the generated text. */
        public List<String> stops = List.of();
        /** If it is not 0, {@link Token#options} is there, with this many tokens of each option. */
        public int top;
    }

    /** Sees the tokens of {@link Session#run} as they come, on the thread that runs. */
    public interface Listener {
        /**
         * A token. What it throws ends the run, and comes out of it.
         *
         * @return whether to go on
         */
        boolean onToken(Token token);
    }

    /** Why a run or an answer ended; the last two are of answers alone. */
    public enum Reason { END, STOP, LIMIT, CALLBACK, CONTEXT, CANCELLED }

    /** Distributions of the next token. */
    public enum Distribution { BACKBONE, OPTION, MIXTURE }

    /** How hidden states of a text become one. */
    public enum Pooling { MEAN, CLS, LAST, MODEL }

    private Session(long number, Callbacks callbacks) {
        super(number);
        this.callbacks = callbacks;
    }

    /** A session on {@code model}, whose steps go through {@code plugin}, which may be null. */
    public Session(Model model, Plugin plugin, Options options) {
        this(Native.newSession(model.number(), plugin == null ? 0 : plugin.number(), options), new Callbacks());
    }

    /** A second session that begins where this one is. */
    public Session fork() {
        return callbacks.make(() -> new Session(Native.fork(number()), callbacks));
    }

    /** Adds tokens to the sequence. */
    public void feed(int[] tokens) {
        Native.feed(number(), tokens, null);
    }

    /** Adds tokens, and tells how far it is. */
    public void feed(int[] tokens, Progress progress) {
        Native.feed(number(), tokens, Objects.requireNonNull(progress, "progress"));
    }

    /** Adds text; {@code flags} are those of {@link Model#tokenize}. */
    public void feed(String text, int flags) {
        Native.feedText(number(), text, flags);
    }

    /**
     * Adds tokens to an empty session by way of a folder of saved sessions, which holds {@code limit} bytes at most; gives how
     * many tokens came from it.
     */
    public long feedCached(int[] tokens, String folder, long limit) {
        return Native.feedCached(number(), tokens, folder, limit);
    }

    /** Chooses the next token, and adds it to the sequence. */
    public Token step() {
        return Native.step(number());
    }

    /** The same from the option of this latent. */
    public Token step(int latent) {
        return Native.stepLatent(number(), latent);
    }

    /** Generates until an end token, a stop string, the limit (0 is none) or the listener ends it. */
    public Reason run(long limit, List<String> stops, Listener listener) {
        RunOptions options = new RunOptions();
        options.limit = limit;
        options.stops = stops;
        return run(options, listener);
    }

    /** Generates until an end token, the options or the listener end it. */
    public Reason run(RunOptions options, Listener listener) {
        return Reason.values()[Native.run(number(), options, Objects.requireNonNull(listener, "listener"))];
    }

    /** Cancels the call that is inside, or else the next one. Any thread. */
    public void cancel() {
        Native.cancel(number());
    }

    /** Takes back a cancellation that no call has seen yet. Any thread. */
    public void withdrawCancel() {
        Native.withdrawCancel(number());
    }

    /** Computing takes at most this share of the time; 1 is no limit. */
    public void setDuty(float share) {
        Native.setDuty(number(), share);
    }

    /** The number of tokens so far. */
    public long position() {
        return Native.position(number());
    }

    /** The context size in positions. */
    public long context() {
        return Native.context(number());
    }

    /** The tokens so far. */
    public int[] tokens() {
        return Native.sessionTokens(number());
    }

    /** Forgets the tokens from {@code position} on. */
    public void rewind(long position) {
        Native.rewind(number(), position);
    }

    /** How tokens are sampled from now on; null is greedy. */
    public void setSampling(Sampling sampling) {
        Object editor = sampling == null ? null : sampling.editor;
        Sampling prepared = sampling == null ? null : sampling.prepared();
        callbacks.keep(Callbacks.Kind.EDIT, editor, edit -> Native.setSampling(number(), prepared, edit));
    }

    /** How latents are selected from now on; null is as at first. */
    public void setSelection(Selection selection) {
        Object chooser = selection == null ? null : selection.chooser;
        callbacks.keep(Callbacks.Kind.CHOOSE, chooser, choose -> Native.setSelection(number(), selection, choose));
    }

    /** Constrains what is generated from here on; null leaves it free. */
    public void setConstraint(Grammar grammar) {
        setConstraint(grammar, new Grammar.Options());
    }

    /** Constrains what is generated from here on; null leaves it free. */
    public void setConstraint(Grammar grammar, Grammar.Options options) {
        Native.setConstraint(number(), grammar == null ? 0 : grammar.number(), options);
    }

    /** Whether the generated text is a whole one of its grammar. */
    public boolean isComplete() {
        return Native.isComplete(number());
    }

    /** Sets the adapters of all that follows, each with its scale (1 is as it was trained). */
    public void setAdapters(List<Adapter> adapters, float[] scales) {
        Native.setAdapters(number(), adapters.stream().mapToLong(Adapter::number).toArray(), scales);
    }

    /** What guesses the tokens to come. */
    public enum Draft { NONE, NGRAM, MODEL }

    /** Sets what guesses the tokens to come, the model of {@link Draft#MODEL}; the text stays the same. */
    public void setDraft(Draft draft, Model model) {
        Native.setDraft(number(), draft.ordinal(), model == null ? 0 : model.number());
    }

    /** The logits of the next token; {@code latent} is 0 but for {@link Distribution#OPTION}. */
    public float[] logits(Distribution distribution, int latent) {
        return Native.logits(number(), distribution.ordinal(), latent);
    }

    /** Adds tokens, and tells the natural logarithm of the probability of each; NaN for the first of a sequence. */
    public float[] score(int[] tokens) {
        return Native.score(number(), tokens);
    }

    /** The embedding of a text, which is what the session holds afterwards. */
    public float[] embed(int[] tokens, Pooling pooling, boolean normalized) {
        return Native.embed(number(), tokens, pooling.ordinal(), normalized);
    }

    /** How relevant a document is to a query, as a reranker scores the pair. */
    public float rank(String query, String document) {
        return Native.rank(number(), query, document);
    }

    /** The policy's probability of each latent for the next step. */
    public float[] policy() {
        return Native.policy(number());
    }

    /** The hidden state of the last token. */
    public float[] hidden() {
        return Native.hidden(number());
    }

    /** Adds tokens, and tells which latent the encoder assigns to each; -1 for the first of a sequence. */
    public int[] encode(int[] tokens) {
        return Native.encode(number(), tokens);
    }

    /** The option set of the current step, with the {@code top} most probable tokens of each option. */
    public OptionSet optionSet(int top) {
        return new OptionSet(Native.newOptionSet(number(), top), true);
    }

    /** Branches that begin where the session is. */
    public Branches branches(Branches.Options options) {
        Selection.Chooser chooser = options.selection == null ? null : options.selection.chooser;
        return callbacks.make(() -> {
            long[] made = {0};
            callbacks.keep(Callbacks.Kind.CHOOSE, chooser, choose -> made[0] = Native.newBranches(number(), options, choose));
            return new Branches(made[0], callbacks);
        });
    }

    /** Comes to where a branch is, as if it had generated the branch's tokens. */
    public void adopt(Branches branches, int branch) {
        Native.adopt(number(), branches.number(), branch);
    }

    /** Continuations to choose from, the most probable first. */
    public List<Suggestion> suggest(Suggestion.Options options) {
        return List.of(Native.suggest(number(), options));
    }

    /** Saves the session to a file, which is replaced as a whole. */
    public void saveFile(String path) {
        Native.saveFile(number(), path);
    }

    /** Puts a saved session in the place of this one. */
    public void restoreFile(String path) {
        Native.restoreFile(number(), path);
    }

    /** The session as bytes, to be continued in another process. */
    public byte[] save() {
        return Native.save(number());
    }

    /** Puts a saved session in the place of this one. */
    public void restore(byte[] saved) {
        Native.restore(number(), saved);
    }

    /** The bytes that the session holds, without the weights. */
    public long memory() {
        return Native.sessionMemory(number());
    }

    /** Frees memory that can be allocated again: for {@code onTrimMemory}. */
    public void trim() {
        Native.trim(number());
    }

    /** What the session has done. */
    public Statistics statistics() {
        return Native.statistics(number());
    }

    @Override
    void free(long number) {
        Native.freeSession(number);
        callbacks.quit();
    }
}
