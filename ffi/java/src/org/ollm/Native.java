package org.ollm;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.Executor;

/**
 * The functions of the files in {@code jni}, and what these call. A handle is a number, which C checks: 0 is none, and one that
 * was freed is an error. Null is a {@link NullPointerException}, a negative number an {@link IllegalArgumentException}.
 */
final class Native {
    static {
        System.loadLibrary("ollm_jni");
    }

    private Native() {}

    /** The bytes of a text: the strings of JNI are not UTF-8. */
    static byte[] utf8(String text) {
        try {
            ByteBuffer encoded = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] bytes = new byte[encoded.remaining()];
            encoded.get(bytes);
            return bytes;
        } catch (CharacterCodingException exception) {
            throw new IllegalArgumentException("the text has half a surrogate pair, which is no character", exception);
        }
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static byte[][] texts(List<String> texts) {
        return texts.stream().map(Native::utf8).toArray(byte[][]::new);
    }

    static boolean onToken(Session.Listener listener, Token token) {
        return listener.onToken(token);
    }

    static boolean onEvent(Conversation.Listener listener, ChatEvent event) {
        return listener.onEvent(event);
    }

    static boolean onStep(Branches.Watcher watcher, Branch[] branches) {
        return watcher.onStep(branches);
    }

    static boolean onProgress(Progress progress, float share) {
        return progress.onProgress(share);
    }

    static byte[] onAnswer(Branches.Finder finder, String text) {
        String answer = finder.find(text);
        return answer == null ? null : utf8(answer);
    }

    static double onScore(Branches.Scorer scorer, Branch branch) {
        return scorer.score(branch);
    }

    static void onStart(Executor executor, long worker) {
        executor.execute(() -> {
            try {
                runWorker(worker);
            } catch (OllmException exception) {
                // The session was closed before the worker began.
                if (exception.status() != OllmException.INVALID_HANDLE) throw exception;
            }
        });
    }

    static void onLog(int level, String message) {
        try {
            Ollm.log.onMessage(Ollm.LogLevel.values()[level], message);
        } catch (RuntimeException exception) {
            Thread thread = Thread.currentThread();
            thread.getUncaughtExceptionHandler().uncaughtException(thread, exception);
        }
    }

    static int choose(int chooser, float[] hidden, float[] policy) {
        return Callbacks.get(chooser, Selection.Chooser.class).choose(hidden, policy);
    }

    static float[] edit(int editor, float[] logits, int[] tokens) {
        Callbacks.get(editor, Sampling.Editor.class).edit(logits, tokens);
        return logits;
    }

    // The library, models, plugins, adapters, grammars, tokens and text: models.c.

    static native String version();

    static native int abiVersion();

    static native void setLog(boolean on);

    static native long loadModel(Source source, Model.Options options);

    static native void retainModel(long model);

    static native void releaseModel(long model);

    static native String modelInfo(long model);

    static native String modelMetadata(long model, String key);

    static native long loadPlugin(long model, Source source);

    static native long bundledPlugin(long model);

    static native void retainPlugin(long plugin);

    static native void releasePlugin(long plugin);

    static native long optionCount(long plugin);

    static native String pluginInfo(long plugin);

    static native long loadAdapter(long model, Source source);

    static native void releaseAdapter(long adapter);

    static native long newThreadPool(ThreadPool.Options options);

    static native void releaseThreadPool(long pool);

    static native long newGrammar(long model, int kind, String text);

    static native void freeGrammar(long grammar);

    static native int[] tokenize(long model, String text, int flags);

    static native String detokenize(long model, int[] tokens);

    static native byte[] tokenBytes(long model, int token);

    static native boolean isEnd(long model, int token);

    static native int specialToken(long model, int special);

    static native String chatText(long model, List<String> roles, List<String> contents, boolean answer);

    static native Memory memoryNeeded(Source model, Source plugin, Session.Options options);

    // Conversations: chats.c.

    static native String chatRender(long model, Chat chat);

    static native int[] chatTokens(long model, Chat chat);

    static native long newParser(long model, Chat chat, int format);

    static native void freeParser(long parser);

    static native void pushParser(long parser, String text);

    static native void finishParser(long parser);

    static native ChatEvent nextEvent(long parser);

    static native long newChat(long session, Conversation.Options options);

    static native void freeChat(long chat);

    static native void setChatOptions(long chat, Conversation.Options options);

    static native void addMessage(long chat, String role, String content);

    static native void addMessages(long chat, String json);

    static native void setSystem(long chat, String text);

    static native Conversation.Answer answer(long chat, Conversation.AnswerOptions options, Conversation.Listener listener);

    static native long countMessages(long chat);

    static native long countForgotten(long chat);

    static native String message(long chat, long index);

    static native long takeBack(long chat);

    static native void truncate(long chat, long count);

    static native void resetChat(long chat);

    static native void saveChat(long chat, String path);

    static native void restoreChat(long chat, String path);

    // Sessions and option sets: sessions.c.

    static native void runWorker(long worker);

    static native long newSession(long model, long plugin, Session.Options options);

    static native void freeSession(long session);

    static native long fork(long session);

    static native void cancel(long session);

    static native void withdrawCancel(long session);

    static native void trim(long session);

    static native long position(long session);

    static native long context(long session);

    static native long sessionMemory(long session);

    static native void feed(long session, int[] tokens, Progress progress);

    static native void feedText(long session, String text, int flags);

    static native long feedCached(long session, int[] tokens, String folder, long limit);

    static native void setDuty(long session, float share);

    static native int[] sessionTokens(long session);

    static native void rewind(long session, long position);

    static native void setSelection(long session, Selection selection, int choose);

    static native void setSampling(long session, Sampling sampling, int edit);

    static native void setConstraint(long session, long grammar, Grammar.Options options);

    static native boolean isComplete(long session);

    static native void setDraft(long session, int draft, long model);

    static native void setAdapters(long session, long[] adapters, float[] scales);

    static native Token step(long session);

    static native Token stepLatent(long session, int latent);

    static native int run(long session, Session.RunOptions options, Session.Listener listener);

    static native long newBatch();

    static native void freeBatch(long batch);

    static native Token[] stepBatch(long batch, long[] sessions, int[] outcomes);

    static native float[] logits(long session, int distribution, int latent);

    static native float[] score(long session, int[] tokens);

    static native float[] embed(long session, int[] tokens, int pooling, boolean normalized);

    static native float rank(long session, String query, String document);

    static native float[] policy(long session);

    static native float[] hidden(long session);

    static native int[] encode(long session, int[] tokens);

    static native long newOptionSet(long session, int top);

    static native void freeOptionSet(long options);

    static native float[] optionSetPolicy(long options);

    static native Candidate[] optionSetTop(long options, int latent);

    static native void saveFile(long session, String path);

    static native void restoreFile(long session, String path);

    static native byte[] save(long session);

    static native void restore(long session, byte[] saved);

    static native Statistics statistics(long session);

    // Branches, their search, and suggestions: branches.c.

    static native long newBranches(long session, Branches.Options options, int choose);

    static native void freeBranches(long branches);

    static native void cancelBranches(long branches);

    static native void withdrawCancelBranches(long branches);

    static native void expandBranch(long branches, int branch, Expansion expansion);

    static native long stepBranches(long branches);

    static native void pruneBranch(long branches, int branch);

    static native long countBranches(long branches);

    static native Branch getBranch(long branches, int branch);

    static native void adopt(long session, long branches, int branch);

    static native Branches.Found searchBranches(long branches, Branches.Search search, Branches.Watcher watcher);

    static native Branches.Found voteBranches(long branches, Branches.Tally tally);

    static native Suggestion[] suggest(long session, Suggestion.Options options);
}
