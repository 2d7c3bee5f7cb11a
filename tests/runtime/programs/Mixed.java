// SPDX-License-Identifier: MIT
// What dotnet/mixed.cs is for .NET: everything a program asks memory for, then it stands still.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

public class Mixed {
    static final class Node {
        Node left, right;
    }

    static Node tree(int depth) {
        if (depth == 0) return null;
        Node n = new Node();
        n.left = tree(depth - 1);
        n.right = tree(depth - 1);
        return n;
    }

    public static void main(String[] arguments) throws Exception {
        List<Object> kept = new ArrayList<>();
        for (int i = 0; i < 6; ++i) kept.add(tree(16));
        for (int i = 0; i < 24; ++i) {
            byte[] a = new byte[4 << 20];
            if (i % 2 == 0) kept.add(a);
        }
        for (int i = 0; i < 16; ++i) kept.add(ByteBuffer.allocateDirect(1 << 20));
        CountDownLatch ready = new CountDownLatch(8);
        CountDownLatch over = new CountDownLatch(1);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 8; ++i) {
            Thread t = new Thread(() -> {
                Node own = tree(14);
                ready.countDown();
                try {
                    over.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
                if (own.left == null) System.exit(3);
            });
            t.start();
            threads.add(t);
        }
        ready.await();
        System.out.println("standing");
        if (System.in.read() < 0) System.exit(2);
        over.countDown();
        for (Thread t : threads) t.join();
        if (kept.size() != 34) System.exit(3);
    }
}
