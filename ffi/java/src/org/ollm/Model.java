package org.ollm;

import java.util.List;

/** A backbone and its tokenizer. It does not change: threads share it, and sessions keep it alive. */
public final class Model extends Handle {
    /**
     * The text of a control token becomes that token: only for text that you trust. For conversations see {@link
     * #chatTokens}.
     */
    public static final int SPECIAL = 1;
    /** The token for the beginning of a text comes first, if the model's file asks for one. */
    public static final int BOS = 2;
    /**
     * The token for the end of a whole text comes last, if the model's file asks for one: an
     * embedding is of such.
     */
    public static final int EOS = 4;

    /** How to load; 0 takes the default. */
    public static final class Options {
        /** Bytes of memory that the weights may take. */
        public long memoryLimit;
        /** Threads that prepare the weights. */
        public int threads;
        /** Is told how far the load is; may be null. */
        public Progress progress;
    }

    /** Special tokens. */
    public enum Special { BOS, EOS, EOT, EOM, UNKNOWN, PADDING, SEPARATOR }

    private Model(long number) {
        super(number);
    }

    /** Loads a GGUF file. */
    public static Model load(String path) {
        return load(Source.file(path));
    }

    /** Loads a model. */
    public static Model load(Source source) {
        return load(source, new Options());
    }

    /** Loads a model. */
    public static Model load(Source source, Options options) {
        return new Model(Native.loadModel(source, options));
    }

    /** What a model, a plugin (null for none) and a session will need. Only the head of the files is read. */
    public static Memory memoryNeeded(Source model, Source plugin, Session.Options options) {
        return Native.memoryNeeded(model, plugin, options);
    }

    /** A second owner of the same model: each has to be closed. */
    public Model share() {
        Native.retainModel(number());
        return new Model(number());
    }

    /** What the model is, as JSON. */
    public String info() {
        return Native.modelInfo(number());
    }

    /** The value of a key of the file's metadata, as JSON. */
    public String metadata(String key) {
        return Native.modelMetadata(number(), key);
    }

    /** The tokens of a text; flags are {@link #SPECIAL}, {@link #BOS}, {@link #EOS}, or 0. */
    public int[] tokenize(String text, int flags) {
        return Native.tokenize(number(), text, flags);
    }

    /** The text of tokens. */
    public String detokenize(int[] tokens) {
        return Native.detokenize(number(), tokens);
    }

    /** The bytes that one token stands for, which may be a part of a character. */
    public byte[] tokenBytes(int token) {
        return Native.tokenBytes(number(), token);
    }

    /** Whether a text or a turn ends at this token. */
    public boolean isEnd(int token) {
        return Native.isEnd(number(), token);
    }

    /** A special token; -1 if the model's file names none. */
    public int special(Special special) {
        return Native.specialToken(number(), special.ordinal());
    }

    /**
     * The text of a conversation, up to where the model's answer begins: as many roles as contents, turn by turn. It is for
     * reading; to feed a conversation, see {@link #chatTokens}.
     */
    public String chatText(List<String> roles, List<String> contents) {
        return Native.chatText(number(), roles, contents, true);
    }

    /** The text of a conversation with all that the chat template is given, for reading. */
    public String chatText(Chat chat) {
        return Native.chatRender(number(), chat);
    }

    /** The tokens of a conversation, to be fed. What is said in it is never a control token, whatever it looks like. */
    public int[] chatTokens(Chat chat) {
        return Native.chatTokens(number(), chat);
    }

    @Override
    void free(long number) {
        Native.releaseModel(number);
    }
}
