// SPDX-License-Identifier: MIT
// Leaks one kind of memory until the virtual machine throws, lets go, works on and says in a line of JSON
// what was caught. README.md has the words.
//
//   javac Leaks.java && memreeve run --limit 256M -- java Leaks arrays
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;

public class Leaks {
    static final int BLOCK = 1 << 20;
    static final int PAGE = 4096;
    static long enough = 1L << 30;
    static long count, bytes;

    public static void main(String[] words) throws Exception {
        String mode = words.length > 0 ? words[0] : "";
        long[] numbers = new long[4];
        for (int i = 1; i < words.length && i < 5; ++i)
            numbers[i - 1] = Long.parseLong(words[i]);
        if (mode.equals("steady")) {
            steady((int) numbers[0], numbers[1] << 20, numbers[2] << 20);
            return;
        }
        if (numbers[0] > 0)
            enough = numbers[0] << 20;
        long before = work();
        // What writing a line takes is there before the limit is near.
        System.err.println("leaking " + mode);
        String caught = leakUntilRefused(mode);
        if ("?".equals(caught)) {
            System.err.println("usage: Leaks arrays|objects|native|threads|code [MIB] | steady SECONDS LIVE_MIB NATIVE_MIB");
            System.exit(2);
        }
        letGo();
        boolean same = work() == before;
        System.out.println("{\"mode\":\"" + mode + "\",\"caught\":" + (caught == null ? "null" : "\"" + caught + "\"")
            + ",\"count\":" + count + ",\"bytes\":" + bytes + ",\"worked\":" + same + "}");
        System.exit(same ? 0 : 3);
    }

    static String leakUntilRefused(String mode) throws Exception {
        try {
            switch (mode) {
            case "arrays": arrays(); break;
            case "objects": objects(); break;
            case "native": buffers(); break;
            case "threads": threads(); break;
            case "code": classes(); break;
            default: return "?";
            }
            return null;
        } catch (OutOfMemoryError e) {
            // Nothing is allocated before what was leaked is let go, and collected: ZGC throws again otherwise.
            String said = e.getMessage();
            forget();
            System.gc();
            return said == null ? "OutOfMemoryError" : "OutOfMemoryError: " + said.replace('"', '\'').replace('\n', ' ');
        }
    }

    static ArrayList<Object> held = new ArrayList<>();
    static final CountDownLatch letGo = new CountDownLatch(1);
    static Node head;

    static final class Node {
        Node next;
        long a, b, c;
    }

    static void arrays() {
        for (; bytes < enough; ++count, bytes += BLOCK) {
            byte[] a = new byte[BLOCK];
            for (int i = 0; i < BLOCK; i += PAGE)
                a[i] = 1;
            held.add(a);
        }
    }

    static void objects() {
        for (; bytes < enough; ++count, bytes += 40) {
            Node n = new Node();
            n.next = head;
            n.a = count;
            head = n;
        }
    }

    static void buffers() {
        for (; bytes < enough; ++count, bytes += BLOCK) {
            ByteBuffer b = ByteBuffer.allocateDirect(BLOCK);
            for (int i = 0; i < BLOCK; i += PAGE)
                b.put(i, (byte) 1);
            held.add(b);
        }
    }

    static int useStack(int depth) {
        return depth == 0 ? 1 : useStack(depth - 1) + 1;
    }

    static void threads() throws InterruptedException {
        final int most = 8000;
        while (count < most) {
            CountDownLatch ready = new CountDownLatch(1);
            Thread t = new Thread(() -> {
                useStack(400);
                ready.countDown();
                try {
                    letGo.await();
                } catch (InterruptedException e) {
                }
            });
            t.setDaemon(true);
            t.start();
            held.add(t);
            ready.await();
            ++count;
            bytes += 64 << 10;
        }
    }

    // Defined again by every loader: a class is what the loader makes of the bytes.
    public static class Template implements java.util.function.IntUnaryOperator {
        int a(int x) { return x * 31 + 7; }
        int b(int x) { return a(x) ^ 0x55; }
        int c(int x) { return b(x) + a(x); }
        int d(int x) { return x % 7 == 0 ? c(x) : b(x); }
        String e(int x) { return "value " + x; }
        long f(long x) { return x << 3 | x >>> 5; }
        double g(double x) { return Math.sqrt(x) + f((long) x); }
        public int applyAsInt(int x) { return d(x) + e(x).length(); }
    }

    static final class Loader extends ClassLoader {
        Class<?> make(byte[] code) {
            return defineClass("Leaks$Template", code, 0, code.length);
        }
    }

    static void classes() throws Exception {
        byte[] code;
        try (InputStream in = Leaks.class.getResourceAsStream("Leaks$Template.class")) {
            code = in.readAllBytes();
        }
        int wanted = new Template().applyAsInt(5);
        for (; bytes < enough; ++count, bytes += code.length) {
            Object made = new Loader().make(code).getDeclaredConstructor().newInstance();
            if (((java.util.function.IntUnaryOperator) made).applyAsInt(5) != wanted)
                throw new IllegalStateException("a class computed wrongly");
            held.add(made);
        }
    }

    static void forget() {
        if (held.isEmpty() || !(held.get(0) instanceof Thread))
            held = null;
        head = null;
    }

    static void letGo() throws Exception {
        letGo.countDown();
        if (held != null)
            for (Object o : held)
                if (o instanceof Thread)
                    ((Thread) o).join();
        held = null;
        head = null;
        System.gc();
    }

    // Work that allocates and drops small objects and an array, as programs do.
    static long work() {
        boolean[] composite = new boolean[200000];
        ArrayList<String> found = new ArrayList<>();
        for (int i = 2; i < composite.length; ++i) {
            if (composite[i])
                continue;
            found.add(Integer.toString(i));
            for (long j = (long) i * i; j < composite.length; j += i)
                composite[(int) j] = true;
        }
        return found.size();
    }

    // Garbage and long-lived objects of all sizes in a table of live bytes, direct buffers that hold
    // outside bytes; every 64 operations one of them is written anew (a buffer is freed by the collector
    // alone, so it is not replaced); an operation is one object.
    static void steady(int seconds, long live, long outside) {
        final int piece = 64 << 10;
        byte[][] table = new byte[(int) Math.max(live / 1024, 64)][];
        ArrayList<ByteBuffer> blocks = new ArrayList<>();
        for (long n = 0; n < outside; n += piece)
            blocks.add(ByteBuffer.allocateDirect(piece));
        int random = 12345;
        long operations = 0, timed = 0, caught = 0;
        double warm = seconds * 0.2, begun = -1;
        long zero = System.nanoTime();
        for (;;) {
            double now = (System.nanoTime() - zero) / 1e9;
            if (begun < 0 && now >= warm) {
                begun = now;
                timed = operations;
            }
            if (now >= seconds) {
                System.out.println(String.format(Locale.ROOT,
                    "{\"mode\":\"steady\",\"operations\":%d,\"seconds\":%.3f,\"per_second\":%.1f,\"caught\":%d}",
                    operations, now, (operations - timed) / (now - begun), caught));
                return;
            }
            for (int i = 0; i < 256; ++i, ++operations) {
                random = random * 1664525 + 1013904223;
                int size = (random >>> 8) % 32 == 0 ? (random >>> 12) % 8192 + 1 : (random >>> 12) % 1536 + 64;
                int slot = (random >>> 7) % table.length;
                try {
                    byte[] a = new byte[size];
                    a[size - 1] = (byte) size;
                    byte[] old = table[slot];
                    if (old != null && old[old.length - 1] != (byte) old.length)
                        throw new IllegalStateException("contents changed");
                    table[slot] = a;
                    if (operations % 64 == 0 && !blocks.isEmpty()) {
                        ByteBuffer b = blocks.get((random >>> 9) % blocks.size());
                        for (int k = 0; k < piece; k += PAGE)
                            b.put(k, (byte) random);
                    }
                } catch (OutOfMemoryError e) {
                    ++caught;
                }
            }
        }
    }
}
