package org.ollm;

/** Takes the text of an answer apart: what the model thinks, what it says, which tools it calls. One thread at a time. */
public final class ChatParser extends Handle {
    /** How a family of models calls tools. */
    public enum Format {
        AUTO, NONE, HERMES, LLAMA3, GEMMA, LFM2, MISTRAL, QWEN_XML, SEED, GLM, HARMONY, GEMMA4, GRANITE, COMMAND, HUNYUAN,
        DEEP_SEEK, DEEP_SEEK_V31, NEMOTRON
    }

    /** A parser for the answer to a conversation; null is one without tools whose prompt ends outside of a thought. */
    public ChatParser(Model model, Chat chat, Format format) {
        super(Native.newParser(model.number(), chat, format.ordinal()));
    }

    /** Takes a piece of the answer's text, such as that of one token. */
    public void push(String text) {
        Native.pushParser(number(), text);
    }

    /** Ends the answer: what was still undecided comes with {@link #next}. */
    public void finish() {
        Native.finishParser(number());
    }

    /** The next part of the answer, in order; one of the kind {@link ChatEvent.Kind#NONE} if there is none yet. */
    public ChatEvent next() {
        return Native.nextEvent(number());
    }

    @Override
    void free(long number) {
        Native.freeParser(number);
    }
}
