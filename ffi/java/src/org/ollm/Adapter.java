package org.ollm;

/** Low-rank adapters of a model (LoRA), for {@link Session#setAdapters}. Threads share it, and sessions keep it alive. */
public final class Adapter extends Handle {
    private Adapter(long number) {
        super(number);
    }

    /** Loads adapters of {@code model}. */
    public static Adapter load(Model model, Source source) {
        return new Adapter(Native.loadAdapter(model.number(), source));
    }

    @Override
    void free(long number) {
        Native.releaseAdapter(number);
    }
}
