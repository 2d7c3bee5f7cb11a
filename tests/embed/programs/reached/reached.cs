// SPDX-License-Identifier: MIT
// Holds memory of every kind while the host looks: small objects, large arrays, native memory, generated
// code, threads, and starts children.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading;

public static class Reached
{
    static readonly List<object> held = new List<object>();

    public static int Hold(int count)
    {
        for (int i = 0; i < count; ++i)
        {
            held.Add(new byte[1 << 20]);
            for (int k = 0; k < 2000; ++k)
                held.Add(new string((char)('a' + k % 26), 30));
            IntPtr native = Marshal.AllocHGlobal(300000);
            Marshal.WriteByte(native, 299999, 1);
        }
        for (int i = 0; i < 4; ++i)
        {
            var thread = new Thread(() => Thread.Sleep(Timeout.Infinite)) { IsBackground = true };
            thread.Start();
        }
        for (int i = 0; i < 3; ++i)
        {
            using (var child = Process.Start(new ProcessStartInfo("/bin/sh", "-c \"exit 7\"") { UseShellExecute = false }))
            {
                child.WaitForExit();
                if (child.ExitCode != 7)
                    return -1;
            }
        }
        return held.Count;
    }

    // So much kept, in pieces of one size.
    public static int Large(int mebibytes) { return Keep(mebibytes, 1 << 20); }
    public static int Middle(int mebibytes) { return Keep(mebibytes * 10, 104857); }
    public static int Small(int mebibytes) { return Keep(mebibytes * 10000, 80); }

    static int Keep(int count, int size)
    {
        var mine = new List<object>();
        for (int i = 0; i < count; ++i)
            mine.Add(new byte[size]);
        lock (held)
            held.Add(mine);
        return count;
    }

#if NET
    [UnmanagedCallersOnly]
    public static int HoldForHost(int count)
    {
        return Hold(count);
    }
#endif
}
