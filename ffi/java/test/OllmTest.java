import java.io.FileDescriptor;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.ollm.*;

/** The JNI layer on a desktop JVM. usage: OllmTest MODEL PLUGIN CHAT_MODEL FOLDER */
public final class OllmTest {
    private static final int[] PROMPT = {10, 200, 31, 47, 5};
    private static final int INVALID_ARGUMENT = 1, INVALID_HANDLE = 2, BUSY = 5, CANCELLED = 6, IO = 9, UNSUPPORTED = 11,
            MISMATCH = 12, NO_PLUGIN = 13, EMPTY = 17;

    static void check(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static <T extends Throwable> T throwsA(Class<T> type, Runnable call) {
        try {
            call.run();
        } catch (Throwable thrown) {
            check(type.isInstance(thrown), thrown.toString());
            return type.cast(thrown);
        }
        throw new AssertionError("no exception");
    }

    static void fails(int status, Runnable call) {
        OllmException exception = throwsA(OllmException.class, call);
        check(exception.status() == status && exception.getMessage().startsWith("OLLM_"), exception.toString());
    }

    /** What a callback throws comes out of the call that it belongs to. */
    static void comesOut(Runnable call) {
        check(throwsA(IllegalStateException.class, call).getMessage().equals("mine"), "message");
    }

    static <T> T mine() {
        throw new IllegalStateException("mine");
    }

    static Session session(Model model, Plugin plugin, int context) {
        Session.Options options = new Session.Options();
        options.context = context;
        options.threads = 2;
        Session session = new Session(model, plugin, options);
        session.feed(PROMPT);
        return session;
    }

    static List<Integer> generate(Session session, int limit) {
        List<Integer> ids = new ArrayList<>();
        session.run(limit, List.of(), token -> {
            if (token.id >= 0) ids.add(token.id);
            check(token.logprob <= 0 && token.text != null, "token");
            return true;
        });
        return ids;
    }

    /** The number of a descriptor, which Android gives and a desktop JVM hides. */
    static int number(FileDescriptor descriptor) throws ReflectiveOperationException {
        Field field = FileDescriptor.class.getDeclaredField("fd");
        field.setAccessible(true);
        return field.getInt(descriptor);
    }

    static Model loadFromArchive(Path path) throws Exception {
        Path archive = Files.createTempFile("ollm", ".apk");
        byte[] bytes = Files.readAllBytes(path);
        try (RandomAccessFile file = new RandomAccessFile(archive.toFile(), "rw")) {
            file.write(new byte[4096]);
            file.write(bytes);
            file.write(new byte[77]);
            return Model.load(Source.descriptor(number(file.getFD()), 4096, bytes.length));
        } finally {
            Files.delete(archive);
        }
    }

    static void sourcesAreRead(Path path, Path plugin) throws Exception {
        byte[] bytes = Files.readAllBytes(path);
        ByteBuffer direct = ByteBuffer.allocateDirect(bytes.length + 8);
        direct.position(8);
        direct.put(bytes);
        direct.flip().position(8);
        Model.Options options = new Model.Options();
        float[] share = {0};
        options.progress = done -> {
            check(done >= share[0], "progress");
            share[0] = done;
            return true;
        };
        for (Source source : List.of(Source.memory(bytes), Source.memory(direct), Source.file(path.toString()).copied())) {
            share[0] = 0;
            try (Model model = Model.load(source, options); Model same = model.share()) {
                model.close();
                fails(INVALID_HANDLE, model::info);
                check(same.info().contains("\"llama\"") && share[0] == 1, "info");
                Memory memory = Model.memoryNeeded(source, Source.file(plugin.toString()), new Session.Options());
                check(memory.total > memory.kv && memory.kv > 0 && memory.plugin > 0, "memory");
            }
            options.progress = done -> mine();
            comesOut(() -> Model.load(source, options));
            options.progress = done -> false;
            fails(CANCELLED, () -> Model.load(source, options));
            options.progress = done -> true;
            share[0] = 1;
            options.progress = done -> {
                share[0] = done;
                return true;
            };
        }
        fails(IO, () -> Model.load("/no/such/file"));
        // Text of the library has all characters of Unicode.
        String name = "/no/\uD83C\uDF89 \u00e9 \uD840\uDC0B";
        check(throwsA(OllmException.class, () -> Model.load(name)).getMessage().contains(name), "message");
        throwsA(IllegalArgumentException.class, () -> Model.load(path + "\0.other"));
        throwsA(IllegalArgumentException.class, () -> Source.descriptor(-1, 0, 0));
        fails(10, () -> Model.load(Source.memory(ByteBuffer.allocateDirect(64))));
    }

    static void textIsUnicode(Model model) {
        String text = "two plus \uD83C\uDF89 \u00e9";
        int[] tokens = model.tokenize(text, 0);
        check(model.detokenize(tokens).equals(text), "text");
        byte[] bytes = {};
        for (int token : tokens) {
            byte[] more = model.tokenBytes(token);
            bytes = Arrays.copyOf(bytes, bytes.length + more.length);
            System.arraycopy(more, 0, bytes, bytes.length - more.length, more.length);
        }
        check(new String(bytes, java.nio.charset.StandardCharsets.UTF_8).equals(text), "bytes");
        check(model.detokenize(model.tokenize("a\0b", 0)).equals("a\0b"), "zero");
        for (String half : List.of("\uD83C", "a\uDF89b", "\uDF89\uD83C")) {
            throwsA(IllegalArgumentException.class, () -> model.tokenize(half, 0));
        }
        throwsA(IllegalArgumentException.class, () -> model.detokenize(new int[] {1, -2}));
        check(model.metadata("general.architecture").equals("\"llama\""), "metadata");
        fails(INVALID_ARGUMENT, () -> model.metadata("no.such.key"));
        int end = model.special(Model.Special.EOS);
        check(end >= 0 && model.isEnd(end) && !model.isEnd(PROMPT[0]), "end");
    }

    static void conversations(Model model) {
        String party = "\uD83C\uDF89";
        check(model.chatText(List.of("user"), List.of(party)).contains("[user]" + party), "chat");
        throwsA(IllegalArgumentException.class, () -> model.chatText(List.of("user", "user"), List.of("a")));
        throwsA(IllegalArgumentException.class, () -> model.chatText(List.of(), List.of("a")));
        throwsA(NullPointerException.class, () -> model.chatText(Arrays.asList("user", null), List.of("a", "b")));
        Chat chat = new Chat().add("user", party);
        chat.variablesJson = "{\"tools\": [{\"name\": \"add\"}], \"think\": true}";
        check(model.chatText(chat).contains("add") && model.chatTokens(chat).length > 1, "tokens");
        fails(INVALID_ARGUMENT, () -> {
            chat.variablesJson = "{";
            model.chatText(chat);
        });
        chat.variablesJson = "{\"tools\": [{\"name\": \"add\"}]}";
        try (ChatParser parser = new ChatParser(model, chat, ChatParser.Format.HERMES)) {
            check(parser.next().kind == ChatEvent.Kind.NONE, "none");
            parser.push("Well" + party + "<tool_call>{\"name\": \"add\", ");
            parser.push("\"arguments\": {\"a\": 1}}</tool_call>");
            parser.finish();
            StringBuilder said = new StringBuilder();
            ChatEvent event = parser.next();
            for (; event.kind == ChatEvent.Kind.TEXT; event = parser.next()) said.append(event.text);
            check(said.toString().equals("Well" + party), said.toString());
            check(event.kind == ChatEvent.Kind.TOOL_CALL && event.name.equals("add"), "call");
            check(event.arguments.contains("1"), event.arguments);
        }
    }

    static void conversationsGoOn(Model model, Path folder) {
        Conversation.Options options = new Conversation.Options();
        options.variablesJson = "{\"tools\": [{\"name\": \"add\"}]}";
        Conversation.AnswerOptions limit = new Conversation.AnswerOptions();
        limit.limit = 6;
        String saved = folder.resolve("conversation").toString();
        try (Session session = session(model, null, 256); Conversation talk = new Conversation(session, options)) {
            talk.setSystem("Be kind.");
            fails(EMPTY, () -> new Conversation(session, options).answer(limit, event -> true));
            talk.add("user", "Hi \uD83C\uDF89");
            StringBuilder said = new StringBuilder();
            Conversation.Answer answer = talk.answer(limit, event -> said.append(event.text) != null);
            check(answer.hasMessage && answer.answerTokens <= 6 && talk.count() == 3, "answer");
            check(talk.message(1).contains("\uD83C\uDF89") && talk.message(2).contains("assistant"), talk.message(1));
            fails(INVALID_ARGUMENT, () -> talk.message(3));
            talk.saveFile(saved);
            talk.addJson("{\"role\": \"user\", \"content\": \"more\"}");
            answer = talk.answer(limit, event -> true);
            check(answer.reusedTokens > 5 && answer.promptTokens > answer.reusedTokens, "reused");
            throwsA(IllegalStateException.class, () -> {
                talk.truncate(4);
                talk.answer(limit, event -> {
                    throw new IllegalStateException("enough");
                });
            });
            check(talk.takeBack() > 0 && talk.forgotten() == 0, "take back");
            talk.restoreFile(saved);
            check(talk.count() == 3, "restored");
            talk.setOptions(new Conversation.Options());
            talk.reset();
            check(talk.count() == 1, "reset");
        }
    }

    static void sessionsGenerate(Model model, Plugin plugin, Path folder) {
        try (Session session = session(model, plugin, 64)) {
            check(session.policy().length == 10 && session.context() == 64, "policy");
            byte[] saved = session.save();
            String path = folder.resolve("saved").toString();
            session.saveFile(path);
            List<Integer> first = generate(session, 12);
            check(first.size() > 3, "tokens");
            session.restore(saved);
            try (Session fork = session.fork()) {
                check(generate(fork, 12).equals(first) && generate(session, 12).equals(first), "fork");
                int[] tokens = fork.tokens();
                check(tokens.length == fork.position() && tokens[0] == PROMPT[0], "tokens");
            }
            session.restoreFile(path);
            check(session.position() == PROMPT.length && session.step().id == first.get(0), "restored");
            fails(10, () -> session.restore(new byte[] {1, 2, 3}));
            throwsA(IllegalArgumentException.class, () -> session.saveFile(path + "\0"));
            session.rewind(PROMPT.length);
            throwsA(IllegalArgumentException.class, () -> session.rewind(-1));
            session.setSelection(Selection.fixed(7));
            check(session.step().latent == 7 && session.step(3).latent == 3, "latent");
            throwsA(IllegalArgumentException.class, () -> session.setSelection(Selection.fixed(-1)));
            session.setSelection(null);
            Session.RunOptions options = new Session.RunOptions();
            options.limit = 2;
            options.top = 3;
            OptionSet[] set = {null};
            check(session.run(options, token -> {
                if (token.id < 0) return true;
                set[0] = token.options();
                check(set[0].policy().length == 10 && set[0].top(0).length == 3 && set[0].top(0)[0].probability > 0, "set");
                return true;
            }) == Session.Reason.LIMIT, "limit");
            fails(INVALID_HANDLE, set[0]::policy);
            try (OptionSet options2 = session.optionSet(2)) {
                check(options2.policy().length == 10 && options2.top(9).length == 2, "option set");
            }
            check(session.logits(Session.Distribution.OPTION, 3).length > 200, "logits");
            check(session.hidden().length == 64 && session.encode(PROMPT).length == PROMPT.length, "hidden");
            check(session.score(new int[] {5, 6}).length == 2, "score");
            session.feed("one and one", 0);
            session.feed(PROMPT, share -> true);
            comesOut(() -> session.feed(PROMPT, share -> mine()));
            comesOut(() -> session.run(5, List.of(), token -> mine()));
            check(session.run(5, List.of(), token -> false) == Session.Reason.CALLBACK, "reason");
            session.setDraft(Session.Draft.MODEL, model);
            throwsA(NullPointerException.class, () -> session.setDraft(null, null));
            fails(INVALID_ARGUMENT, () -> session.setDraft(Session.Draft.NGRAM, model));
            session.setDraft(Session.Draft.NONE, null);
            Statistics statistics = session.statistics();
            check(statistics.fed > 10 && statistics.generated > 3 && session.memory() > 0, "statistics");
            session.setDuty(1);
            session.trim();
            session.cancel();
            session.withdrawCancel();
            session.step();
            check(session.embed(PROMPT, Session.Pooling.MEAN, true).length == 64, "embedding");
            fails(UNSUPPORTED, () -> session.rank("a query", "a document"));
            int[] text = new int[40];
            Arrays.fill(text, 31);
            String cache = folder.resolve("cache").toString();
            for (int found : new int[] {0, text.length - 1}) {
                session.rewind(0);
                check(session.feedCached(text, cache, 1 << 20) >= found, "cache");
            }
            throwsA(IllegalArgumentException.class, () -> session.feedCached(text, cache + "\0", 1));
            session.close();
            fails(INVALID_HANDLE, session::position);
        }
    }

    static void callbacksAreKept(Model model, Plugin plugin) throws ReflectiveOperationException {
        Method count = Class.forName("org.ollm.Callbacks").getDeclaredMethod("count");
        count.setAccessible(true);
        Sampling sampling = new Sampling();
        sampling.logprobs = 2;
        sampling.biases = Map.of(9, Float.NEGATIVE_INFINITY);
        sampling.order = new Sampling.Filter[] {Sampling.Filter.TEMPERATURE};
        sampling.editor = (logits, tokens) -> {
            Arrays.fill(logits, Float.NEGATIVE_INFINITY);
            logits[tokens.length] = 0;
        };
        try (Session session = session(model, plugin, 64)) {
            session.setSelection(Selection.by((hidden, policy) -> hidden.length == 64 && policy.length == 10 ? 6 : 0));
            session.setSampling(sampling);
            check((int) count.invoke(null) == 2, "kept");
            Session fork = session.fork();
            session.setSampling(sampling);
            check((int) count.invoke(null) == 3, "kept for the fork");
            Token token = session.step();
            check(token.latent == 6 && token.id == PROMPT.length && token.top.length == 2, "token " + token.id);
            check(token.top[0].logprob >= token.top[1].logprob, "top");
            session.close();
            check(fork.step().latent == 6, "fork");
            Branches.Options options = new Branches.Options();
            options.selection = Selection.by((hidden, policy) -> 4);
            Branches branches = fork.branches(options);
            fork.close();
            branches.step();
            check(branches.get(0).latents[0] == 4, "branches");
            branches.close();
        }
        check((int) count.invoke(null) == 0, "callbacks are left");
        try (Session session = session(model, plugin, 64)) {
            for (int i = 0; i < 3; i++) session.setSelection(Selection.by((hidden, policy) -> mine()));
            check((int) count.invoke(null) == 1, "replaced");
            comesOut(session::step);
            comesOut(() -> session.run(3, List.of(), token -> true));
            check(session.position() == PROMPT.length, "position");
            try (Branches branches = session.branches(new Branches.Options())) {
                comesOut(branches::step);
            }
            session.setSelection(Selection.by((hidden, policy) -> -1));
            fails(INVALID_ARGUMENT, session::step);
            session.setSelection(null);
            sampling.editor = (logits, tokens) -> mine();
            session.setSampling(sampling);
            comesOut(session::step);
            sampling.editor = null;
            sampling.topK = -1;
            throwsA(IllegalArgumentException.class, () -> session.setSampling(sampling));
            sampling.topK = 0;
            sampling.biases = Map.of(-1, 1f);
            throwsA(IllegalArgumentException.class, () -> session.setSampling(sampling));
            session.setSampling(null);
            check(session.step().latent >= 0, "free again");
        }
        check((int) count.invoke(null) == 0, "callbacks are left");
    }

    static void cancelAndCloseFromAnotherThread(Model model) throws InterruptedException {
        for (boolean close : new boolean[] {false, true}) {
            Session session = session(model, null, 1 << 20);
            CountDownLatch inside = new CountDownLatch(1), cancelled = new CountDownLatch(1);
            int[] status = {0};
            Thread thread = new Thread(() -> {
                try {
                    session.run(0, List.of(), token -> {
                        inside.countDown();
                        try {
                            cancelled.await();
                        } catch (InterruptedException exception) {
                            throw new IllegalStateException(exception);
                        }
                        return true;
                    });
                } catch (OllmException exception) {
                    status[0] = exception.status();
                }
            });
            thread.start();
            inside.await();
            fails(BUSY, session::position);
            session.cancel();
            cancelled.countDown();
            if (close) session.close();
            thread.join();
            check(status[0] == CANCELLED, "status " + status[0]);
            session.close();
            fails(INVALID_HANDLE, session::position);
        }
        // A listener cannot close the session that calls it; afterwards it can be closed.
        Session session = session(model, null, 64);
        fails(BUSY, () -> session.run(3, List.of(), token -> {
            session.close();
            return true;
        }));
        check(session.position() > PROMPT.length, "still open");
        session.close();
        fails(INVALID_HANDLE, session::position);
    }

    static void branchesVote(Model model, Plugin plugin) {
        Branches.Options some = new Branches.Options();
        some.limit = 8;
        some.stops = List.of("zzz");
        try (Session session = session(model, plugin, 64); Branches branches = session.branches(some)) {
            branches.expand(0, Expansion.latents());
            check(branches.count() == 10 && branches.step() > 0, "branches");
            Branch first = branches.get(0);
            check(first.state == Branch.State.OPEN || first.state == Branch.State.END, "state " + first.state);
            check(first.parent == -1 && first.tokens.length == first.latents.length && first.error == 0, "branch");
            Branches.Search search = new Branches.Search();
            search.tally = new Branches.Tally("text");
            int[] calls = {0};
            Branches.Found found = branches.run(search, seen -> {
                calls[0]++;
                check(seen.length >= 10 && seen[0].text != null, "seen");
                return true;
            });
            check(calls[0] > 0 && found.branch < branches.count() && found.confidence <= 1 && found.passes > 0, "found");
            check(branches.vote(search.tally).branch == found.branch, "vote");
            Branches.Tally own = new Branches.Tally();
            own.finder = text -> "\uD83C\uDF89";
            check(branches.vote(own).answer.equals("\uD83C\uDF89"), "answer");
            own.finder = text -> mine();
            comesOut(() -> branches.vote(own));
            own.finder = text -> null;
            check(branches.vote(own).answer == null, "no answer");
            Branches.Tally longest = new Branches.Tally("text");
            longest.scorer = branch -> branch.parent == -1 ? 1 : 0;
            check(branches.vote(longest).branch >= 0, "score");
            longest.scorer = branch -> OllmTest.<Double>mine();
            comesOut(() -> branches.vote(longest));
            longest.score = Branches.Score.POLICY;
            fails(INVALID_ARGUMENT, () -> branches.vote(longest));
            fails(INVALID_ARGUMENT, () -> branches.vote(new Branches.Tally("regex:(")));
            fails(INVALID_ARGUMENT, () -> branches.get(1000));
            throwsA(IllegalArgumentException.class, () -> branches.prune(-1));
            session.adopt(branches, found.branch);
            check(session.position() >= PROMPT.length + branches.get(found.branch).tokens.length, "adopted");
            fails(MISMATCH, () -> session.adopt(branches, found.branch));
        }
        try (Session session = session(model, plugin, 64); Branches branches = session.branches(new Branches.Options())) {
            Branches.Search search = new Branches.Search();
            search.expansion = Expansion.sample(3, 0.7f);
            comesOut(() -> branches.run(search, seen -> mine()));
            branches.cancel();
            branches.withdrawCancel();
            branches.step();
            Suggestion.Options options = new Suggestion.Options();
            options.tokens = 4;
            List<Suggestion> suggestions = session.suggest(options);
            check(suggestions.size() == 3 && session.position() == PROMPT.length, "suggestions");
            check(!suggestions.get(0).text.isEmpty() && suggestions.get(0).tokens.length > 0, "suggestion");
            branches.close();
            fails(INVALID_HANDLE, branches::cancel);
        }
    }

    static void batchesStep(Model model) {
        try (Session one = session(model, null, 64); Session two = session(model, null, PROMPT.length); Batch batch = new Batch()) {
            List<Batch.Outcome> outcomes = batch.step(List.of(one, two));
            check(outcomes.get(0).status == 0 && outcomes.get(0).token.id >= 0, "token");
            check(outcomes.get(1).status == 16 && outcomes.get(1).token == null, "full");
            fails(INVALID_ARGUMENT, () -> batch.step(List.of(one, one)));
            one.close();
            fails(INVALID_HANDLE, () -> batch.step(List.of(one)));
        }
    }

    static void workersAreTheApplications(Model model) {
        ExecutorService pool = Executors.newCachedThreadPool();
        Session.Options options = new Session.Options();
        options.context = 64;
        options.threads = 3;
        int[] started = {0};
        options.executor = work -> {
            started[0]++;
            pool.execute(work);
        };
        try (Session session = new Session(model, null, options)) {
            session.feed(PROMPT);
            check(started[0] == 2 && session.step().id >= 0, "workers " + started[0]);
        }
        pool.shutdown();
        options.executor = work -> mine();
        comesOut(() -> new Session(model, null, options));
    }

    static void grammarsConstrain(Model model) {
        try (Grammar grammar = new Grammar(model, Grammar.Kind.REGEX, "[ab]{3}"); Session session = session(model, null, 64)) {
            session.setConstraint(grammar);
            StringBuilder text = new StringBuilder();
            session.run(8, List.of(), token -> text.append(token.text) != null);
            check(text.toString().matches("[ab]{3}") && session.isComplete(), text.toString());
            session.setConstraint(null);
            fails(INVALID_ARGUMENT, () -> new Grammar(model, Grammar.Kind.REGEX, "("));
        } catch (OllmException exception) {
            check(exception.status() == UNSUPPORTED, exception.toString());
        }
    }

    static void logsArriveAnywhere(Path model) {
        List<String> messages = new ArrayList<>();
        Ollm.setLog((level, message) -> messages.add(level + message));
        Model.load(model.toString()).close();
        check(!messages.isEmpty(), "log");
        Thread.UncaughtExceptionHandler before = Thread.currentThread().getUncaughtExceptionHandler();
        Throwable[] thrown = {null};
        Thread.currentThread().setUncaughtExceptionHandler((thread, exception) -> thrown[0] = exception);
        Ollm.setLog((level, message) -> mine());
        Model.load(model.toString()).close();
        Thread.currentThread().setUncaughtExceptionHandler(before);
        Ollm.clearLog();
        check(thrown[0] instanceof IllegalStateException, "log throws");
    }

    static void nothingCrashes(Model model, Plugin plugin, Model chat, String path) throws ReflectiveOperationException {
        Session.Options options = new Session.Options();
        options.context = 64;
        Map<Class<?>, Object> good = new HashMap<>();
        Session session = new Session(model, plugin, options);
        session.feed(PROMPT);
        for (Object one : List.of(model, plugin, session, session.branches(new Branches.Options()), session.optionSet(1),
                new ChatParser(chat, null, ChatParser.Format.NONE), new Batch(), new Conversation(session(chat, null, 64), new Conversation.Options()), new Conversation.Options(),
                new Conversation.AnswerOptions(), new Chat(), new Sampling(), new Selection(), options, new Session.RunOptions(),
                new Branches.Options(), new Branches.Search(), new Branches.Tally(), Expansion.latents(),
                new Suggestion.Options(), new Model.Options(), new Grammar.Options(), Source.file(path), new int[] {1},
                new float[] {}, new byte[] {}, session.step())) {
            good.put(one.getClass(), one);
        }
        good.put(ThreadPool.Options.class, new ThreadPool.Options());
        good.put(Grammar.class, null); // There is none in a build without grammars.
        good.put(String.class, "text");
        good.put(List.class, List.of());
        good.put(ByteBuffer.class, ByteBuffer.allocate(1));
        good.put(Progress.class, (Progress) share -> true);
        good.put(Conversation.Listener.class, (Conversation.Listener) event -> false);
        good.put(Session.Listener.class, (Session.Listener) token -> false);
        good.put(Selection.Chooser.class, (Selection.Chooser) (hidden, policy) -> 0);
        good.put(Branches.Watcher.class, (Branches.Watcher) seen -> false);
        good.put(Ollm.Log.class, (Ollm.Log) (level, message) -> { });
        Hostile hostile = new Hostile(good);
        hostile.everyMethod(List.of(Model.class, Plugin.class, Session.class, Branches.class, OptionSet.class, Batch.class,
                Chat.class, Source.class, Selection.class, Ollm.class, Branches.Tally.class, Grammar.class,
                Adapter.class, ChatParser.class, ThreadPool.class, Conversation.class));
        check(hostile.count() > 50, hostile.count() + " methods");
        hostile.everyNativeMethod();
        Ollm.clearLog();
        // After close everything throws.
        session.close();
        for (Method method : Session.class.getMethods()) {
            if (method.getDeclaringClass() == Session.class && method.getParameterCount() == 0) {
                try {
                    method.invoke(session);
                    check(false, method + " of a closed session");
                } catch (java.lang.reflect.InvocationTargetException exception) {
                    fails(INVALID_HANDLE, () -> {
                        throw (RuntimeException) exception.getCause();
                    });
                }
            }
        }
    }

    static void sessionsShareAPool(Model model) {
        ThreadPool.Options threads = new ThreadPool.Options();
        threads.threads = 2;
        Session.Options options = new Session.Options();
        options.context = 64;
        ThreadPool pool = new ThreadPool(threads);
        options.pool = pool;
        options.kvType = Session.KvType.Q8_0;
        try (Session one = new Session(model, null, options); Session other = new Session(model, null, options)) {
            options.threads = 3;
            fails(INVALID_ARGUMENT, () -> new Session(model, null, options));
            options.threads = 0;
            pool.close();
            fails(INVALID_HANDLE, () -> new Session(model, null, options));
            one.feed(new int[] {1, 2, 3});
            other.feed(new int[] {1, 2, 3});
            check(one.step().id == other.step().id, "tokens of a shared pool");
        }
    }

    public static void main(String[] args) throws Exception {
        Path path = Path.of(args[0]), folder = Path.of(args[3]);
        check(Ollm.version().contains(".") && Ollm.abiVersion() == 1, "version");
        sourcesAreRead(path, Path.of(args[1]));
        logsArriveAnywhere(path);
        try (Model model = loadFromArchive(path); Plugin plugin = Plugin.load(model, args[1]); Model chat = Model.load(args[2])) {
            check(plugin.optionCount() == 10 && plugin.info().contains("10"), "plugin");
            try (Plugin same = plugin.share()) {
                check(same.optionCount() == 10, "share");
            }
            fails(NO_PLUGIN, () -> Plugin.bundled(model));
            throwsA(OllmException.class, () -> Adapter.load(model, Source.file(args[1])));
            textIsUnicode(model);
            conversations(chat);
            conversationsGoOn(chat, folder);
            sessionsGenerate(model, plugin, folder);
            callbacksAreKept(model, plugin);
            cancelAndCloseFromAnotherThread(model);
            branchesVote(model, plugin);
            batchesStep(model);
            workersAreTheApplications(model);
            sessionsShareAPool(model);
            grammarsConstrain(model);
            nothingCrashes(model, plugin, chat, args[0]);
        }
        System.out.println("ok " + Arrays.toString(PROMPT));
    }
}
