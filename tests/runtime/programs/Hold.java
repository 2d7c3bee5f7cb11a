// SPDX-License-Identifier: MIT
// Takes MIB of direct buffers, says "ready", holds them until its input ends, says "done".
import java.nio.ByteBuffer;
import java.util.ArrayList;

final class Hold {
    private Hold() {
    }

    public static void main(String[] arguments) throws java.io.IOException {
        final ArrayList<ByteBuffer> kept = new ArrayList<>();
        for (int i = Integer.parseInt(arguments[0]); i > 0; --i) {
            kept.add(ByteBuffer.allocateDirect(1 << 20));
        }
        System.out.println("ready");
        while (System.in.read() >= 0) {
        }
        System.out.println("done " + kept.size());
    }
}
