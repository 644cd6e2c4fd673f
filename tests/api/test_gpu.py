"""`stemforge serve` on a GPU that tests/gpu emulates: health, metrics, the CPU's bytes, a GPU that is lost."""
import subprocess, unittest
from lib import OUT, ROOT, Case, Server, request

PROGRAM = OUT / "stemforge"
MODEL = ROOT / "tests" / "parity" / "mono" / "model"
DRIVER = OUT / "tests" / "gpu"
KERNELS = b"GPU code   none" not in subprocess.run([PROGRAM, "info", MODEL], stdout=subprocess.PIPE).stdout


def made(s):
    """The bytes of one job's stem."""
    b = request(target_stems=["bass"], parameters={"duration_seconds": 0.5, "random_seed": 4})
    s.submit(b)
    s.wait_job(b["generation_request_id"], seconds=60)
    return s.ask("GET", f"/files/{b['audio_file_id']}/generated/{b['generation_request_id']}/bass.wav").body


@unittest.skipUnless(KERNELS, "the program was built without compilers for GPU kernels")
class OnGpu(Case):
    def on(self, **env):
        s = Server(binary=PROGRAM, flags=["serve", "--model", str(MODEL)], **env)
        self.addCleanup(s.close)
        return s

    def health(self, s):
        h = s.ask("GET", "/health").json
        return h["services"]["device"], h["gpu_available"]

    def test_the_gpu_makes_the_cpus_bytes_and_is_named(self):
        cpu, gpu = self.on(), self.on(USE_GPU="true", LD_LIBRARY_PATH=DRIVER)
        self.assertEqual((self.health(cpu), self.health(gpu)), (("cpu", False), ("gpu", True)))
        self.assertEqual(made(cpu), made(gpu))
        text = gpu.ask("GET", "/metrics").body.decode()
        self.assertIn('stemforge_gpu_info{name="emulated GPU",cuda="13.0"} 1', text)
        self.assertIn("stemforge_on_gpu 1\n", text)
        self.assertIn("stemforge_gpu_failures_total 0\n", text)
        self.assertIn("Computing on the GPU: emulated GPU", gpu.log_path.read_text())

    def test_a_gpu_that_is_lost_hands_over_and_the_service_goes_on(self):
        cpu = self.on()
        want = made(cpu)
        s = self.on(DEVICE="auto", LD_LIBRARY_PATH=DRIVER, FAKE_CUDA_FAIL=1000)
        for _ in range(4):
            self.assertEqual(made(s), want)
        self.assertEqual(self.health(s), ("cpu", False))
        self.assertIn("stemforge_gpu_failures_total 1\n", s.ask("GET", "/metrics").body.decode())
        self.assertIn("The CPU goes on, with the same samples", s.log_path.read_text())

    def test_device_says_which_one(self):
        s = self.on(DEVICE="cpu", LD_LIBRARY_PATH=DRIVER)
        self.assertEqual(self.health(s), ("cpu", False))


if __name__ == "__main__":
    unittest.main()
