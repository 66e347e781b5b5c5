package org.ollm;

/** A part of an answer. */
public final class ChatEvent {
    /** What a part of an answer is. */
    public enum Kind { NONE, REASONING, TEXT, TOOL_CALL, MALFORMED }

    /** What this is. */
    public Kind kind;
    /** What is thought or said, or why a call cannot be read. */
    public String text;
    /** The tool that is called. */
    public String name;
    /** Its arguments: a JSON object. */
    public String arguments;
    /** What names the call. */
    public String id;

    ChatEvent() {}
}
