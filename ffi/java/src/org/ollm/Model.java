package org.ollm;

import java.nio.charset.StandardCharsets;
import java.util.List;

/** A backbone and its tokenizer. It does not change: threads share it, and sessions keep it alive. */
public final class Model implements AutoCloseable {
    /** The text of a control token becomes that token: for text that you trust, such as that of {@link #chatText}. */
    public static final int SPECIAL = 1;
    /** The token for the beginning of a text comes first, if the model's file asks for one. */
    public static final int BOS = 2;

    final long handle;

    private Model(long handle) {
        this.handle = handle;
    }

    /** The version of the library. */
    public static String version() {
        return Native.version();
    }

    /** Loads a GGUF file. */
    public static Model load(String path) {
        return new Model(Native.loadModel(utf8(path), -1, 0, 0));
    }

    /**
     * Loads a GGUF file inside an open file, such as an asset that an Android package holds uncompressed:
     * {@code load(asset.getParcelFileDescriptor().getFd(), asset.getStartOffset(), asset.getLength())}. The descriptor may be
     * closed afterwards. A length of 0 is all to the end.
     */
    public static Model load(int descriptor, long offset, long length) {
        return new Model(Native.loadModel(null, descriptor, offset, length));
    }

    /** What the model is, as JSON. */
    public String info() {
        return text(Native.modelInfo(handle));
    }

    /** The tokens of a text; {@code flags} are {@link #SPECIAL} and {@link #BOS}, or 0. */
    public int[] tokenize(String text, int flags) {
        return Native.tokenize(handle, utf8(text), flags);
    }

    /** The text of tokens. */
    public String detokenize(int[] tokens) {
        return text(Native.detokenize(handle, tokens));
    }

    /** The text of a conversation, up to where the model's answer begins: roles and contents, turn by turn. */
    public String chatText(List<String> roles, List<String> contents) {
        return text(Native.chatText(handle, utf8(roles), utf8(contents)));
    }

    /** Gives the model up; a second time does nothing. */
    @Override
    public void close() {
        Native.releaseModel(handle);
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static byte[][] utf8(List<String> texts) {
        return texts.stream().map(Model::utf8).toArray(byte[][]::new);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
