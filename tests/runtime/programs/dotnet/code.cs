// SPDX-License-Identifier: MIT
// Generated code that stays: dynamic methods and dynamic assemblies, each compiled and called, until
// something is refused or enough is there.
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Reflection.Emit;

static class Code
{
    static readonly List<object> held = new List<object>();

    static void Emit(ILGenerator il, int seed)
    {
        il.Emit(OpCodes.Ldarg_0);
        for (int i = 0; i < 400; ++i)
        {
            il.Emit(OpCodes.Ldc_I4, seed + i);
            il.Emit(i % 2 == 0 ? OpCodes.Add : OpCodes.Xor);
        }
        il.Emit(OpCodes.Ret);
    }

    static int Expected(int argument, int seed)
    {
        for (int i = 0; i < 400; ++i)
            argument = i % 2 == 0 ? unchecked(argument + seed + i) : argument ^ (seed + i);
        return argument;
    }

    internal static bool One(int seed)
    {
        Func<int, int> f;
        if (seed % 8 == 0)
        {
            var name = new AssemblyName("generated" + seed);
#if NET
            var assembly = AssemblyBuilder.DefineDynamicAssembly(name, AssemblyBuilderAccess.Run);
#else
            var assembly = AppDomain.CurrentDomain.DefineDynamicAssembly(name, AssemblyBuilderAccess.Run);
#endif
            var type = assembly.DefineDynamicModule("m").DefineType("T", TypeAttributes.Public);
            var method = type.DefineMethod("F", MethodAttributes.Public | MethodAttributes.Static, typeof(int),
                                           new[] { typeof(int) });
            Emit(method.GetILGenerator(), seed);
            var made = type.CreateType();
            f = (Func<int, int>)Delegate.CreateDelegate(typeof(Func<int, int>), made.GetMethod("F"));
        }
        else
        {
            var method = new DynamicMethod("f" + seed, typeof(int), new[] { typeof(int) }, typeof(Code).Module, true);
            Emit(method.GetILGenerator(), seed);
            f = (Func<int, int>)method.CreateDelegate(typeof(Func<int, int>));
        }
        held.Add(f);
        return f(seed) == Expected(seed, seed);
    }

    internal static int Main(int enough)
    {
        // What a first line takes is there before the limit is near.
        Console.WriteLine("generating");
        string refused = "nothing";
        int made = 0;
        try
        {
            for (; made < enough; ++made)
            {
                if (!One(made))
                {
                    Console.WriteLine("method {0} computed wrongly", made);
                    return 1;
                }
            }
        }
        catch (OutOfMemoryException)
        {
            refused = "OutOfMemoryException";
        }
        held.Clear();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Console.WriteLine("{0} methods, caught {1}", made, refused);
        Console.WriteLine("worked on");
        return 0;
    }
}
