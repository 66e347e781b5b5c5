import java.io.FileDescriptor;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.ollm.Branch;
import org.ollm.Branches;
import org.ollm.Model;
import org.ollm.OllmException;
import org.ollm.Plugin;
import org.ollm.Session;
import org.ollm.Suggestion;

/** The JNI layer on a desktop JVM. usage: OllmTest MODEL PLUGIN */
public final class OllmTest {
    private static final int[] PROMPT = {10, 200, 31, 47, 5};
    private static final int INVALID_ARGUMENT = 1, INVALID_HANDLE = 2, BUSY = 5, CANCELLED = 6, IO = 9, MISMATCH = 12;

    static void check(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static void fails(int status, Runnable call) {
        try {
            call.run();
        } catch (OllmException exception) {
            check(exception.status() == status, exception.status() + ": " + exception.getMessage());
            return;
        }
        throw new AssertionError("no exception");
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
        session.run(limit, List.of(), (text, id, latent, logprob) -> {
            if (id >= 0) ids.add(id);
            check(logprob <= 0 && text != null, "token");
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
            return Model.load(number(file.getFD()), 4096, bytes.length);
        } finally {
            Files.delete(archive);
        }
    }

    static void cancelAndCloseFromAnotherThread(Model model) throws InterruptedException {
        for (boolean close : new boolean[] {false, true}) {
            Session session = session(model, null, 1 << 20);
            CountDownLatch inside = new CountDownLatch(1), cancelled = new CountDownLatch(1);
            int[] status = {0};
            Thread thread = new Thread(() -> {
                try {
                    session.run(0, List.of(), (text, id, latent, logprob) -> {
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
    }

    static void branchesVote(Model model, Plugin plugin) {
        try (Session session = session(model, plugin, 64); Branches branches = session.branches(8, List.of("zzz"))) {
            branches.expand(0, Branches.Expand.LATENTS, 0, 0);
            check(branches.count() == 10 && branches.step() > 0, "branches");
            Branch first = branches.get(0);
            check(first.state == Branch.State.OPEN || first.state == Branch.State.END, "state " + first.state);
            check(first.parent == -1 && first.tokens().length == first.latents().length, "branch");
            Branches.Options options = new Branches.Options();
            options.rule = "text";
            int[] calls = {0};
            Branches.Found found = branches.run(options, texts -> {
                calls[0]++;
                check(texts.length >= 10, "texts");
                return true;
            });
            check(calls[0] > 0 && found.branch < branches.count() && found.confidence <= 1, "found");
            check(branches.vote("text", Branches.Weight.ONE).branch == found.branch, "vote");
            fails(INVALID_ARGUMENT, () -> branches.vote("regex:(", Branches.Weight.ONE));
            fails(INVALID_ARGUMENT, () -> branches.get(1000));
            fails(INVALID_ARGUMENT, () -> branches.prune(-1));
            session.adopt(branches, found.branch);
            check(session.position() >= PROMPT.length + branches.get(found.branch).tokens().length, "adopted");
            fails(MISMATCH, () -> session.adopt(branches, found.branch));
        }
        try (Session session = session(model, plugin, 64); Branches branches = session.branches(0, List.of())) {
            Branches.Options options = new Branches.Options();
            options.expand = Branches.Expand.SAMPLE;
            options.count = 3;
            // What a watcher throws comes out.
            try {
                branches.run(options, texts -> {
                    throw new IllegalStateException("mine");
                });
                throw new AssertionError("no exception");
            } catch (IllegalStateException exception) {
                check(exception.getMessage().equals("mine"), "message");
            }
            List<Suggestion> suggestions = session.suggest(3, 4, Suggestion.Until.TOKENS);
            check(suggestions.size() == 3 && session.position() == PROMPT.length, "suggestions");
            check(!suggestions.get(0).text.isEmpty() && suggestions.get(0).tokens().length > 0, "suggestion");
            branches.close();
            fails(INVALID_HANDLE, branches::cancel);
        }
    }

    public static void main(String[] args) throws Exception {
        check(Model.version().contains("."), "version");
        fails(IO, () -> Model.load("/no/such/file"));
        try (Model model = loadFromArchive(Path.of(args[0])); Plugin plugin = Plugin.load(model, args[1]);
                Session session = session(model, plugin, 64); Session bare = session(model, null, 64)) {
            String text = "two plus \uD83C\uDF89 é";
            check(model.detokenize(model.tokenize(text, 0)).equals(text), "text");
            check(model.info().contains("\"llama\""), "info");
            check(session.policy().length == 10, "policy");
            byte[] saved = session.save();
            List<Integer> first = generate(session, 12);
            check(!first.isEmpty(), "tokens");
            session.restore(saved);
            try (Session fork = session.fork()) {
                check(generate(fork, 12).equals(first) && generate(session, 12).equals(first), "fork");
            }
            session.rewind(PROMPT.length);
            session.fixLatent(7);
            session.run(3, List.of(), (bytes, id, latent, logprob) -> {
                check(latent == 7 || id < 0, "latent");
                return true;
            });
            session.fixLatent(-1);
            session.setSampling(0.8f, 0.9f, 3);
            session.trim();
            // What a listener throws comes out.
            try {
                bare.run(5, List.of(), (bytes, id, latent, logprob) -> {
                    throw new IllegalStateException("mine");
                });
                throw new AssertionError("no exception");
            } catch (IllegalStateException exception) {
                check(exception.getMessage().equals("mine"), "message");
            }
            check(bare.position() == PROMPT.length + 1, "position");
            check(bare.run(5, List.of(), (bytes, id, latent, logprob) -> false) == Session.Reason.CALLBACK, "reason");
            session.close();
            fails(INVALID_HANDLE, session::position);
            cancelAndCloseFromAnotherThread(model);
            branchesVote(model, plugin);
        }
        System.out.println("ok " + Arrays.toString(PROMPT));
    }
}
