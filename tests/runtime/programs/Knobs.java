// SPDX-License-Identifier: MIT
// What a JVM was told, and what becomes of its leaks.
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;

public class Knobs {
    static final class Node {
        Object[] held = new Object[16];
    }

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
        case "told":
            System.out.println("max " + Runtime.getRuntime().maxMemory());
            for (var bean : ManagementFactory.getGarbageCollectorMXBeans()) {
                System.out.println("collector " + bean.getName());
            }
            System.out.println("JAVA_TOOL_OPTIONS " + System.getenv("JAVA_TOOL_OPTIONS"));
            System.out.println("a property " + System.getProperty("a.property"));
            break;
        case "start": {
            var command = new ArrayList<String>();
            for (int i = 1; i < arguments.length; ++i) {
                command.add(arguments[i]);
            }
            System.exit(new ProcessBuilder(command).inheritIO().start().waitFor());
            break;
        }
        default:
            for (int round = 0; round < 3; ++round) {
                System.out.println("caught " + leak(arguments[0]));
            }
        }
    }

    static String leak(String kind) {
        var held = new ArrayList<Object>();
        try {
            for (;;) {
                held.add(kind.equals("arrays") ? new byte[1 << 20]
                        : kind.equals("buffers") ? ByteBuffer.allocateDirect(1 << 20) : new Node());
            }
        } catch (OutOfMemoryError e) {
            held = null;
            System.gc(); // buffers go with their owners
            return e.getClass().getSimpleName();
        }
    }
}
