// SPDX-License-Identifier: MIT
// Leaks one kind of memory until the runtime throws, lets go, works on and says in a line of JSON what
// was caught. README.md has the words; the other files here do the same for their runtimes.
//
//   mcs -unsafe leaks.cs && memreeve run --limit 256M -- mono leaks.exe arrays
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

static class Leaks
{
    const int Block = 1 << 20;
    const int Page = 4096;
    static long enough = 1L << 30;
    static long count, bytes;

    // Let go first: assemblies that were made stay in Mono whatever is let go of them.
    static byte[] spare = new byte[8 << 20];

    static int Main(string[] words)
    {
        string mode = words.Length > 0 ? words[0] : "";
        var numbers = new long[4];
        for (int i = 1; i < words.Length && i < 5; ++i)
            numbers[i - 1] = long.Parse(words[i], CultureInfo.InvariantCulture);
        if (mode == "steady")
            return Steady.Run((int)numbers[0], numbers[1] << 20, numbers[2] << 20);
        if (numbers[0] > 0)
            enough = numbers[0] << 20;

        long before = Work();
        // What writing a line takes is there before the limit is near.
        Console.Error.WriteLine("leaking " + mode);
        string caught = LeakUntilRefused(mode);
        if (caught == "?")
        {
            Console.Error.WriteLine("usage: leaks arrays|objects|native|threads|code [MIB] | steady SECONDS LIVE_MIB NATIVE_MIB");
            return 2;
        }
        LetGo();
        bool same = Work() == before;
        Console.WriteLine("{{\"mode\":\"{0}\",\"caught\":{1},\"count\":{2},\"bytes\":{3},\"worked\":{4}}}", mode,
                          caught == null ? "null" : "\"" + caught + "\"", count, bytes, same ? "true" : "false");
        return same ? 0 : 3;
    }

    // A frame of its own: Mono scans stacks conservatively, and nothing must be left on one.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static string LeakUntilRefused(string mode)
    {
        try
        {
            switch (mode)
            {
            case "arrays": Arrays(); break;
            case "objects": Objects(); break;
            case "native": Native(); break;
            case "threads": Threads(); break;
            case "code": Code(); break;
            default: return "?";
            }
            return null;
        }
        catch (OutOfMemoryException) { return "OutOfMemoryException"; }
        catch (ThreadStartException) { return "ThreadStartException"; }
#if !NET
        catch (ExecutionEngineException) { return "ExecutionEngineException"; } // Mono, of a thread that libc refused
#endif
        catch (TypeInitializationException e) when (e.InnerException is OutOfMemoryException) { return "OutOfMemoryException"; }
        catch (TargetInvocationException e) when (e.InnerException is OutOfMemoryException) { return "OutOfMemoryException"; }
    }

    static readonly List<byte[]> arrays = new List<byte[]>();

    static void Arrays()
    {
        for (; bytes < enough; ++count, bytes += Block)
        {
            var a = new byte[Block];
            for (int i = 0; i < Block; i += Page)
                a[i] = 1;
            arrays.Add(a);
        }
    }

    sealed class Node
    {
        internal readonly Node next;
        internal readonly long a, b, c;

        internal Node(Node behind, long n)
        {
            next = behind;
            a = b = c = n;
        }
    }

    static Node head;

    static void Objects()
    {
        for (; bytes < enough; ++count, bytes += 48)
            head = new Node(head, count);
    }

    static readonly List<IntPtr> natives = new List<IntPtr>(1 << 14);

    static void Native()
    {
        for (; bytes < enough; ++count, bytes += Block)
        {
            IntPtr p = Marshal.AllocHGlobal(Block);
            for (int i = 0; i < Block; i += Page)
                Marshal.WriteByte(p, i, 1);
            natives.Add(p);
        }
    }

    static readonly List<Thread> threads = new List<Thread>();
    static readonly ManualResetEvent letGo = new ManualResetEvent(false);

    static unsafe int UseStack()
    {
        const int Size = 24 << 10;
        byte* p = stackalloc byte[Size];
        for (int i = 0; i < Size; i += Page)
            p[i] = 1;
        return p[Size / 2];
    }

    static void Threads()
    {
        const int Most = 8000;
        while (count < Most)
        {
            using (var ready = new ManualResetEvent(false))
            {
                var t = new Thread(() =>
                {
                    UseStack();
                    ready.Set();
                    letGo.WaitOne();
                });
                t.IsBackground = true;
                t.Start();
                threads.Add(t);
                ready.WaitOne();
            }
            ++count;
            bytes += 64 << 10;
        }
    }

    static readonly List<Func<int, int>> methods = new List<Func<int, int>>();

    static void Code()
    {
        const int Steps = 400;
        for (int seed = 0; bytes < enough; ++seed, ++count, bytes += 8 * Steps)
        {
            var assembly =
#if NET
                AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("made" + seed), AssemblyBuilderAccess.RunAndCollect);
#else
                AppDomain.CurrentDomain.DefineDynamicAssembly(new AssemblyName("made" + seed), AssemblyBuilderAccess.RunAndCollect);
#endif
            var type = assembly.DefineDynamicModule("m").DefineType("T", TypeAttributes.Public);
            var method = type.DefineMethod("F", MethodAttributes.Public | MethodAttributes.Static, typeof(int), new[] { typeof(int) });
            var il = method.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            for (int i = 0; i < Steps; ++i)
            {
                il.Emit(OpCodes.Ldc_I4, seed + i);
                il.Emit(i % 2 == 0 ? OpCodes.Add : OpCodes.Xor);
            }
            il.Emit(OpCodes.Ret);
            var f = (Func<int, int>)Delegate.CreateDelegate(typeof(Func<int, int>), type.CreateType().GetMethod("F"));
            methods.Add(f);
            int expected = seed;
            for (int i = 0; i < Steps; ++i)
                expected = i % 2 == 0 ? unchecked(expected + seed + i) : expected ^ (seed + i);
            if (f(seed) != expected)
                Environment.FailFast("generated code computed wrongly");
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void LetGo()
    {
        GC.KeepAlive(spare);
        spare = null;
        arrays.Clear();
        head = null;
        methods.Clear();
        foreach (IntPtr p in natives)
            Marshal.FreeHGlobal(p);
        natives.Clear();
        letGo.Set();
        foreach (var t in threads)
            t.Join();
        threads.Clear();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
    }

    // Work that allocates and drops small objects and an array, as programs do.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static long Work()
    {
        var composite = new bool[200000];
        var found = new List<string>();
        for (int i = 2; i < composite.Length; ++i)
        {
            if (composite[i])
                continue;
            found.Add(i.ToString(CultureInfo.InvariantCulture));
            for (long j = (long)i * i; j < composite.Length; j += i)
                composite[(int)j] = true;
        }
        return found.Count;
    }
}

// Garbage and long-lived objects of all sizes in a table of LIVE bytes, native blocks of 64 KiB that hold
// NATIVE bytes, one of them replaced every 64 operations; an operation is one object.
static class Steady
{
    const int Piece = 64 << 10;

    internal static int Run(int seconds, long live, long native)
    {
        var table = new byte[Math.Max(live / 1024, 64)][];
        var blocks = new List<IntPtr>();
        for (long n = 0; n < native; n += Piece)
            blocks.Add(Fresh());
        uint random = 12345;
        long operations = 0, timed = 0, caught = 0;
        double warm = seconds * 0.2, begun = -1;
        var watch = Stopwatch.StartNew();
        for (;;)
        {
            double now = watch.Elapsed.TotalSeconds;
            if (begun < 0 && now >= warm)
            {
                begun = now;
                timed = operations;
            }
            if (now >= seconds)
            {
                Console.WriteLine(string.Format(CultureInfo.InvariantCulture,
                    "{{\"mode\":\"steady\",\"operations\":{0},\"seconds\":{1:F3},\"per_second\":{2:F1},\"caught\":{3}}}",
                    operations, now, (operations - timed) / (now - begun), caught));
                return 0;
            }
            for (int i = 0; i < 256; ++i, ++operations)
            {
                random = random * 1664525 + 1013904223;
                int size = (random >> 8) % 32 == 0 ? (int)(random >> 12) % 8192 + 1 : (int)(random >> 12) % 1536 + 64;
                int slot = (int)((random >> 7) % (uint)table.Length);
                try
                {
                    var a = new byte[size];
                    a[size - 1] = (byte)size;
                    var old = table[slot];
                    if (old != null && old[old.Length - 1] != (byte)old.Length)
                        Environment.FailFast("contents changed");
                    table[slot] = a;
                    if (operations % 64 == 0 && blocks.Count > 0)
                    {
                        int b = (int)(random >> 9) % blocks.Count;
                        IntPtr p = Fresh();
                        Marshal.FreeHGlobal(blocks[b]);
                        blocks[b] = p;
                    }
                }
                catch (OutOfMemoryException)
                {
                    ++caught;
                }
            }
        }
    }

    static IntPtr Fresh()
    {
        IntPtr p = Marshal.AllocHGlobal(Piece);
        for (int i = 0; i < Piece; i += 4096)
            Marshal.WriteByte(p, i, 1);
        return p;
    }
}
