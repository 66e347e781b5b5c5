package org.ollm;

/** The functions of {@code ollm_jni.c}. A handle is a number, which C checks: 0 is none, and one that was freed is an error. */
final class Native {
    static {
        System.loadLibrary("ollm_jni");
    }

    private Native() {}

    static native String version();

    static native long loadModel(byte[] path, int descriptor, long offset, long length);

    static native void releaseModel(long model);

    static native byte[] modelInfo(long model);

    static native int[] tokenize(long model, byte[] text, int flags);

    static native byte[] detokenize(long model, int[] tokens);

    static native byte[] chatText(long model, byte[][] roles, byte[][] contents);

    static native long loadPlugin(long model, byte[] path, int descriptor, long offset, long length);

    static native void releasePlugin(long plugin);

    static native long newSession(long model, long plugin, int context, int threads, long memoryLimit);

    static native void freeSession(long session);

    static native long fork(long session);

    static native void feed(long session, int[] tokens);

    static native void cancel(long session);

    static native long position(long session);

    static native void rewind(long session, long position);

    static native void trim(long session);

    static native void setSampling(long session, float temperature, float topP, long seed);

    static native void fixLatent(long session, int latent);

    static native float[] policy(long session);

    static native byte[] save(long session);

    static native void restore(long session, byte[] saved);

    static native long newBranches(long session, int limit, byte[][] stops);

    static native void freeBranches(long branches);

    static native void cancelBranches(long branches);

    static native void expandBranch(long branches, int branch, int kind, int count, float temperature);

    static native int stepBranches(long branches);

    static native void pruneBranch(long branches, int branch);

    static native int countBranches(long branches);

    static native Branch getBranch(long branches, int branch);

    static native Branches.Found searchBranches(long branches, int[] options, float temperature, byte[] rule,
            Branches.Watch watch);

    static native Branches.Found voteBranches(long branches, byte[] rule, int weight);

    static native void adopt(long session, long branches, int branch);

    static native Suggestion[] suggest(long session, int count, int tokens, int until);

    static native int run(long session, int limit, byte[][] stops, Session.Listener listener);
}
