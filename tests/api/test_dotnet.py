"""The code of docs/INTEGRATION.md, word for word: compiled, and run on a .NET runtime against the service."""
import os, pathlib, platform, re, shutil, subprocess, tempfile, unittest
from lib import ROOT, Case, free_port

HERE = ROOT / "tests" / "dotnet"
RUNTIME = ROOT / "build" / "dotnet"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIG = """{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"},
 "configProperties": {"System.Globalization.Invariant": true}}}"""


def code_of(document):
    """Its blocks of C#, each a file that its first line names."""
    blocks = re.findall(r"```csharp\n// (\S+\.cs)\b(.*?)```", document.read_text(), re.S)
    return {name: "//" + rest for name, rest in blocks}


@unittest.skipUnless(platform.machine() == "x86_64", "there is a runtime for x86-64 alone")
class DotNet(Case):
    def build(self, folder):
        subprocess.run([HERE / "install.sh", RUNTIME], check=True)
        framework = RUNTIME / "dotnetcore2" / "bin" / "shared" / "Microsoft.NETCore.App" / "3.1.23"
        files = code_of(ROOT / "docs" / "INTEGRATION.md")
        self.assertEqual(sorted(files), ["Contract.cs", "StandardWebhook.cs", "StemforgeCallbackController.cs",
                                         "StemforgeClient.cs", "StemforgeStore.cs"])
        for name, text in files.items():
            (folder / name).write_text(text)
        names = ["netstandard.dll", "mscorlib.dll", *(f.name for f in framework.glob("System*.dll") if "Windows" not in f.name)]
        a = subprocess.run(["mcs", "-nologo", "-nostdlib", "-noconfig", "-nowarn:1701,1702", "-langversion:latest",
                            "-warnaserror", f"-out:{folder}/host.dll", *(f"-r:{framework}/{n}" for n in names),
                            HERE / "host.cs", HERE / "aspnet.cs", *(folder / n for n in files)],
                           capture_output=True, text=True)
        self.assertEqual(a.returncode, 0, a.stdout + a.stderr)
        (folder / "host.runtimeconfig.json").write_text(CONFIG)

    def test_the_document_posts_receives_checks_and_stores(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="stemforge-dotnet-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.build(folder)
        s = self.serve(API_KEYS="key-1", CALLBACK_SECRET=SECRET)
        env = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(RUNTIME / "psycopg2_binary.libs"), "HOME": str(folder)}
        a = subprocess.run([RUNTIME / "dotnetcore2" / "bin" / "dotnet", folder / "host.dll", f"http://127.0.0.1:{s.port}",
                            "key-1", SECRET, folder, str(free_port())], env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual(a.returncode, 0, a.stdout + a.stderr + s.log()[-2000:])
        self.assertEqual(a.stdout.count("ok: "), 17, a.stdout)


if __name__ == "__main__":
    unittest.main()
