// SPDX-License-Identifier: MIT
// Stops at five moments and waits for a line on standard input: after start-up, with a heap of arrays,
// with native memory and generated code, with threads at work, after a collection.
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

public class Moments {
    static final int BLOCK = 1 << 20;
    static volatile boolean stop;
    static volatile Object sink;

    static void moment(String name) throws Exception {
        System.out.println(name);
        System.out.flush();
        int c;
        while ((c = System.in.read()) != '\n')
            if (c < 0)
                System.exit(2);
    }

    // Garbage of several sizes, native memory, deep stacks: everything asks for memory all the time.
    static int churn(int depth) {
        if (depth > 0)
            return churn(depth - 1) + 1;
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 1000; ++i)
            text.append(i);
        sink = new byte[96 << 10];
        sink = ByteBuffer.allocateDirect(64 << 10);
        return text.length();
    }

    static ClassLoader loader() {
        return new ClassLoader(Moments.class.getClassLoader()) {
        };
    }

    public static void main(String[] words) throws Exception {
        moment("started");
        List<byte[]> held = new ArrayList<>();
        for (int i = 0; i < 64; ++i) {
            byte[] a = new byte[BLOCK];
            for (int k = 0; k < a.length; k += 4096)
                a[k] = 1;
            held.add(a);
        }
        moment("arrays");
        List<ByteBuffer> natives = new ArrayList<>();
        for (int i = 0; i < 16; ++i) {
            ByteBuffer b = ByteBuffer.allocateDirect(BLOCK);
            for (int k = 0; k < BLOCK; k += 4096)
                b.put(k, (byte) 1);
            natives.add(b);
        }
        List<Object> made = new ArrayList<>();
        for (int i = 0; i < 100; ++i)
            made.add(Proxy.newProxyInstance(loader(), new Class<?>[] {Runnable.class}, (proxy, method, arguments) -> null));
        moment("native");
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; ++i) {
            Thread t = new Thread(() -> {
                while (!stop)
                    churn(500);
            });
            t.start();
            threads.add(t);
        }
        moment("busy");
        stop = true;
        for (Thread t : threads)
            t.join();
        held.clear();
        natives.clear();
        made.clear();
        sink = null;
        System.gc();
        moment("collected");
    }
}
