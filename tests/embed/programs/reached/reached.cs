// SPDX-License-Identifier: MIT
// Holds memory of every kind while the host looks: small objects, large arrays, native memory, generated
// code, threads.
using System;
using System.Collections.Generic;
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
        return held.Count;
    }

#if NET
    [UnmanagedCallersOnly]
    public static int HoldForHost(int count)
    {
        return Hold(count);
    }
#endif
}
