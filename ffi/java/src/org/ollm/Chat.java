package org.ollm;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/** A conversation, and what the chat template is given beside it. */
public final class Chat {
    private final List<String> roles = new ArrayList<>();
    private final List<String> contents = new ArrayList<>();
    /** The messages as JSON, for those with other fields than role and content; null where {@link #add} gives them. */
    public String messagesJson;
    /** Variables of the chat template, as a JSON object: {@code tools}, {@code documents} and others; null for none. */
    public String variablesJson;
    /** Whether the text ends with the last message, not where the model's answer begins. */
    public boolean noAnswer;

    /** Adds a message; gives this conversation. */
    public Chat add(String role, String content) {
        Objects.requireNonNull(role, "role");
        contents.add(Objects.requireNonNull(content, "content"));
        roles.add(role);
        return this;
    }
}
