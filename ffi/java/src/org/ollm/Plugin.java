package org.ollm;

/** The plugin of a model: what makes an option set of its one distribution. Threads share it, and sessions keep it alive. */
public final class Plugin implements AutoCloseable {
    final long handle;

    private Plugin(long handle) {
        this.handle = handle;
    }

    /** Loads the plugin of {@code model} from a GGUF file. */
    public static Plugin load(Model model, String path) {
        return new Plugin(Native.loadPlugin(model.handle, Model.utf8(path), -1, 0, 0));
    }

    /** Loads it from a file inside an open file: see {@link Model#load(int, long, long)}. */
    public static Plugin load(Model model, int descriptor, long offset, long length) {
        return new Plugin(Native.loadPlugin(model.handle, null, descriptor, offset, length));
    }

    /** Gives the plugin up; a second time does nothing. */
    @Override
    public void close() {
        Native.releasePlugin(handle);
    }
}
