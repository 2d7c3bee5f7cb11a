// SPDX-License-Identifier: MIT
// Work of many kinds, the same on every run; the last line is a checksum of all of it.
// java Mixed [scale].
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.function.IntUnaryOperator;

final class Mixed {
    static final class Node {
        final Node left, right;
        final int value;

        Node(Node l, Node r, int v) {
            left = l;
            right = r;
            value = v;
        }

        static Node grow(int depth, int v) {
            return depth == 0 ? new Node(null, null, v)
                              : new Node(grow(depth - 1, 2 * v), grow(depth - 1, 2 * v + 1), v);
        }

        long sum() {
            return value + (left == null ? 0 : left.sum() + right.sum());
        }
    }

    static final class Random {
        private int seed;

        Random(int s) {
            seed = s;
        }

        int next() {
            seed = seed * 1664525 + 1013904223;
            return seed >>> 8;
        }
    }

    // Many trees that die young beside one that stays.
    static long trees(int rounds) {
        Node kept = Node.grow(16, 1);
        long sum = 0;
        for (int i = 0; i < rounds; i++)
            sum += Node.grow(11, i).sum();
        return sum + kept.sum();
    }

    // 64 arrays of 4 MiB, eight alive at a time.
    static long arrays() {
        byte[][] alive = new byte[8][];
        long sum = 0;
        for (int i = 0; i < 64; i++) {
            byte[] a = new byte[4 << 20];
            for (int at = 0; at < a.length; at += 512)
                a[at] = (byte) (i + at / 512);
            alive[i % 8] = a;
            byte[] other = alive[(i * 5 + 3) % 8];
            if (other == null)
                other = a;
            for (int at = 0; at < other.length; at += 1024)
                sum += other[at];
        }
        return sum;
    }

    static long strings(int count) {
        HashMap<String, Integer> seen = new HashMap<>();
        StringBuilder text = new StringBuilder();
        Random random = new Random(7);
        for (int i = 0; i < count; i++) {
            String word = "k" + random.next() % 20000;
            seen.merge(word, 1, Integer::sum);
            if (i % 8 == 0)
                text.append(word);
        }
        List<String> words = new ArrayList<>(seen.keySet());
        Collections.sort(words);
        long sum = text.toString().split("k").length;
        for (int i = 0; i < words.size(); i++)
            sum += seen.get(words.get(i)) * (long) (i % 31);
        return sum;
    }

    // Four threads that allocate what they compute with.
    static long threads(int rounds) throws InterruptedException {
        long[] sums = new long[4];
        Thread[] threads = new Thread[4];
        for (int t = 0; t < threads.length; t++) {
            int me = t;
            threads[t] = new Thread(() -> {
                Random random = new Random(me + 1);
                long sum = 0;
                for (int i = 0; i < rounds; i++) {
                    int[] row = new int[200 + random.next() % 800];
                    for (int k = 0; k < row.length; k++)
                        row[k] = random.next() % 1000;
                    Arrays.sort(row);
                    sum += row[row.length / 2];
                }
                sums[me] = sum;
            });
            threads[t].start();
        }
        for (Thread t : threads)
            t.join();
        return sums[0] + 3 * sums[1] + 5 * sums[2] + 7 * sums[3];
    }

    interface Shape {
        int area(int side);
    }

    // Classes that are made while the program runs.
    static long generated(int classes) {
        long sum = 0;
        for (int i = 0; i < classes; i++) {
            int factor = i;
            ClassLoader own = new ClassLoader(Mixed.class.getClassLoader()) {};
            Runnable made = (Runnable) Proxy.newProxyInstance(
                own, new Class<?>[] {Runnable.class}, (proxy, method, arguments) -> null);
            made.run();
            IntUnaryOperator f = n -> n * factor + 1;
            sum += f.applyAsInt(i);
        }
        return sum;
    }

    static long nativeMemory(int count) {
        ByteBuffer[] blocks = new ByteBuffer[64];
        Random random = new Random(3);
        long sum = 0;
        for (int i = 0; i < count; i++) {
            int at = i % blocks.length;
            if (blocks[at] != null)
                sum += blocks[at].getInt(0);
            blocks[at] = ByteBuffer.allocateDirect(16 + random.next() % (i % 64 == 0 ? 200000 : 2000));
            blocks[at].putInt(0, i);
        }
        return sum;
    }

    public static void main(String[] args) throws InterruptedException {
        int scale = args.length > 0 ? Integer.parseInt(args[0]) : 10;
        long[] parts = {
            trees(100 * scale), arrays(), strings(100000 * scale), threads(1500 * scale), generated(20 * scale),
            nativeMemory(2000 * scale),
        };
        long all = 17;
        StringBuilder line = new StringBuilder("mixed");
        for (long p : parts) {
            all = all * 1000003 + p;
            line.append(' ').append(p);
        }
        System.out.println(line.append(' ').append(all));
    }
}
