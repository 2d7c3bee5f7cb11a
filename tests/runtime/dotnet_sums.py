# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: .NET at five moments of a run, stopped at each: the sums hold to the
# byte beside the test's own reading of smaps, under load too, and less than 1 % belongs to nobody. Generated
# code lies in a file that is mapped twice: charged once (file_memory_dotnet.py counts its pages).
import os

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app
from _run import MIB, expect, expect_equal, finish
from _sums import PAGE, moments


def grown(name):
    def look_at(moment, look, looks):
        at, owners = f"{name}, {moment}", look.picture["owners"]
        expect(look.owner("gc", "charged") > 0 and look.owner("stacks", "touched") > 0, f"{at}: {owners}")
        if moment in ("arrays", "native", "busy"):
            expect(look.owner("gc", "resident") >= 64 * MIB, f"{at}: gc {owners['gc']}")
        if moment in ("native", "busy"):
            expect(look.owner("malloc", "resident") >= 16 * MIB, f"{at}: malloc {owners['malloc']}")
        code = look.image["file_pages"].get("code", 0) * PAGE
        if name == "W^X off":
            expect_equal(look.image["file_pages"], {}, f"{at}: pages of files charged")
        else:
            # A page is charged when a view of it becomes accessible, whether it is touched or not.
            expect(0 < look.memory_files.get("doublemapper", 0) <= code, f"{at}: {code} charged of {look.memory_files}")
            accessible = {(m.offset + at) for m in look.mappings if m.path.startswith("/memfd:doublemapper")
                          for at in range(0, m.size, PAGE) if m.access[:3] != "---"}
            expect(len(accessible) * PAGE <= code, f"{at}: {code} charged, {len(accessible)} pages accessible now")
            expect_equal(owners["code"]["charged"], code + owners["code"]["committed"], f"{at}: code {owners['code']}")
    return look_at


app = dotnet_app()
for name, environment in (("workstation", {}), ("server", {"DOTNET_gcServer": "1"}),
                          ("W^X off", {"DOTNET_EnableWriteXorExecute": "0"})):
    print(name)
    moments([dotnet(), os.path.join(app, "app.dll"), "moments"], ("started", "arrays", "native", "busy", "collected"), "1G",
            "coreclr", grown(name), env={**os.environ, **environment})
finish()
