package org.ollm;

import java.util.ArrayList;
import java.util.List;

/** The memory of batched steps: a step of several sessions of one model in one read of the weights. */
public final class Batch extends Handle {
    /** What a step of one session gave. */
    public static final class Outcome {
        /** Its token; null if it failed. */
        public final Token token;
        /** The number of the {@code ollm_status}; 0 if it worked. */
        public final int status;

        Outcome(Token token, int status) {
            this.token = token;
            this.status = status;
        }
    }

    /** Memory of batched steps. */
    public Batch() {
        super(Native.newBatch());
    }

    /** A step of each session, each as it would be alone. One that fails does not hold up the others. */
    public List<Outcome> step(List<Session> sessions) {
        long[] numbers = sessions.stream().mapToLong(Session::number).toArray();
        int[] statuses = new int[numbers.length];
        Token[] tokens = Native.stepBatch(number(), numbers, statuses);
        List<Outcome> outcomes = new ArrayList<>();
        for (int i = 0; i < statuses.length; i++) {
            outcomes.add(new Outcome(statuses[i] == 0 ? tokens[i] : null, statuses[i]));
        }
        return outcomes;
    }

    @Override
    void free(long number) {
        Native.freeBatch(number);
    }
}
