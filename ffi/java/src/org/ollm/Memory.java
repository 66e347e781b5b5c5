package org.ollm;

/** Bytes of memory, without the pages of mapped files. */
public final class Memory {
    /** The model's weights. */
    public long weights;
    /** The plugin's weights. */
    public long plugin;
    /** The KV cache of a session whose context is full. */
    public long kv;
    /** Buffers of a session. */
    public long scratch;
    /** All of it. */
    public long total;

    Memory() {}
}
