package org.ollm;

/** The plugin of a model: what makes an option set of its one distribution. Threads share it, and sessions keep it alive. */
public final class Plugin extends Handle {
    private Plugin(long number) {
        super(number);
    }

    /** Loads the plugin of {@code model} from a GGUF file. */
    public static Plugin load(Model model, String path) {
        return load(model, Source.file(path));
    }

    /** Loads the plugin of {@code model}. */
    public static Plugin load(Model model, Source source) {
        return new Plugin(Native.loadPlugin(model.number(), source));
    }

    /** The plugin inside the model's own file. */
    public static Plugin bundled(Model model) {
        return new Plugin(Native.bundledPlugin(model.number()));
    }

    /** A second owner of the same plugin: each has to be closed. */
    public Plugin share() {
        Native.retainPlugin(number());
        return new Plugin(number());
    }

    /** K, the number of options. */
    public int optionCount() {
        return (int) Native.optionCount(number());
    }

    /** What the plugin is, as JSON. */
    public String info() {
        return Native.pluginInfo(number());
    }

    @Override
    void free(long number) {
        Native.releasePlugin(number);
    }
}
