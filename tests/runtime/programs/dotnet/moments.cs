// SPDX-License-Identifier: MIT
// Stops at five moments and waits for a line on standard input: after start-up, with a heap of arrays,
// with native memory and generated code, with threads at work, after a collection.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

static class Moments
{
    const int Block = 1 << 20;
    static volatile bool stop;

    static void Moment(string name)
    {
        Console.WriteLine(name);
        Console.Out.Flush();
        if (Console.ReadLine() == null)
            Environment.Exit(2);
    }

    // Garbage of all sizes, native memory, exceptions: everything asks for memory all the time.
    static void Churn()
    {
        var natives = new List<IntPtr>();
        while (!stop)
        {
            var text = new StringBuilder();
            for (int i = 0; i < 1000; ++i)
                text.Append(i);
            GC.KeepAlive(new byte[96 << 10]);
            natives.Add(Marshal.AllocHGlobal(300 << 10));
            if (natives.Count == 16)
            {
                foreach (IntPtr p in natives)
                    Marshal.FreeHGlobal(p);
                natives.Clear();
            }
        }
        foreach (IntPtr p in natives)
            Marshal.FreeHGlobal(p);
    }

    internal static int Main()
    {
        Moment("started");
        var held = new List<byte[]>();
        for (int i = 0; i < 64; ++i)
        {
            var a = new byte[Block];
            for (int k = 0; k < a.Length; k += 4096)
                a[k] = 1;
            held.Add(a);
        }
        Moment("arrays");
        var native = new List<IntPtr>();
        for (int i = 0; i < 16; ++i)
        {
            native.Add(Marshal.AllocHGlobal(Block));
            for (int k = 0; k < Block; k += 4096)
                Marshal.WriteByte(native[i], k, 1);
        }
        for (int i = 0; i < 100; ++i)
            Code.One(i);
        Moment("native");
        var threads = new List<Thread>();
        for (int i = 0; i < 2; ++i)
        {
            var t = new Thread(Churn);
            t.Start();
            threads.Add(t);
        }
        Moment("busy");
        stop = true;
        foreach (var t in threads)
            t.Join();
        held.Clear();
        foreach (IntPtr p in native)
            Marshal.FreeHGlobal(p);
        GC.Collect();
        GC.Collect();
        Moment("collected");
        return 0;
    }
}
