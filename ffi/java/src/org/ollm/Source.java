package org.ollm;

import java.nio.ByteBuffer;
import java.util.Objects;

/** Where the bytes of a GGUF file come from. */
public final class Source {
    /** The kinds of sources. */
    enum Kind { FILE, DESCRIPTOR, MEMORY }

    final Kind kind;
    String path;
    int descriptor;
    long offset;
    long length;
    byte[] bytes;
    ByteBuffer buffer;
    boolean copied;

    private Source(Kind kind) {
        this.kind = kind;
    }

    /** A file, which nobody may change while it is in use: to replace it, rename a new one over it, or see {@link #copied}. */
    public static Source file(String path) {
        Source source = new Source(Kind.FILE);
        source.path = Objects.requireNonNull(path, "path");
        return source;
    }

    /**
     * A part of an open file, such as an asset that an Android package holds uncompressed: {@code
     * descriptor(asset.getParcelFileDescriptor().getFd(), asset.getStartOffset(), asset.getLength())}. The descriptor may be
     * closed when the call that takes the source returns. A length of 0 is all to the end.
     */
    public static Source descriptor(int descriptor, long offset, long length) {
        if (descriptor < 0 || offset < 0 || length < 0) {
            throw new IllegalArgumentException("negative: " + descriptor + ", " + offset + ", " + length);
        }
        Source source = new Source(Kind.DESCRIPTOR);
        source.descriptor = descriptor;
        source.offset = offset;
        source.length = length;
        return source;
    }

    /** Bytes, which are copied. */
    public static Source memory(byte[] bytes) {
        Source source = new Source(Kind.MEMORY);
        source.bytes = Objects.requireNonNull(bytes, "bytes");
        return source;
    }

    /** The bytes from the position of a buffer to its limit: of a direct one they are used in place, and must stay as they are. */
    public static Source memory(ByteBuffer buffer) {
        ByteBuffer rest = buffer.slice();
        if (!rest.isDirect()) {
            byte[] bytes = new byte[rest.remaining()];
            rest.get(bytes);
            return memory(bytes);
        }
        Source source = new Source(Kind.MEMORY);
        source.buffer = rest;
        return source;
    }

    /** The same source, whose bytes are copied to memory: for files that may be changed or cut while they are in use. */
    public Source copied() {
        Source source = new Source(kind);
        source.path = path;
        source.descriptor = descriptor;
        source.offset = offset;
        source.length = length;
        source.bytes = bytes;
        source.buffer = buffer;
        source.copied = true;
        return source;
    }
}
