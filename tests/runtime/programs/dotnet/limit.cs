// SPDX-License-Identifier: MIT
// What the runtime takes for the memory it may use.
using System;

static class Limit
{
    internal static int Main()
    {
#if NET
        Console.WriteLine("available {0}", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        Console.WriteLine("server {0}", System.Runtime.GCSettings.IsServerGC);
#endif
        foreach (string name in new[] { "DOTNET_GCHeapHardLimit", "MONO_GC_PARAMS" })
            Console.WriteLine("{0} {1}", name, Environment.GetEnvironmentVariable(name) ?? "unset");
        return 0;
    }
}
