package org.ollm;

import java.util.concurrent.Executor;

/** Workers that several sessions share: {@link Session.Options#pool}. Sessions keep them alive. */
public final class ThreadPool extends Handle {
    /** The threads of a pool; 0 takes the default. */
    public static final class Options {
        /** Threads that compute together, the caller's included. */
        public int threads;
        /** CPU affinity of the workers: bit 0 is processor 0. */
        public long affinity;
        /** Threads of the application for the workers, each busy until the pool and its sessions are closed; may be null. */
        public Executor executor;
    }

    /** Starts the workers. */
    public ThreadPool(Options options) {
        super(Native.newThreadPool(options));
    }

    @Override
    void free(long number) {
        Native.releaseThreadPool(number);
    }
}
