// SPDX-License-Identifier: MIT
// Work of many kinds, the same on every run; the last line is a checksum of all of it. For Mono and
// for .NET: mixed.exe [scale].
using System;
using System.Collections.Generic;
using System.Reflection.Emit;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

sealed class Node
{
    readonly Node left, right;
    readonly int value;

    Node(Node l, Node r, int v)
    {
        left = l;
        right = r;
        value = v;
    }

    public static Node Grow(int depth, int v)
    {
        return depth == 0 ? new Node(null, null, v) : new Node(Grow(depth - 1, 2 * v), Grow(depth - 1, 2 * v + 1), v);
    }

    public long Sum()
    {
        return value + (left == null ? 0 : left.Sum() + right.Sum());
    }
}

static class Mixed
{
    static uint Next(ref uint seed)
    {
        seed = seed * 1664525 + 1013904223;
        return seed >> 8;
    }

    // Many trees that die young beside one that stays.
    static long Trees(int rounds)
    {
        Node kept = Node.Grow(16, 1);
        long sum = 0;
        for (int i = 0; i < rounds; i++)
            sum += Node.Grow(11, i).Sum();
        return sum + kept.Sum();
    }

    // 64 arrays of 4 MiB, eight alive at a time.
    static long Arrays()
    {
        var alive = new byte[8][];
        long sum = 0;
        for (int i = 0; i < 64; i++)
        {
            var a = new byte[4 << 20];
            for (int at = 0; at < a.Length; at += 512)
                a[at] = (byte)(i + at / 512);
            alive[i % 8] = a;
            var other = alive[(i * 5 + 3) % 8] ?? a;
            for (int at = 0; at < other.Length; at += 1024)
                sum += other[at];
        }
        return sum;
    }

    static long Strings(int count)
    {
        var seen = new Dictionary<string, int>();
        var text = new StringBuilder();
        uint seed = 7;
        for (int i = 0; i < count; i++)
        {
            string word = "k" + (Next(ref seed) % 20000).ToString();
            int n;
            seen.TryGetValue(word, out n);
            seen[word] = n + 1;
            if (i % 8 == 0)
                text.Append(word);
        }
        var words = new List<string>(seen.Keys);
        words.Sort(string.CompareOrdinal);
        long sum = text.ToString().Split('k').Length;
        for (int i = 0; i < words.Count; i++)
            sum += seen[words[i]] * (long)(i % 31);
        return sum;
    }

    // Four threads that allocate what they compute with.
    static long Threads(int rounds)
    {
        var sums = new long[4];
        var threads = new Thread[4];
        for (int t = 0; t < threads.Length; t++)
        {
            int me = t;
            threads[t] = new Thread(() =>
            {
                uint seed = (uint)me + 1;
                long sum = 0;
                for (int i = 0; i < rounds; i++)
                {
                    var row = new int[200 + Next(ref seed) % 800];
                    for (int k = 0; k < row.Length; k++)
                        row[k] = (int)(Next(ref seed) % 1000);
                    Array.Sort(row);
                    sum += row[row.Length / 2];
                }
                sums[me] = sum;
            });
            threads[t].Start();
        }
        foreach (Thread t in threads)
            t.Join();
        return sums[0] + 3 * sums[1] + 5 * sums[2] + 7 * sums[3];
    }

    // Code that is made while the program runs.
    static long Generated(int methods)
    {
        long sum = 0;
        for (int i = 0; i < methods; i++)
        {
            var m = new DynamicMethod("m" + i, typeof(int), new[] { typeof(int) });
            ILGenerator il = m.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            for (int k = 0; k < 16; k++)
            {
                il.Emit(OpCodes.Ldc_I4, i + k);
                il.Emit(k % 2 == 0 ? OpCodes.Add : OpCodes.Xor);
            }
            il.Emit(OpCodes.Ret);
            sum += ((Func<int, int>)m.CreateDelegate(typeof(Func<int, int>)))(i);
        }
        return sum;
    }

    static long Native(int count)
    {
        var blocks = new IntPtr[256];
        uint seed = 3;
        long sum = 0;
        for (int i = 0; i < count; i++)
        {
            int at = i % blocks.Length;
            if (blocks[at] != IntPtr.Zero)
            {
                sum += Marshal.ReadInt32(blocks[at]);
                Marshal.FreeHGlobal(blocks[at]);
            }
            blocks[at] = Marshal.AllocHGlobal((int)(16 + Next(ref seed) % (i % 64 == 0 ? 200000 : 2000)));
            Marshal.WriteInt32(blocks[at], i);
        }
        foreach (IntPtr b in blocks)
            Marshal.FreeHGlobal(b);
        return sum;
    }

    static int Main(string[] args)
    {
        int scale = args.Length > 0 ? int.Parse(args[0]) : 10;
        long[] parts = {
            Trees(40 * scale), Arrays(), Strings(40000 * scale), Threads(800 * scale), Generated(40 * scale),
            Native(20000 * scale),
        };
        long all = 17;
        foreach (long p in parts)
            all = unchecked(all * 1000003 + p);
        Console.WriteLine("mixed " + string.Join(" ", parts) + " " + all);
        return 0;
    }
}
