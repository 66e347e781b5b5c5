package org.ollm;

import java.util.Objects;

/** The library as a whole. */
public final class Ollm {
    private Ollm() {}

    /** How much a message matters. */
    public enum LogLevel { ERROR, WARNING, INFO }

    /** Takes messages of the library, on any thread and on several at once. What it throws goes to the thread's handler. */
    public interface Log {
        /** A message. */
        void onMessage(LogLevel level, String message);
    }

    static volatile Log log = (level, message) -> {};

    /** The version of the library. */
    public static String version() {
        return Native.version();
    }

    /** The version of its binary interface. */
    public static int abiVersion() {
        return Native.abiVersion();
    }

    /** Sends messages of the whole library to {@code to}; at first they go nowhere. */
    public static void setLog(Log to) {
        log = Objects.requireNonNull(to, "log");
        Native.setLog(true);
    }

    /** Ends that. */
    public static void clearLog() {
        Native.setLog(false);
        log = (level, message) -> {};
    }
}
