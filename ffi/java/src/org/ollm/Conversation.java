package org.ollm;

import java.util.List;
import java.util.Objects;

/**
 * A conversation whose answers come from a session, by the chat template of its model. One thread at a time; {@link
 * Session#cancel} ends an answer, and what came until then is the answer.
 */
public final class Conversation extends Handle {
    /** The settings of a conversation. */
    public static final class Options {
        /** Variables of the chat template, as a JSON object: {@code tools} and others; null for none. */
        public String variablesJson;
        /** With {@link #limitReasoning}: tokens that the model may think before each answer. */
        public long reasoningBudget;
        /** Whether what the model thinks has a limit. */
        public boolean limitReasoning;
        /** Whether the arguments of tool calls follow the JSON schemas of the tools. */
        public boolean constrainCalls;
        /** Whether a full context ends an answer, and the model forgets no turns. */
        public boolean noContextShift;
        /** How the model calls tools. */
        public ChatParser.Format toolFormat = ChatParser.Format.AUTO;
    }

    /** The options of an answer; 0 takes the default. */
    public static final class AnswerOptions {
        /** Tokens at most. */
        public long limit;
        /** Texts that end the answer, and are not part of it. */
        public List<String> stops = List.of();
    }

    /** What an answer took. */
    public static final class Answer {
        /** Tokens of the prompt. */
        public long promptTokens;
        /** How many of them the session had already. */
        public long reusedTokens;
        /** Tokens of the answer. */
        public long answerTokens;
        /** Whole turns that the model forgot because the context was full. */
        public long forgottenTurns;
        /** Their messages. */
        public long forgottenMessages;
        /** Why it ended. */
        public Session.Reason reason;
        /** Whether the answer is now the last message; it is not where it was ended before anything came. */
        public boolean hasMessage;

        Answer() {}
    }

    /** Sees the parts of an answer as they come, on the thread that asked for it. */
    public interface Listener {
        /**
         * A part. What it throws ends the answer, and comes out of it.
         *
         * @return whether to go on
         */
        boolean onEvent(ChatEvent event);
    }

    /** A conversation without messages, whose answers come from {@code session}. */
    public Conversation(Session session, Options options) {
        super(Native.newChat(session.number(), options));
    }

    /** Changes the settings. */
    public void setOptions(Options options) {
        Native.setChatOptions(number(), options);
    }

    /** Adds a message: what a user says, or another one. */
    public void add(String role, String content) {
        Native.addMessage(number(), role, content);
    }

    /** Adds messages with all their fields: a JSON object, or a list of them. */
    public void addJson(String json) {
        Native.addMessages(number(), json);
    }

    /** Sets the system message; null leaves the conversation without. */
    public void setSystem(String text) {
        Native.setSystem(number(), text);
    }

    /** Answers, and adds the answer as a message. */
    public Answer answer(AnswerOptions options, Listener listener) {
        return Native.answer(number(), options, Objects.requireNonNull(listener, "listener"));
    }

    /** How many messages there are. */
    public long count() {
        return Native.countMessages(number());
    }

    /** How many of them the model has forgotten. */
    public long forgotten() {
        return Native.countForgotten(number());
    }

    /** A message as JSON. */
    public String message(long index) {
        return Native.message(number(), index);
    }

    /** Takes back the last turn; gives how many messages that were. */
    public long takeBack() {
        return Native.takeBack(number());
    }

    /** Forgets the messages after the first {@code count}. */
    public void truncate(long count) {
        Native.truncate(number(), count);
    }

    /** Forgets all but the system messages. */
    public void reset() {
        Native.resetChat(number());
    }

    /** Saves the conversation with its session. */
    public void saveFile(String path) {
        Native.saveChat(number(), path);
    }

    /** Restores conversation and session. */
    public void restoreFile(String path) {
        Native.restoreChat(number(), path);
    }

    @Override
    void free(long number) {
        Native.freeChat(number);
    }
}
