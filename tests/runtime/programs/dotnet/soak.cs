// SPDX-License-Identifier: MIT
// A steady load: managed arrays of mixed sizes and native blocks, always as many bytes of each, thrown
// away and replaced by two threads for some seconds. Every block says whose it is and is checked when
// it goes. Then waits for a line on standard input.
using System;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading;

static class Soak
{
    sealed class Holder
    {
        readonly Random random;
        readonly byte[][] arrays = new byte[2048][];
        readonly IntPtr[] blocks = new IntPtr[512];
        readonly int[] sizes = new int[512];
        readonly long managed, native;
        long heldManaged, heldNative, turns;

        internal Holder(int seed, long managed, long native)
        {
            random = new Random(seed);
            this.managed = managed;
            this.native = native;
        }

        // Mostly small, some large, around a mean that fills the slots.
        int Size(long mean)
        {
            return (int)Math.Max(16, random.Next(8) == 0 ? mean * 4 * random.NextDouble() : mean * random.NextDouble());
        }

        void ReplaceArray()
        {
            int i = random.Next(arrays.Length);
            if (arrays[i] != null)
            {
                if (arrays[i][0] != (byte)i || arrays[i][arrays[i].Length - 1] != (byte)i)
                    throw new InvalidOperationException("an array was changed by somebody else");
                heldManaged -= arrays[i].Length;
                arrays[i] = null;
            }
            int size = Size(managed / arrays.Length);
            if (heldManaged + size > managed)
                return;
            arrays[i] = new byte[size];
            arrays[i][0] = arrays[i][size - 1] = (byte)i;
            heldManaged += size;
        }

        void ReplaceBlock()
        {
            int i = random.Next(blocks.Length);
            if (blocks[i] != IntPtr.Zero)
            {
                if (Marshal.ReadByte(blocks[i]) != (byte)i || Marshal.ReadByte(blocks[i], sizes[i] - 1) != (byte)i)
                    throw new InvalidOperationException("a block was changed by somebody else");
                heldNative -= sizes[i];
                Marshal.FreeHGlobal(blocks[i]);
                blocks[i] = IntPtr.Zero;
            }
            int size = Size(native / blocks.Length);
            if (heldNative + size > native)
                return;
            blocks[i] = Marshal.AllocHGlobal(size);
            sizes[i] = size;
            Marshal.WriteByte(blocks[i], (byte)i);
            Marshal.WriteByte(blocks[i], size - 1, (byte)i);
            heldNative += size;
        }

        internal long Run(double seconds)
        {
            var watch = Stopwatch.StartNew();
            while (watch.Elapsed.TotalSeconds < seconds)
            {
                for (int i = 0; i < 64; ++i, ++turns)
                {
                    ReplaceArray();
                    if (i % 4 == 0)
                        ReplaceBlock();
                }
                Thread.Sleep(1);
            }
            foreach (IntPtr p in blocks)
                Marshal.FreeHGlobal(p);
            Array.Clear(arrays, 0, arrays.Length);
            return turns;
        }
    }

    internal static int Main(double seconds, int managedMiB, int nativeMiB)
    {
        var turns = new long[2];
        int failed = 0;
        var threads = new Thread[2];
        for (int i = 0; i < 2; ++i)
        {
            int k = i;
            threads[i] = new Thread(() =>
            {
                try
                {
                    turns[k] = new Holder(k, (long)managedMiB << 19, (long)nativeMiB << 19).Run(seconds);
                }
                catch (Exception e)
                {
                    Console.WriteLine(e);
                    Interlocked.Increment(ref failed);
                }
            });
            threads[i].Start();
        }
        foreach (Thread t in threads)
            t.Join();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Console.WriteLine("{0} failed, {1} turns", failed, turns[0] + turns[1]);
        Console.Out.Flush();
        Console.ReadLine();
        return failed;
    }
}
