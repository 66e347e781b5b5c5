package org.ollm;

/** A grammar, compiled for the tokens of a model: for {@link Session#setConstraint}. Sessions that keep to it keep it alive. */
public final class Grammar extends Handle {
    /** What the text of a grammar is written in. */
    public enum Kind { JSON_SCHEMA, REGEX, LARK, GBNF }

    /** Where a constraint begins. */
    public static final class Options {
        /** The text is free until it has this text; null constrains all of it. */
        public String trigger;
        /** So many tokens at the end of the sequence are the beginning of the constrained text. */
        public long begun;
    }

    /** Compiles a grammar. */
    public Grammar(Model model, Kind kind, String text) {
        super(Native.newGrammar(model.number(), kind.ordinal(), text));
    }

    @Override
    void free(long number) {
        Native.freeGrammar(number);
    }
}
