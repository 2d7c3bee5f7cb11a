// SPDX-License-Identifier: MIT
// A load that stays: native blocks that come and go around a target read from standard input (MiB, a
// line each), garbage and long-lived objects of all sizes, short threads, generated code. "end" ends the
// load: everything is let go, "quiet" is printed, and a last line ends the program with 0.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

static class Steady
{
    const int Step = 4096;
    static volatile int target;
    static volatile bool stopped;
    static int refusals;

    sealed class Natives
    {
        readonly List<IntPtr> blocks = new List<IntPtr>();
        readonly List<int> sizes = new List<int>();
        long held;

        void Add(int size)
        {
            IntPtr p = Marshal.AllocHGlobal(size);
            for (int k = 0; k < size; k += Step)
                Marshal.WriteByte(p, k, (byte)size);
            blocks.Add(p);
            sizes.Add(size);
            held += size;
        }

        void Remove(int i)
        {
            if (Marshal.ReadByte(blocks[i]) != (byte)sizes[i])
                Environment.FailFast("contents changed");
            Marshal.FreeHGlobal(blocks[i]);
            held -= sizes[i];
            blocks[i] = blocks[blocks.Count - 1];
            sizes[i] = sizes[sizes.Count - 1];
            blocks.RemoveAt(blocks.Count - 1);
            sizes.RemoveAt(sizes.Count - 1);
        }

        internal void Turn(Random random, long wanted)
        {
            for (int i = 0; i < 16 && blocks.Count > 0; ++i)
                Remove(random.Next(blocks.Count));
            while (held > wanted && blocks.Count > 0)
                Remove(random.Next(blocks.Count));
            for (int i = 0; i < 64 && held < wanted; ++i)
                Add(random.Next(8) == 0 ? random.Next(1 << 20) + 1 : random.Next(32 << 10) + 1);
        }
    }

    static void Native(int share)
    {
        var random = new Random(share);
        var natives = new Natives();
        while (!stopped)
        {
            try
            {
                natives.Turn(random, ((long)target << 20) / 2);
            }
            catch (OutOfMemoryException)
            {
                Interlocked.Increment(ref refusals);
            }
            Thread.Sleep(1);
        }
        natives.Turn(random, 0);
    }

    static void Managed()
    {
        var random = new Random(7);
        var kept = new object[2000];
        for (int n = 0; !stopped; ++n)
        {
            try
            {
                for (int i = 0; i < 200; ++i)
                    kept[random.Next(kept.Length)] = new byte[random.Next(64) == 0 ? random.Next(60 << 10) : random.Next(600)];
                if (n % 64 == 0)
                {
                    var t = new Thread(() => GC.KeepAlive(new byte[Step]));
                    t.Start();
                    t.Join();
                }
                if (n % 512 == 0 && n < 1 << 15)
                    Code.One(n / 512);
            }
            // Mono says so when a thread is refused.
            catch (Exception e) when (e is OutOfMemoryException || e is ThreadStartException || e is ExecutionEngineException)
            {
                Interlocked.Increment(ref refusals);
            }
            Thread.Sleep(1);
        }
    }

    internal static int Main()
    {
        target = int.Parse(Console.ReadLine());
        var threads = new List<Thread> { new Thread(() => Native(1)), new Thread(() => Native(2)), new Thread(Managed) };
        foreach (var t in threads)
            t.Start();
        Console.WriteLine("at work");
        Console.Out.Flush();
        for (string line; (line = Console.ReadLine()) != null && line != "end";)
            target = int.Parse(line);
        stopped = true;
        foreach (var t in threads)
            t.Join();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Console.WriteLine("quiet {0}", refusals);
        Console.Out.Flush();
        return Console.ReadLine() == null ? 2 : 0;
    }
}
