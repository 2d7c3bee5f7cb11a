// SPDX-License-Identifier: MIT
// Takes MIB of direct buffers, says "ready", holds them until its input ends, says "done".
// With "wait" it drops a thousand old objects first, and waits until a collection has taken some of
// these, a hundred seconds at most; "done True", then.
import java.lang.ref.WeakReference;
import java.nio.ByteBuffer;
import java.util.ArrayList;

final class Hold {
    private Hold() {
    }

    private static ArrayList<WeakReference<Object>> drop() {
        final ArrayList<Object> held = new ArrayList<>();
        final ArrayList<WeakReference<Object>> seen = new ArrayList<>();
        for (int i = 0; i < 1000; ++i) {
            held.add(new byte[64]);
            seen.add(new WeakReference<>(held.get(i)));
        }
        System.gc(); // they grow old
        System.gc();
        held.clear();
        return seen;
    }

    public static void main(String[] arguments) throws java.io.IOException, InterruptedException {
        final boolean waits = arguments.length > 1 && arguments[1].equals("wait");
        final ArrayList<WeakReference<Object>> seen = waits ? drop() : new ArrayList<>();
        final ArrayList<ByteBuffer> kept = new ArrayList<>();
        for (int i = Integer.parseInt(arguments[0]); i > 0; --i) {
            kept.add(ByteBuffer.allocateDirect(1 << 20));
        }
        System.out.println("ready");
        while (System.in.read() >= 0) {
        }
        boolean isGone = false;
        for (int i = 0; waits && !isGone && i < 10000; ++i) {
            isGone = seen.stream().anyMatch(w -> w.get() == null);
            Thread.sleep(10);
        }
        System.out.println("done " + (!waits ? String.valueOf(kept.size()) : isGone ? "True" : "False"));
    }
}
