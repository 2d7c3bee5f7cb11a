// SPDX-License-Identifier: MIT
// Native memory in blocks of 1 MiB, written to, until refused; three times.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

static class Native
{
    const int Block = 1 << 20;

    static IntPtr Get(string how)
    {
#if NET
        unsafe
        {
            if (how == "alloc")
                return (IntPtr)NativeMemory.Alloc(Block);
            if (how == "aligned")
                return (IntPtr)NativeMemory.AlignedAlloc(Block, 4096);
        }
#endif
        return Marshal.AllocHGlobal(Block);
    }

    static void Give(string how, IntPtr p)
    {
#if NET
        unsafe
        {
            if (how == "alloc")
            {
                NativeMemory.Free((void*)p);
                return;
            }
            if (how == "aligned")
            {
                NativeMemory.AlignedFree((void*)p);
                return;
            }
        }
#endif
        Marshal.FreeHGlobal(p);
    }

    internal static int Main(string how)
    {
        int caught = 0;
        for (int round = 0; round < 3; ++round)
        {
            var held = new List<IntPtr>(1024);
            try
            {
                for (int i = 0; i < 1024; ++i)
                {
                    IntPtr p = Get(how);
                    for (int k = 0; k < Block; k += 4096)
                        Marshal.WriteByte(p, k, 1);
                    held.Add(p);
                }
            }
            catch (OutOfMemoryException)
            {
                ++caught;
            }
            int count = held.Count;
            foreach (IntPtr p in held)
                Give(how, p);
            Console.WriteLine("round {0}: {1} blocks", round, count);
        }
        Console.WriteLine("caught {0}", caught);
        Console.WriteLine("worked on");
        return 0;
    }
}
