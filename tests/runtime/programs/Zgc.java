// SPDX-License-Identifier: MIT
// Zgc moments: holds 100 MiB, lets them go, waits for a line on standard input after each.
// Zgc fill: holds arrays until the heap is full, says so, lets them go and works on.
import java.util.ArrayList;

public class Zgc {
    static void moment(String name) throws Exception {
        System.out.println(name);
        System.out.flush();
        while (System.in.read() > '\n') {
        }
    }

    public static void main(String[] words) throws Exception {
        ArrayList<byte[]> held = new ArrayList<>();
        if (words[0].equals("moments")) {
            for (int i = 0; i < 100; ++i)
                held.add(new byte[1 << 20]);
            moment("held");
            long before = Runtime.getRuntime().totalMemory();
            held.clear();
            System.gc();
            // Until the collector has given back something, and nothing more for three seconds.
            long now = before;
            for (int calm = 0, tries = 0; tries < 1200 && (now == before || calm < 30); ++tries) {
                Thread.sleep(100);
                long then = Runtime.getRuntime().totalMemory();
                calm = then == now ? calm + 1 : 0;
                now = then;
            }
            moment("given back");
            return;
        }
        int count = 0;
        try {
            for (;;)
                held.add(new byte[1 << 20]);
        } catch (OutOfMemoryError e) {
            count = held.size();
            held.clear();
        }
        long sum = 0;
        for (int i = 0; i < 200; ++i)
            sum += new byte[1 << 20].length;
        System.out.println("caught OutOfMemoryError after " + count + " MiB, worked on " + (sum >> 20) + " MiB");
    }
}
