import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.ollm.OllmException;

/** Calls methods with what they must not be given, found by reflection: each throws, and the JVM lives. */
final class Hostile {
    /** Parameters that may be null, or negative: CLASS.METHOD.NUMBER, from 0 on. */
    private static final Set<String> FREE = Set.of("Session.Session.1", "ChatParser.ChatParser.1",
            "Model.memoryNeeded.1", "Session.setSampling.0", "Session.setSelection.0", "Session.setConstraint.0",
            "Selection.fixed.0", "Branches.run.1", "Session.setDraft.1",
            "Conversation.setSystem.0");

    private final Map<Class<?>, Object> good;
    private final Set<String> called = new HashSet<>();

    /** Arguments that are right, by their type. */
    Hostile(Map<Class<?>, Object> good) {
        this.good = good;
    }

    /** All public methods and constructors of public classes, one wrong argument at a time. */
    void everyMethod(List<Class<?>> types) throws ReflectiveOperationException {
        for (Class<?> type : types) {
            List<Executable> all = new ArrayList<>(List.of(type.getConstructors()));
            for (Method method : type.getDeclaredMethods()) {
                if (Modifier.isPublic(method.getModifiers()) && !method.isSynthetic()) all.add(method);
            }
            for (Executable one : all) {
                if (type.isEnum() || type.isInterface() && Modifier.isAbstract(one.getModifiers())) continue;
                one.setAccessible(true);
                for (int i = 0; i < one.getParameterCount(); i++) wrong(type, one, i);
            }
        }
    }

    private void wrong(Class<?> type, Executable one, int at) throws ReflectiveOperationException {
        Class<?>[] types = one.getParameterTypes();
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) arguments[i] = valueOf(types[i]);
        if (types[at] == boolean.class || types[at] == float.class) return;
        arguments[at] = types[at].isPrimitive() ? negative(types[at]) : null;
        String name = one instanceof Method ? one.getName() : type.getSimpleName();
        Throwable thrown = call(type, one, arguments);
        called.add(type.getSimpleName() + "." + name);
        if (FREE.contains(type.getSimpleName() + "." + name + "." + at)) return;
        String what = type.getSimpleName() + "." + name + ", argument " + at + ": " + thrown;
        if (types[at].isPrimitive()) {
            // The status of C for what is no number of it: there is no token -1.
            OllmTest.check(thrown instanceof IllegalArgumentException, what);
        } else {
            OllmTest.check(thrown instanceof NullPointerException, what);
        }
    }

    /** The native methods, with nothing and with numbers that are none. */
    void everyNativeMethod() throws ReflectiveOperationException {
        int count = 0;
        for (Method method : Class.forName("org.ollm.Native").getDeclaredMethods()) {
            if (!Modifier.isNative(method.getModifiers())) continue;
            method.setAccessible(true);
            count++;
            Class<?>[] types = method.getParameterTypes();
            for (long number : new long[] {0, -1, 1, Long.MIN_VALUE, Long.MAX_VALUE}) {
                Object[] arguments = new Object[types.length];
                for (int i = 0; i < types.length; i++) {
                    if (types[i] == long.class) arguments[i] = number;
                    else if (types[i] == int.class) arguments[i] = (int) number;
                    else if (types[i] == float.class) arguments[i] = Float.NaN;
                    else if (types[i] == boolean.class) arguments[i] = number != 0;
                }
                Throwable thrown = call(null, method, arguments);
                String name = method.getName();
                boolean fine = types.length == 0 || name.startsWith("free") || name.startsWith("release") || name.equals("setLog");
                OllmTest.check(fine || thrown != null, name + " of " + number + " does not throw");
                OllmTest.check(thrown == null || thrown instanceof NullPointerException || thrown instanceof OllmException
                        || thrown instanceof IllegalArgumentException, name + ": " + thrown);
            }
        }
        OllmTest.check(count > 80, count + " native methods");
    }

    /** How many methods were called. */
    int count() {
        return called.size();
    }

    private Object valueOf(Class<?> type) {
        if (type == int.class) return 0;
        if (type == long.class) return 0L;
        if (type == float.class) return 1f;
        if (type == boolean.class) return false;
        if (type.isEnum()) return type.getEnumConstants()[0];
        OllmTest.check(good.containsKey(type), "no " + type);
        return good.get(type);
    }

    private static Object negative(Class<?> type) {
        return type == int.class ? (Object) (-1) : (Object) (-1L);
    }

    /** What a call throws; null if nothing. */
    private Throwable call(Class<?> type, Executable one, Object[] arguments) throws ReflectiveOperationException {
        try {
            if (one instanceof Constructor) ((Constructor<?>) one).newInstance(arguments);
            else ((Method) one).invoke(Modifier.isStatic(one.getModifiers()) ? null : good.get(type), arguments);
            return null;
        } catch (InvocationTargetException exception) {
            return exception.getCause();
        }
    }
}
