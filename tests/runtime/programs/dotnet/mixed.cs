// SPDX-License-Identifier: MIT
// Everything a program asks memory for: trees, large arrays, threads, native memory, generated code.
// Then it stands still with all of it, prints "standing" and waits for a line.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

static class Mixed
{
    sealed class Node
    {
        internal Node Left, Right;
    }

    static Node Tree(int depth)
    {
        return depth == 0 ? null : new Node { Left = Tree(depth - 1), Right = Tree(depth - 1) };
    }

    static int Depth(Node n)
    {
        return n == null ? 0 : 1 + Math.Max(Depth(n.Left), Depth(n.Right));
    }

    internal static int Main()
    {
        var trees = new List<Node>();
        for (int i = 0; i < 6; ++i)
            trees.Add(Tree(16));
        var arrays = new List<byte[]>();
        for (int i = 0; i < 24; ++i)
        {
            var a = new byte[4 << 20];
            for (int k = 0; k < a.Length; k += 4096)
                a[k] = (byte)i;
            if (i % 2 == 0)
                arrays.Add(a);
        }
        var natives = new List<IntPtr>();
        for (int i = 0; i < 64; ++i)
        {
            IntPtr p = Marshal.AllocHGlobal(i << 13);
            for (int k = 0; k < i << 13; k += 4096)
                Marshal.WriteByte(p, k, 1);
            natives.Add(p);
        }
        for (int i = 0; i < 50; ++i)
            Code.One(i);

        var over = new ManualResetEvent(false);
        var threads = new List<Thread>();
        using (var ready = new CountdownEvent(8))
        {
            for (int i = 0; i < 8; ++i)
            {
                var t = new Thread(() =>
                {
                    for (int n = 0; n < 4; ++n)
                        if (Depth(Tree(14)) != 14)
                            Environment.Exit(3);
                    ready.Signal();
                    over.WaitOne();
                });
                t.Start();
                threads.Add(t);
            }
            ready.Wait();
        }
        Console.WriteLine("standing");
        Console.Out.Flush();
        if (Console.ReadLine() == null)
            return 2;
        over.Set();
        foreach (var t in threads)
            t.Join();
        foreach (IntPtr p in natives)
            Marshal.FreeHGlobal(p);
        GC.KeepAlive(arrays);
        GC.KeepAlive(trees);
        return 0;
    }
}
