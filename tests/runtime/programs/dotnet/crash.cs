// SPDX-License-Identifier: MIT
// Ends as runtimes end when something is broken.
using System;
using System.Runtime.InteropServices;

static class Crash
{
    internal static int Main(string how)
    {
        Console.WriteLine("about to");
        Console.Out.Flush();
        switch (how)
        {
        case "failfast": Environment.FailFast("broken"); break;
        case "throw": throw new InvalidOperationException("broken");
        case "segv": Marshal.WriteByte((IntPtr)8, 1); break;
        case "exit": Environment.Exit(42); break;
        case "wait": Console.ReadLine(); break;
        }
        return 0;
    }
}
