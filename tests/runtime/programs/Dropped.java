// SPDX-License-Identifier: MIT
// Direct buffers that are used for a while and dropped: memory that the heap's collector does not see
// go up. Each is filled and summed up.
//
//   Dropped ROUNDS
import java.nio.ByteBuffer;

final class Dropped {
    private Dropped() {
    }

    public static void main(String[] arguments) {
        final int rounds = Integer.parseInt(arguments[0]);
        final byte[] line = new byte[4096];
        long sum = 0;
        for (int i = 0; i < rounds; ++i) {
            final ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
            for (int pass = 0; pass < 4; ++pass) {
                buffer.clear();
                while (buffer.hasRemaining()) {
                    line[i % line.length] = (byte) i;
                    buffer.put(line);
                }
                buffer.flip();
                while (buffer.hasRemaining()) {
                    buffer.get(line);
                    for (final byte b : line) {
                        sum += b;
                    }
                }
            }
        }
        System.out.println("done " + (sum != 0));
    }
}
