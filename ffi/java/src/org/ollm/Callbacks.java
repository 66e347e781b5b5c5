package org.ollm;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/**
 * Callbacks that C keeps: those of a session, its forks and its branches, which all may call them. C knows them by numbers.
 * They go with the last of these; those that a lone session has replaced go at once.
 */
final class Callbacks {
    /** What calls of Java are about: a family has at most one of each where it is one session alone. */
    enum Kind { CHOOSE, EDIT }

    private static final Map<Integer, Object> ALL = new ConcurrentHashMap<>();
    private static final AtomicInteger LAST = new AtomicInteger();

    private final Map<Integer, Kind> mine = new ConcurrentHashMap<>();
    private final AtomicInteger members = new AtomicInteger(1);

    /** The callback of a number. */
    static <T> T get(int number, Class<T> type) {
        return type.cast(ALL.get(number));
    }

    /** How many callbacks there are, of all sessions. */
    static int count() {
        return ALL.size();
    }

    /** Keeps a callback, which may be null, for a call of C that takes its number; 0 is none. */
    synchronized void keep(Kind kind, Object callback, Call call) {
        int number = callback == null ? 0 : LAST.updateAndGet(last -> last == Integer.MAX_VALUE ? 1 : last + 1);
        if (callback != null) {
            ALL.put(number, callback);
            mine.put(number, kind);
        }
        try {
            call.run(number);
        } catch (RuntimeException exception) {
            drop(number);
            throw exception;
        }
        if (members.get() == 1) {
            for (Map.Entry<Integer, Kind> one : mine.entrySet()) {
                if (one.getValue() == kind && one.getKey() != number) drop(one.getKey());
            }
        }
    }

    /** Makes one more member, which quits at its end. */
    <T> T make(Supplier<T> member) {
        members.incrementAndGet();
        try {
            return member.get();
        } catch (RuntimeException exception) {
            quit();
            throw exception;
        }
    }

    /** Counts one less. */
    void quit() {
        if (members.decrementAndGet() == 0) mine.keySet().forEach(this::drop);
    }

    private void drop(int number) {
        mine.remove(number);
        ALL.remove(number);
    }

    /** A call of C that takes a callback. */
    interface Call {
        void run(int number);
    }
}
