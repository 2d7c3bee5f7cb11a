// SPDX-License-Identifier: MIT
// Keep MIB: keeps that many arrays of 1 MiB, makes garbage meanwhile, ends with 0.
import java.util.ArrayList;
import java.util.List;

public class Keep {
    public static void main(String[] arguments) {
        List<byte[]> kept = new ArrayList<>();
        long sum = 0;
        for (int i = 0; i < Integer.parseInt(arguments[0]); ++i) {
            kept.add(new byte[1 << 20]);
            for (int n = 0; n < 200; ++n) {
                sum += new String(new char[100 + n]).length();
            }
        }
        System.out.println(kept.size() + " " + sum);
    }
}
